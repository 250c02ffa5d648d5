//! Networks.

use std::collections::BTreeMap;

use casemate_engine::filters::Filters;
use casemate_engine::networks::{self, EndpointAsked, FILTERS, IpamAsked, NetworkAsked, PRUNE_FILTERS};
use casemate_engine::{Failure, Kind, Result};
use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/networks", "network.list", Subject::Tenant, |call| Box::pin(list(call))),
    Route::new(Verb::Get, "/networks/{id}", "network.inspect", Subject::Network, |call| {
        Box::pin(inspect(call))
    }),
    Route::new(Verb::Post, "/networks/create", "network.create", Subject::Tenant, |call| {
        Box::pin(create(call))
    }),
    Route::new(Verb::Delete, "/networks/{id}", "network.remove", Subject::Network, |call| {
        Box::pin(remove(call))
    }),
    Route::new(Verb::Post, "/networks/{id}/connect", "network.connect", Subject::Network, |call| {
        Box::pin(connect(call))
    }),
    Route::new(Verb::Post, "/networks/{id}/disconnect", "network.disconnect", Subject::Network, |call| {
        Box::pin(disconnect(call))
    }),
    Route::new(Verb::Post, "/networks/prune", "network.prune", Subject::Tenant, |call| Box::pin(prune(call))),
];

/// Null is as good as nothing.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    name: String,
    #[serde(deserialize_with = "nullable")]
    driver: String,
    #[serde(deserialize_with = "nullable")]
    scope: String,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    #[serde(rename = "IPAM", deserialize_with = "nullable")]
    ipam: IpamAsked,
    #[serde(deserialize_with = "nullable")]
    internal: bool,
    #[serde(deserialize_with = "nullable")]
    attachable: bool,
    #[serde(deserialize_with = "nullable")]
    ingress: bool,
    #[serde(deserialize_with = "nullable")]
    config_only: bool,
    #[serde(deserialize_with = "nullable")]
    options: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

async fn create(mut call: Call) -> Result<Answer> {
    let body: Create = call.json().await?;
    let swarm = body.ingress || !matches!(body.scope.as_str(), "" | "local") || body.driver == "overlay";
    if swarm {
        let message = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
        return Err(Failure::new(Kind::Unavailable, message));
    }
    if body.config_only {
        return Err(Failure::unsupported("networks that are nothing but a configuration are for swarms"));
    }
    let asked = NetworkAsked {
        name: body.name,
        driver: body.driver,
        ipv4: body.enable_ipv4,
        ipv6: body.enable_ipv6.unwrap_or_default(),
        ipam: body.ipam,
        internal: body.internal,
        attachable: body.attachable,
        options: body.options,
        labels: body.labels,
    };
    let (network, warning) = networks::create(&call.engine, &call.caller, asked).await?;
    Ok(Answer::json(StatusCode::CREATED, &json!({ "Id": network.id, "Warning": warning })))
}

async fn list(call: Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.text("filters"), &FILTERS)?;
    let found = networks::list(&call.engine, &call.caller, &filters).await?;
    // Before 1.28 the list had the containers too.
    let whole = call.version < 28;
    let shown = found.iter().map(|network| networks::network(&call.engine, network, whole));
    Ok(Answer::ok(&shown.collect::<Vec<Value>>()))
}

async fn inspect(call: Call) -> Result<Answer> {
    let asked = call.captured("id");
    if call.query.text("scope").is_some_and(|scope| scope != "local") {
        return Err(Failure::not_found(format!("network {asked} not found")));
    }
    let network = networks::find(&call.engine, &call.caller.tenant, asked).await?;
    Ok(Answer::ok(&networks::network(&call.engine, &network, true)))
}

async fn remove(call: Call) -> Result<Answer> {
    let network = networks::find(&call.engine, &call.caller.tenant, call.captured("id")).await?;
    networks::remove(&call.engine, &network).await?;
    Ok(Answer::done())
}

/// The body of connect and disconnect. Authorization reads it as the same type.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Connection {
    /// Which container, by name or id.
    #[serde(deserialize_with = "nullable")]
    pub container: String,
    #[serde(deserialize_with = "nullable")]
    endpoint_config: EndpointAsked,
}

async fn connect(mut call: Call) -> Result<Answer> {
    let body: Connection = call.json().await?;
    let container = call.engine.containers.find(&call.caller, &body.container)?;
    networks::connect(&call.engine, call.captured("id"), &container, body.endpoint_config).await?;
    Ok(Answer::empty(StatusCode::OK))
}

async fn disconnect(mut call: Call) -> Result<Answer> {
    let body: Connection = call.json().await?;
    let container = call.engine.containers.find(&call.caller, &body.container)?;
    networks::disconnect(&call.engine, call.captured("id"), &container).await?;
    Ok(Answer::empty(StatusCode::OK))
}

async fn prune(call: Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.text("filters"), &PRUNE_FILTERS)?;
    let names = networks::prune(&call.engine, &call.caller, &filters).await?;
    let names = Some(names).filter(|names| !names.is_empty());
    Ok(Answer::ok(&json!({ "NetworksDeleted": names })))
}
