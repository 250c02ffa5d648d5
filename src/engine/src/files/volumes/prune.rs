//! Which volumes there are, and what becomes of those that nobody uses.

use std::sync::Arc;

use casemate_spec::wire::{Task, TaskReply, View};

use super::{ANONYMOUS, Volume, remove};
use crate::files::help;
use crate::filters::Filters;
use crate::{Caller, Engine, Failure, Kind, Result};

/// The filters of a list.
pub const FILTERS: [&str; 5] = ["dangling", "driver", "label", "label!", "name"];
/// The filters of a prune.
pub const PRUNE_FILTERS: [&str; 3] = ["all", "label", "label!"];

/// A tenant's volumes that fit, by name.
///
/// # Errors
/// A filter cannot be read.
pub fn list(engine: &Engine, caller: &Caller, filters: &Filters) -> Result<Vec<Arc<Volume>>> {
    let (dangling, names) = (filters.truth("dangling")?, filters.expressions("name")?);
    let fits = |volume: &Arc<Volume>| {
        dangling.is_none_or(|dangling| dangling == users(engine, volume).is_empty())
            && filters.any("driver", |driver| driver == "local")
            && (names.is_empty() || names.iter().any(|name| name.is_match(&volume.name)))
            && filters.labels(&volume.labels)
    };
    Ok(engine.volumes.of(&caller.tenant).into_iter().filter(fits).collect())
}

/// Containers that have a volume.
pub fn users(engine: &Engine, volume: &Volume) -> Vec<String> {
    let users = engine.containers.with_volume(&volume.tenant, &volume.place);
    users.into_iter().map(String::from).collect()
}

/// Bytes in a volume.
///
/// # Errors
/// The helper failed.
pub async fn size(engine: &Engine, volume: &Volume) -> Result<u64> {
    match help(engine, View::Volume(volume.place.clone()), Task::Size, None).await? {
        TaskReply::Size { bytes } => Ok(bytes),
        TaskReply::Failed(failed) => Err(Failure::failed(failed.message)),
        _ => Err(Failure::failed("the helper for files said something else")),
    }
}

/// Removes the tenant's volumes that no container has: those without a name of their own, or `all`. Gives their names,
/// and the bytes that were in them.
///
/// # Errors
/// A filter cannot be read.
pub async fn prune(
    engine: &Engine,
    caller: &Caller,
    filters: &Filters,
    all: bool,
) -> Result<(Vec<String>, u64)> {
    let all = filters.truth("all")?.unwrap_or(all);
    let (mut names, mut bytes) = (Vec::new(), 0_u64);
    for volume in engine.volumes.of(&caller.tenant) {
        let meant = all || volume.labels.contains_key(ANONYMOUS);
        if !meant || !filters.labels(&volume.labels) || !users(engine, &volume).is_empty() {
            continue;
        }
        let size = size(engine, &volume).await.unwrap_or_default();
        match remove(engine, &volume).await {
            Ok(()) => {
                names.push(volume.name.clone());
                bytes = bytes.saturating_add(size);
            }
            // Somebody has just taken it.
            Err(failure) if failure.kind == Kind::Conflict => {}
            Err(failure) => eprintln!("casemated: volume {}: it stays: {failure}", volume.name),
        }
    }
    let told = [("reclaimed".to_owned(), bytes.to_string())].into();
    engine.events.publish(&caller.tenant, "volume", "prune", "", told);
    Ok((names, bytes))
}
