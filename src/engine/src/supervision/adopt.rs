//! What ran before the daemon did, and what runs on after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Adopted, Ask, Exited, HexId};
use serde::{Deserialize, Serialize};

use super::backoff::Policy;
use super::link::Shim;
use super::wait::{Condition, wait};
use super::{complain, exit, health, stop, tell};
use crate::containers::{Container, Status, set_state};
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
    let mut running: HashMap<HexId, Adopted> =
        running.into_iter().filter(|one| one.exec.is_none()).map(|one| (one.id.clone(), one)).collect();
    // Nothing at all of what should run does: the host was down.
    let anew = stopped || running.is_empty();
    for container in engine.containers.all() {
        let adopted = running.remove(&container.id);
        one(engine, &container, adopted, anew).await;
    }
    for unknown in running.into_keys() {
        abandon(engine, unknown);
    }
    Ok(())
}

async fn one(engine: &Arc<Engine>, container: &Arc<Container>, adopted: Option<Adopted>, anew: bool) {
    let state = container.state();
    let was_up = state.is_running();
    match adopted {
        Some(Adopted { pid: Some(pid), paused, exited: None, .. }) => {
            take_over(engine, container, pid, paused).await;
        }
        Some(Adopted { exited, .. }) => {
            let seat = engine.supervision.seat(&container.id);
            if was_up || state.status == Status::Created {
                ended(engine, container, exited);
            } else {
                // Its end is known already: the broker had not been told to forget it.
                if let Err(failure) = exit::release(engine, container).await {
                    complain(container, "release", &failure);
                }
                networks::down(engine, container).await;
                catch_up(engine, container, anew);
            }
            drop(seat);
        }
        None if was_up => ended(engine, container, None),
        None => catch_up(engine, container, anew),
    }
}

async fn take_over(engine: &Arc<Engine>, container: &Arc<Container>, pid: i32, paused: bool) {
    let known = container.is_running();
    let shim = Shim { broker: engine.broker.clone(), id: container.id.clone(), exec: None };
    let link = match shim.connect().await {
        Ok(link) => link,
        // It has ended since the broker said so.
        Err(_) => return ended(engine, container, None),
    };
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

fn ended(engine: &Arc<Engine>, container: &Arc<Container>, exited: Option<Exited>) {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    tokio::spawn(async move {
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
        let kill = Ask::Signal { id: id.clone(), signal: super::signals::KILL, all: true };
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
