//! Images of this host.

mod archives;
mod progress;

use casemate_engine::images::{self, Counted, Filters, Reference, Removed, Wish};
use casemate_engine::{Failure, Result};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::{Call, Query};

pub use progress::{credentials, told};

/// The routes of this file and those beneath it.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Get,
        path: "/images/json",
        operation: "image.list",
        subject: Subject::Tenant,
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Verb::Get,
        path: "/images/{name*}/json",
        operation: "image.inspect",
        subject: Subject::Image,
        handler: |call| Box::pin(inspect(call)),
    },
    Route {
        method: Verb::Get,
        path: "/images/{name*}/history",
        operation: "image.history",
        subject: Subject::Image,
        handler: |call| Box::pin(history(call)),
    },
    Route {
        method: Verb::Get,
        path: "/images/{name*}/attestations",
        operation: "image.attestations",
        subject: Subject::Image,
        handler: |call| Box::pin(attestations(call)),
    },
    Route {
        method: Verb::Post,
        path: "/images/{name*}/tag",
        operation: "image.tag",
        subject: Subject::Image,
        handler: |call| Box::pin(tag(call)),
    },
    Route {
        method: Verb::Delete,
        path: "/images/{name*}",
        operation: "image.remove",
        subject: Subject::Image,
        handler: |call| Box::pin(remove(call)),
    },
    Route {
        method: Verb::Post,
        path: "/images/prune",
        operation: "image.prune",
        subject: Subject::Tenant,
        handler: |call| Box::pin(prune(call)),
    },
    Route {
        method: Verb::Get,
        path: "/images/{name*}/get",
        operation: "image.save",
        subject: Subject::Image,
        handler: |call| Box::pin(archives::save(call)),
    },
    Route {
        method: Verb::Get,
        path: "/images/get",
        operation: "image.save",
        subject: Subject::Image,
        handler: |call| Box::pin(archives::save(call)),
    },
    Route {
        method: Verb::Post,
        path: "/images/load",
        operation: "image.load",
        subject: Subject::NewImage,
        handler: |call| Box::pin(archives::load(call)),
    },
    Route {
        method: Verb::Post,
        path: "/images/create",
        operation: "image.pull",
        subject: Subject::NewImage,
        handler: |call| Box::pin(archives::create(call)),
    },
];

/// The query's `filters`: JSON, a list of values for each name, or the older form `{"name":{"value":true}}`.
///
/// # Errors
/// It is none.
pub fn filters(query: &Query) -> Result<Filters> {
    let Some(text) = query.text("filters") else { return Ok(Filters::default()) };
    let refuse = || Failure::invalid(format!("invalid filter: {text}"));
    let Ok(Value::Object(read)) = serde_json::from_str(text) else { return Err(refuse()) };
    let values = |value: Value| match value {
        Value::Array(values) => values
            .into_iter()
            .map(|value| match value {
                Value::String(value) => Ok(value),
                _ => Err(refuse()),
            })
            .collect::<Result<Vec<_>>>(),
        Value::Object(values) => Ok(values
            .into_iter()
            .filter(|(_, on)| *on == Value::Bool(true))
            .map(|(value, _)| value)
            .collect()),
        _ => Err(refuse()),
    };
    let read = read.into_iter().map(|(name, value)| Ok((name, values(value)?)));
    Ok(Filters(read.collect::<Result<_>>()?))
}

async fn list(call: Call) -> Result<Answer> {
    let counted = Counted { shared: call.query.flag("shared-size"), containers: false };
    let filters = filters(&call.query)?;
    let all = call.query.flag("all");
    let list = images::list(&call.engine, &call.caller, &filters, all, counted)?;
    if call.version >= 44 {
        return Ok(Answer::ok(&list));
    }
    let older = |summary: &images::Summary| {
        let mut value = serde_json::to_value(summary).unwrap_or_default();
        value["VirtualSize"] = json!(summary.size);
        // Before 1.43, what has no name is shown under one.
        if call.version < 43 && summary.repo_tags.is_empty() && summary.repo_digests.is_empty() {
            value["RepoTags"] = json!(["<none>:<none>"]);
            value["RepoDigests"] = json!(["<none>@<none>"]);
        }
        value
    };
    Ok(Answer::ok(&list.iter().map(older).collect::<Vec<_>>()))
}

async fn inspect(call: Call) -> Result<Answer> {
    let image = call.engine.images.find(&call.caller, call.captured("name"))?;
    let inspection = images::inspect(&call.engine, &image);
    if call.version >= 50 {
        return Ok(Answer::ok(&inspection));
    }
    let mut value =
        serde_json::to_value(&inspection).map_err(|error| Failure::failed(format!("answer: {error}")))?;
    if call.version < 44 {
        value["VirtualSize"] = json!(inspection.size);
    }
    // What a container has, and an image never had; older clients look for it.
    let empty = json!({
        "Hostname": "", "Domainname": "", "Image": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false
    });
    if let (Some(config), Value::Object(empty)) = (value["Config"].as_object_mut(), empty) {
        config.extend(empty);
    }
    Ok(Answer::ok(&value))
}

async fn history(call: Call) -> Result<Answer> {
    let image = call.engine.images.find(&call.caller, call.captured("name"))?;
    Ok(Answer::ok(&images::history(&call.engine, &image)))
}

async fn attestations(call: Call) -> Result<Answer> {
    call.engine.images.find(&call.caller, call.captured("name"))?;
    Err(Failure::unsupported("attestations are not kept: ask the registry that the image came from"))
}

async fn tag(call: Call) -> Result<Answer> {
    let image = call.engine.images.find(&call.caller, call.captured("name"))?;
    let reference = Reference::parse(call.query.text("repo").unwrap_or_default())?;
    let reference = match call.query.text("tag") {
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    images::tag(&call.engine, &image, &reference)?;
    Ok(Answer::empty(StatusCode::CREATED))
}

async fn remove(call: Call) -> Result<Answer> {
    let wish = Wish { force: call.query.flag("force"), prune: !call.query.flag("noprune") };
    let (engine, caller, name) = (call.engine.clone(), call.caller.clone(), call.captured("name").to_owned());
    // A client that goes away in the midst of it does not leave half of it.
    let removed = tokio::spawn(async move { images::remove(&engine, &caller, &name, wish).await });
    Ok(Answer::ok(&removed.await.map_err(|error| Failure::failed(format!("removal: {error}")))??))
}

async fn prune(call: Call) -> Result<Answer> {
    let filters = filters(&call.query)?;
    let (engine, caller) = (call.engine.clone(), call.caller.clone());
    let pruned = tokio::spawn(async move { images::prune(&engine, &caller, &filters).await });
    let pruned = pruned.await.map_err(|error| Failure::failed(format!("removal: {error}")))??;
    let removed = Some(pruned.removed).filter(|removed: &Vec<Removed>| !removed.is_empty());
    Ok(Answer::ok(&json!({ "ImagesDeleted": removed, "SpaceReclaimed": pruned.reclaimed })))
}
