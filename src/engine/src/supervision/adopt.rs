//! What ran before the daemon did, and what runs on after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Adopted, Ask, Exited, HexId};
use serde::{Deserialize, Serialize};

use super::backoff::Policy;
use super::link::{Link, Shim};
use super::wait::{Condition, wait};
use super::{complain, exec, exit, health, stop, tell};
use crate::containers::{Container, State, Status, set_state};
use crate::{Engine, Kind, Result, clock, networks};

/// The document that tells an orderly end from a crash: after the first, a daemon starts anew what its policy wants.
const FAREWELL: (&str, &str) = ("daemon", "farewell");

#[derive(Debug, Serialize, Deserialize)]
struct Farewell {
    /// Nothing was left running.
    stopped: bool,
}

/// Takes over what runs already, gives what ended meanwhile its end, and starts what should run.
///
/// # Errors
/// The metadata cannot be read or written.
pub async fn adopt(engine: &Arc<Engine>, running: Vec<Adopted>) -> Result<()> {
    let said: Vec<(String, Farewell)> = engine.db.all(FAREWELL.0)?;
    let stopped = said.iter().any(|(_, farewell)| farewell.stopped);
    engine.db.remove(FAREWELL.0, FAREWELL.1)?;
    let (execs, running): (Vec<_>, Vec<_>) = running.into_iter().partition(|one| one.exec.is_some());
    let mut running: HashMap<HexId, Adopted> = running.into_iter().map(|one| (one.id.clone(), one)).collect();
    // Nothing at all of what should run does: the host was down.
    let anew = stopped || running.is_empty();
    for container in engine.containers.all() {
        let adopted = running.remove(&container.id);
        one(engine, &container, adopted, anew).await;
    }
    exec::adopt(engine, execs)?;
    for unknown in running.into_keys() {
        abandon(engine, unknown);
    }
    Ok(())
}

async fn one(engine: &Arc<Engine>, container: &Arc<Container>, adopted: Option<Adopted>, anew: bool) {
    let state = container.state();
    match adopted {
        Some(Adopted { pid: Some(pid), paused, exited: None, .. }) => {
            match connect(engine, container).await {
                Ok(link) => take_over(engine, container, pid, paused, link),
                // It has ended since the broker said so.
                Err(_) => ended(engine, container, None),
            }
        }
        // Its start was under way when the broker died, or it ended while the broker looked.
        Some(Adopted { exited: None, paused, .. }) => unsettled(engine, container, paused, anew),
        Some(Adopted { exited: Some(exited), .. }) if state.is_running() || is_news(&state, &exited) => {
            ended(engine, container, Some(exited));
        }
        // Its end is known already, or it never began: the broker had not been told to forget it.
        Some(_) => called_off(engine, container, anew).await,
        None if state.is_running() => ended(engine, container, None),
        None => catch_up(engine, container, anew),
    }
}

/// Whether this is the end of a run of which nothing was taken down: a crash came between its start and our note of it.
fn is_news(state: &State, exited: &Exited) -> bool {
    !exited.lost && exited.at > state.finished_at
}

async fn connect(engine: &Engine, container: &Container) -> Result<Arc<Link>> {
    let shim = Shim { broker: engine.broker.clone(), id: container.id.clone(), exec: None };
    shim.connect().await
}

fn take_over(engine: &Arc<Engine>, container: &Arc<Container>, pid: i32, paused: bool, link: Arc<Link>) {
    let known = container.is_running();
    let kept = set_state(engine, container, |state| {
        state.status = if paused { Status::Paused } else { Status::Running };
        state.pid = pid;
        if !known {
            // The crash came between its start and our note of it.
            (state.started_at, state.finished_at, state.exit_code) = (clock::now(), 0, 0);
            state.error.clear();
        }
    });
    if let Err(failure) = kept {
        complain(container, "its adoption is not kept", &failure);
    }
    if !known {
        tell(engine, container, "start", &[]);
    }
    let seat = engine.supervision.seat(&container.id);
    exit::follow(engine, container, &seat, link);
    health::begin(engine, container, &seat, !known);
}

/// The shim alone knows whether its process runs. It says so at once, or when the start that is being called off has
/// come to nothing.
fn unsettled(engine: &Arc<Engine>, container: &Arc<Container>, paused: bool, anew: bool) {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    tokio::spawn(async move {
        let turn = engine.supervision.seat(&container.id).turn().await;
        if let Ok(link) = connect(&engine, &container).await
            && let Some(pid) = link.greeting().await
        {
            return take_over(&engine, &container, pid, paused, link);
        }
        if container.is_running() {
            return ended(&engine, &container, None);
        }
        called_off(&engine, &container, anew).await;
        drop(turn);
    });
}

