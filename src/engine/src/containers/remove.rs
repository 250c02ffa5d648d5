//! `docker rm`, `docker container prune`, and what a crash left half removed.

use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Answer, Ask};

use super::{Container, PointKind, Status, inspect, record, set_state};
use crate::files::volumes;
use crate::filters::Filters;
use crate::supervision::Condition;
use crate::{Caller, Engine, Failure, Kind, Result, clock, supervision};

/// How long what was killed has to be gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// The filters of `prune`.
pub const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

/// Removes a container; `volumes` also its anonymous volumes, `force` even while it runs.
///
/// # Errors
/// It runs, is being removed by somebody else, or the broker refuses.
pub async fn remove(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    volumes: bool,
    force: bool,
) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    let work = async move { whole(&engine, &container, volumes, force).await };
    tokio::spawn(work).await.map_err(|error| Failure::failed(format!("it broke off: {error}")))?
}

async fn whole(engine: &Arc<Engine>, container: &Arc<Container>, volumes: bool, force: bool) -> Result<()> {
    let marked = mark(engine, container, force)?;
    if force {
        end(engine, container).await?;
    }
    let turn = supervision::hold(engine, container).await;
    // What ends with `--rm` is removed by its end, too: whoever comes first.
    if engine.containers.by_id(&container.id).is_none() {
        return Ok(());
    }
    let before = marked.unwrap_or_else(|| container.state().status);
    finish(engine, container, volumes, before).await?;
    drop(turn);
    Ok(())
}

/// Removes what nobody else will touch. `before` is what it is again when nobody could be asked.
async fn finish(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    volumes: bool,
    before: Status,
) -> Result<()> {
    set_state(engine, container, |state| state.status = Status::Removing)?;
    let removed = engine.broker.done(Ask::RemoveContainer { id: container.id.clone() }, &[]).await;
    let forgotten = removed.and_then(|()| {
        engine.db.write(|batch| {
            engine.networks.forget(batch, &container.id)?;
            record::forget(batch, &container.id)
        })
    });
    if let Err(failure) = forgotten {
        let asked = failure.kind != Kind::Unavailable;
        set_state(engine, container, |state| {
            if asked {
                state.status = Status::Dead;
                state.error.clone_from(&failure.message);
            } else {
                // The broker was gone, and is about to be back: nothing is wrong with the container.
                state.status = before;
            }
        })?;
        return Err(failure.within(format!("cannot remove container \"/{}\"", container.name())));
    }
    engine.containers.drop_container(container);
    engine.networks.forgotten(&container.id);
    if volumes || container.host_config().auto_remove {
        drop_volumes(engine, container).await;
    }
    // Layers that only this container still had.
    crate::images::sweep(engine).await;
    supervision::tell(engine, container, "destroy", &[]);
    supervision::removed(engine, container);
    Ok(())
}

/// Kills it, and waits until it is known to have ended. The turn that follows is had once its end is dealt with.
async fn end(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    supervision::end(engine, container).await?;
    let ended = supervision::wait(engine, container, Condition::NotRunning);
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        let message = format!("could not kill container {}: it is still there", container.id);
        return Err(Failure::failed(message));
    }
    Ok(())
}

/// Whoever marks it first removes it. Gives what it was before, if it was marked.
fn mark(engine: &Engine, container: &Container, force: bool) -> Result<Option<Status>> {
    let refuse = |why: String| {
        Err(Failure::conflict(format!("cannot remove container \"/{}\": {why}", container.name())))
    };
    if engine.containers.by_id(&container.id).is_none() {
        return Err(Failure::not_found(format!("No such container: {}", container.id)));
    }
    let status = container.state().status;
    match status {
        Status::Removing => {
            return Err(Failure::conflict(format!(
                "removal of container {} is already in progress",
                container.id
            )));
        }
        Status::Paused if !force => {
            return refuse("container is paused and must be unpaused first".to_owned());
        }
        Status::Running | Status::Restarting if !force => {
            return refuse(format!(
                "container is {}: stop the container before removing or force remove",
                status.as_str()
            ));
        }
        // What runs is marked once it has ended: nothing else can be told of its end.
        Status::Running | Status::Restarting | Status::Paused => return Ok(None),
        Status::Created | Status::Exited | Status::Dead => {}
    }
    set_state(engine, container, |state| state.status = Status::Removing)?;
    Ok(Some(status))
}

async fn drop_volumes(engine: &Engine, container: &Container) {
    for point in &container.mounts {
        let PointKind::Volume { name, anonymous: true, .. } = &point.kind else { continue };
        let volume = engine.volumes.of(&container.tenant).into_iter().find(|volume| volume.name == *name);
        let Some(volume) = volume else { continue };
        match volumes::remove(engine, &volume).await {
            Err(failure) if failure.kind != Kind::Conflict => {
                eprintln!("casemated: volume {name}: it stays: {failure}");
            }
            _ => {}
        }
    }
}

/// Removes a tenant's containers that do not run. Gives their ids, and the bytes that were theirs.
///
/// # Errors
/// A filter is none.
pub async fn prune(engine: &Arc<Engine>, caller: &Caller, filters: &Filters) -> Result<(Vec<String>, u64)> {
    let until = filters.until(clock::now())?;
    let (mut ids, mut bytes) = (Vec::new(), 0);
    for container in engine.containers.of(&caller.tenant) {
        let still = matches!(container.state().status, Status::Created | Status::Exited | Status::Dead);
        let old = until.is_none_or(|until| container.created < until);
        if !still || !old || !filters.labels(&container.config.labels()) {
            continue;
        }
        let size = inspect::size(engine, &container).await.unwrap_or_default();
        // Somebody else may be quicker, or start it.
        if remove(engine, &container, false, false).await.is_ok() {
            ids.push(container.id.to_string());
            bytes += size.own;
        }
    }
    let attributes = [("reclaimed".to_owned(), bytes.to_string())].into();
    engine.events.publish(&caller.tenant, "container", "prune", "", attributes);
    Ok((ids, bytes))
}

/// After a crash: what was being removed is removed, and places of containers that nobody knows are given back.
///
/// # Errors
/// The broker is gone.
pub async fn reconcile(engine: &Arc<Engine>) -> Result<()> {
    for container in engine.containers.all() {
        if container.state().status != Status::Removing {
            continue;
        }
        let turn = supervision::hold(engine, &container).await;
        // Its end may have removed it meanwhile.
        let known = engine.containers.by_id(&container.id).is_some();
        if known
            && container.state().status == Status::Removing
            && let Err(failure) = finish(engine, &container, true, Status::Removing).await
        {
            eprintln!("casemated: container {}: its removal: {failure}", container.id.short());
        }
        drop(turn);
    }
    let (Answer::Stored(stored), _) = engine.broker.ask(Ask::List).await? else {
        return Err(Failure::failed("the broker answered something else than what it stores"));
    };
    for id in stored.containers {
        if engine.containers.by_id(&id).is_none()
            && let Err(failure) = engine.broker.done(Ask::RemoveContainer { id: id.clone() }, &[]).await
        {
            eprintln!("casemated: container {}: its place stays: {failure}", id.short());
        }
    }
    Ok(())
}
