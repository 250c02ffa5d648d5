//! Volumes.

use std::collections::BTreeMap;

use casemate_engine::files::volumes::{self, FILTERS, PRUNE_FILTERS};
use casemate_engine::files::{Volume, VolumeAsked};
use casemate_engine::filters::Filters;
use casemate_engine::{Engine, Kind, Result};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Get,
        path: "/volumes",
        operation: "volume.list",
        subject: Subject::Tenant,
        handler: |call| Box::pin(list(call)),
    },
    Route {
        method: Verb::Post,
        path: "/volumes/create",
        operation: "volume.create",
        subject: Subject::NewVolume,
        handler: |call| Box::pin(create(call)),
    },
    Route {
        method: Verb::Post,
        path: "/volumes/prune",
        operation: "volume.prune",
        subject: Subject::Tenant,
        handler: |call| Box::pin(prune(call)),
    },
    Route {
        method: Verb::Get,
        path: "/volumes/{name}",
        operation: "volume.inspect",
        subject: Subject::Volume,
        handler: |call| Box::pin(inspect(call)),
    },
    Route {
        method: Verb::Delete,
        path: "/volumes/{name}",
        operation: "volume.remove",
        subject: Subject::Volume,
        handler: |call| Box::pin(remove(call)),
    },
];

/// The body of `POST /volumes/create`; what is null is as good as missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

async fn create(mut call: Call) -> Result<Answer> {
    let body: Create = call.json().await?;
    let asked = VolumeAsked {
        name: body.name.filter(|name| !name.is_empty()),
        driver: body.driver.unwrap_or_default(),
        options: body.driver_opts.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
    };
    let (volume, _) = volumes::create(&call.engine, &call.caller, asked).await?;
    Ok(Answer::json(StatusCode::CREATED, &shown(&call.engine, &volume)))
}

async fn list(call: Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.text("filters"), &FILTERS)?;
    let found = volumes::list(&call.engine, &call.caller, &filters)?;
    let found: Vec<Value> = found.iter().map(|volume| shown(&call.engine, volume)).collect();
    Ok(Answer::ok(&json!({ "Volumes": found, "Warnings": null })))
}

async fn inspect(call: Call) -> Result<Answer> {
    let volume = call.engine.volumes.find(&call.caller, call.captured("name"))?;
    Ok(Answer::ok(&shown(&call.engine, &volume)))
}

async fn remove(call: Call) -> Result<Answer> {
    let volume = match call.engine.volumes.find(&call.caller, call.captured("name")) {
        Err(failure) if failure.kind == Kind::NotFound && call.query.flag("force") => {
            return Ok(Answer::done());
        }
        other => other?,
    };
    volumes::remove(&call.engine, &volume).await?;
    Ok(Answer::done())
}

async fn prune(call: Call) -> Result<Answer> {
    let filters = Filters::parse(call.query.text("filters"), &PRUNE_FILTERS)?;
    // Before 1.42 a prune took those with names too.
    let all = call.version < 42;
    let (names, bytes) = volumes::prune(&call.engine, &call.caller, &filters, all).await?;
    let names = Some(names).filter(|names| !names.is_empty());
    Ok(Answer::ok(&json!({ "VolumesDeleted": names, "SpaceReclaimed": bytes })))
}

/// A volume as Docker shows it; what is empty is null.
pub(super) fn shown(engine: &Engine, volume: &Volume) -> Value {
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    let created =
        jiff::Timestamp::from_second(i64::try_from(volume.created / 1_000_000_000).unwrap_or_default());
    json!({
        "CreatedAt": created.unwrap_or_default().to_string(),
        "Driver": "local",
        "Labels": some(&volume.labels),
        "Mountpoint": format!("{}/store/volumes/{}/_data", engine.host.data_root, volume.place),
        "Name": volume.name,
        "Options": some(&volume.options),
        "Scope": "local",
    })
}