/// A run that is over and changes nothing: its end is known, or it was called off before it had begun.
async fn called_off(engine: &Arc<Engine>, container: &Arc<Container>, anew: bool) {
    let exited = match exit::release(engine, container).await {
        Ok(exited) => exited,
        Err(failure) => return complain(container, "release", &failure),
    };
    networks::down(engine, container).await;
    let state = container.state();
    if let Some(exited) = exited.filter(|exited| is_news(&state, exited)) {
        return ended(engine, container, Some(exited));
    }
    if state.status == Status::Created {
        let why = "its start was called off: the daemon's programs were restarted meanwhile";
        let kept = set_state(engine, container, |state| why.clone_into(&mut state.error));
        if let Err(failure) = kept {
            complain(container, "its failure is not kept", &failure);
        }
        if container.host_config().auto_remove {
            // What was to be removed at its end does not stay because it had no beginning. Removal has a turn of its own.
            let (engine, container) = (Arc::clone(engine), Arc::clone(container));
            tokio::spawn(async move { exit::remove(&engine, &container).await });
            return;
        }
    }
    catch_up(engine, container, anew);
}

fn ended(engine: &Arc<Engine>, container: &Arc<Container>, exited: Option<Exited>) {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    tokio::spawn(async move {
        if let Some(exited) = exited.as_ref().filter(|_| !container.is_running()) {
            // When it began is not known any more.
            let kept = set_state(&engine, &container, |state| state.started_at = exited.at);
            if let Err(failure) = kept {
                complain(&container, "its start is not kept", &failure);
            }
            tell(&engine, &container, "start", &[]);
        }
        let seat = engine.supervision.seat(&container.id);
        exit::end(&engine, &container, &seat, exited).await;
    });
}

/// What does not run, and perhaps should.
fn catch_up(engine: &Arc<Engine>, container: &Arc<Container>, anew: bool) {
    let state = container.state();
    let asked = &container.host_config().restart_policy;
    let policy = Policy::new(&asked.name, asked.maximum_retry_count);
    let starts = match state.status {
        Status::Restarting => true,
        Status::Exited => anew && policy.starts_with_daemon(state.exit_code, state.stopped_by_hand),
        _ => false,
    };
    if starts {
        let kept = set_state(engine, container, |state| state.status = Status::Restarting);
        if let Err(failure) = kept {
            complain(container, "its restart is not kept", &failure);
        }
        let seat = engine.supervision.seat(&container.id);
        exit::again(engine, container, &seat, Duration::ZERO);
    } else if matches!(state.status, Status::Exited | Status::Dead) && container.host_config().auto_remove {
        // A removal that was under way when the broker went has left it dead.
        let (engine, container) = (Arc::clone(engine), Arc::clone(container));
        tokio::spawn(async move { exit::remove(&engine, &container).await });
    }
}

/// What runs and nobody knows of belongs to nobody who could ever stop it.
fn abandon(engine: &Arc<Engine>, id: HexId) {
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        eprintln!("casemated: container {}: it runs and is not known: killed", id.short());
        let kill = Ask::Signal { id: id.clone(), exec: None, signal: super::signals::KILL, all: true };
        engine.broker.done(kill, &[]).await.ok();
        for _ in 0..100 {
            match engine.broker.ask(Ask::Release { id: id.clone() }).await {
                Err(failure) if failure.kind == Kind::Conflict => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                _ => break,
            }
        }
        engine.broker.done(Ask::RemoveContainer { id }, &[]).await.ok();
    });
}

/// The daemon ends in good order: containers are stopped, or run on (`keep`).
///
/// # Errors
/// The broker is gone, or the metadata cannot be written.
pub async fn shutdown(engine: &Arc<Engine>, keep: bool) -> Result<()> {
    engine.supervision.close();
    if !keep {
        let mut stops = tokio::task::JoinSet::new();
        for container in engine.containers.all() {
            if container.is_running() {
                let engine = Arc::clone(engine);
                stops.spawn(async move {
                    let ended = wait(&engine, &container, Condition::NotRunning);
                    let stopped = stop::finish(&engine, &container, None, None, ended).await;
                    stopped.inspect_err(|failure| complain(&container, "stop", failure)).ok();
                });
            }
        }
        while stops.join_next().await.is_some() {}
    }
    engine.db.put(FAREWELL.0, FAREWELL.1, &Farewell { stopped: !keep })?;
    engine.broker.done(Ask::Farewell { keep }, &[]).await
}
