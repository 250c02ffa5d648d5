//! Containers: create, inspect, list, rename, update, prune, remove.

use std::collections::BTreeMap;

use casemate_engine::containers::{
    self, Asked, Config, FILTERS, HostConfig, ListAsked, PRUNE_FILTERS, inspect as shown,
};
use casemate_engine::filters::Filters;
use casemate_engine::networks::EndpointAsked;
use casemate_engine::{Failure, Result};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Post,
        path: "/containers/create",
        operation: "container.create",
        subject: Subject::NewContainer,
        handler: |call| Box::pin(create(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/json",
        operation: "container.list",
        subject: Subject::Tenant,
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/json",
        operation: "container.inspect",
        subject: Subject::Container,
        handler: |call| Box::pin(inspect(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/rename",
        operation: "container.rename",
        subject: Subject::Container,
        handler: |call| Box::pin(rename(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/update",
        operation: "container.update",
        subject: Subject::Container,
        handler: |call| Box::pin(update(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/prune",
        operation: "container.prune",
        subject: Subject::Tenant,
        handler: |call| Box::pin(prune(call)),
    },
    Route {
        method: Verb::Delete,
        path: "/containers/{id}",
        operation: "container.remove",
        subject: Subject::Container,
        handler: |call| Box::pin(remove(call)),
    },
];

/// The body of `POST /containers/create`. Authorization reads it as the same type: nobody can say one thing to the one
/// and another to the other.
#[derive(Debug, Default, Deserialize)]
pub struct NewContainer {
    /// What is to run.
    #[serde(flatten)]
    pub config: Config,
    /// What is asked of the host.
    #[serde(rename = "HostConfig", default)]
    pub host_config: Option<HostConfig>,
    /// Networks.
    #[serde(rename = "NetworkingConfig", default)]
    networking_config: Option<NetworkingConfig>,
}

impl NewContainer {
    /// The networks that it names besides the one of its mode.
    pub fn networks(&self) -> impl Iterator<Item = &String> {
        self.networking_config
            .iter()
            .flat_map(|config| &config.endpoints_config)
            .flatten()
            .map(|(name, _)| name)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkingConfig {
    endpoints_config: Option<BTreeMap<String, Option<EndpointAsked>>>,
}

async fn create(mut call: Call) -> Result<Answer> {
    let body: NewContainer = call.json().await?;
    let networks = body.networking_config.unwrap_or_default().endpoints_config.unwrap_or_default();
    if call.version < 44 && networks.len() > 1 {
        let names: Vec<&str> = networks.keys().map(String::as_str).collect();
        let message = format!("Container cannot be connected to network endpoints: {}", names.join(", "));
        return Err(Failure::invalid(message));
    }
    let asked = Asked {
        name: call.query.text("name").map(str::to_owned),
        platform: call.query.text("platform").map(str::to_owned),
        image: Some(call.image(&body.config.image)),
        config: body.config,
        host_config: body.host_config.unwrap_or_default(),
        networks: networks.into_iter().map(|(name, asked)| (name, asked.unwrap_or_default())).collect(),
    };
    let created = containers::create(&call.engine, &call.caller, asked).await?;
    let answer = json!({ "Id": created.id, "Warnings": created.warnings });
    Ok(Answer::json(StatusCode::CREATED, &answer))
}

async fn list(call: Call) -> Result<Answer> {
    let asked = ListAsked {
        all: call.query.flag("all"),
        // Docker's clients send -1 for no limit.
        limit: call.query.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok()),
        size: call.query.flag("size"),
        filters: Filters::parse(call.query.text("filters"), &FILTERS)?,
    };
    Ok(Answer::ok(&containers::list(&call.engine, &call.caller, &asked).await?))
}

async fn inspect(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let size = match call.query.flag("size") {
        true => Some(containers::size(&call.engine, &container).await?),
        false => None,
    };
    let mut shown = shown(&call.engine, &container, size);
    if call.version < 45 {
        short_ids(&mut shown, container.id.short());
    }
    Ok(Answer::ok(&shown))
}

/// Before 1.45 a container's short id was among its aliases, and Compose looks for it there.
fn short_ids(shown: &mut Value, short: &str) {
    let Some(networks) = shown["NetworkSettings"]["Networks"].as_object_mut() else { return };
    for network in networks.values_mut().filter(|network| !network["DNSNames"].is_null()) {
        match &mut network["Aliases"] {
            Value::Array(aliases) => aliases.push(short.into()),
            other => *other = json!([short]),
        }
    }
}

async fn rename(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    containers::rename(&call.engine, &container, call.query.text("name").unwrap_or_default())?;
    Ok(Answer::done())
}

async fn update(mut call: Call) -> Result<Answer> {
    let asked: HostConfig = call.json().await?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let warnings = containers::update(&call.engine, &container, &asked).await?;
    Ok(Answer::ok(&json!({ "Warnings": warnings })))
}

async fn prune(call: Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.text("filters"), &PRUNE_FILTERS)?;
    let (ids, bytes) = containers::prune(&call.engine, &call.caller, &filters).await?;
    let ids = Some(ids).filter(|ids| !ids.is_empty());
    Ok(Answer::ok(&json!({ "ContainersDeleted": ids, "SpaceReclaimed": bytes })))
}

async fn remove(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    if call.query.flag("link") {
        return Err(Failure::invalid("a link goes with the container that has it: there is none to remove"));
    }
    containers::remove(&call.engine, &container, call.query.flag("v"), call.query.flag("force")).await?;
    Ok(Answer::done())
}
