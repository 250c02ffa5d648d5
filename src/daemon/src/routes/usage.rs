//! `GET /system/df`: what takes up room.

use casemate_engine::containers::{self, ListAsked};
use casemate_engine::files::volumes;
use casemate_engine::images::{self, Counted};
use casemate_engine::{Failure, Result};
use serde_json::{Map, Value, json};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] =
    &[Route::new(Verb::Get, "/system/df", "system.df", Subject::Tenant, |call| Box::pin(usage(call)))];

/// What may be asked for; everything where nothing is.
const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

async fn usage(call: Call) -> Result<Answer> {
    let kinds: Vec<&str> = call.query.all("type").filter(|kind| !kind.is_empty()).collect();
    if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Failure::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
    let (engine, caller) = (&call.engine, &call.caller);
    let mut all = Map::new();
    if wanted("image") {
        let counted = Counted { shared: true, containers: true };
        let found = images::list(engine, caller, &images::Filters::default(), false, counted)?;
        all.insert("LayersSize".to_owned(), images::layers_size(engine, &caller.tenant).into());
        all.insert("Images".to_owned(), json!(found));
    }
    if wanted("container") {
        let asked = ListAsked { all: true, size: true, ..ListAsked::default() };
        all.insert("Containers".to_owned(), containers::list(engine, caller, &asked).await?.into());
    }
    if wanted("volume") {
        all.insert("Volumes".to_owned(), volumes_of(&call).await?);
    }
    if wanted("build-cache") {
        all.insert("BuildCache".to_owned(), json!([]));
        all.insert("BuilderSize".to_owned(), 0.into());
    }
    Ok(Answer::ok(&all))
}

async fn volumes_of(call: &Call) -> Result<Value> {
    let mut found = Vec::new();
    for volume in call.engine.volumes.of(&call.caller.tenant) {
        let users = volumes::users(&call.engine, &volume).len();
        // One that goes away meanwhile has no size.
        let size =
            volumes::size(&call.engine, &volume).await.map_or(-1, |size| i64::try_from(size).unwrap_or(-1));
        let mut shown = super::volumes::shown(&call.engine, &volume);
        shown["UsageData"] = json!({ "RefCount": users, "Size": size });
        found.push(shown);
    }
    Ok(found.into())
}
