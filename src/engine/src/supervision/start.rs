//! The start of a container.

use std::sync::Arc;

use casemate_spec::wire::{Answer, Ask};

use super::link::{Link, linked};
use super::seat::Seat;
use super::{complain, exit, health, stop, tell, whatever_happens};
use crate::containers::{self, Container, MountPoint, PointKind, Status, set_state};
use crate::{Engine, Failure, Kind, Result, clock, networks};

/// Starts a container; it runs when this comes back.
///
/// # Errors
/// It runs already (`NotModified`), is in no state to be started, or the broker refuses. A program that cannot be
/// started leaves the container as it was, with 126 or 127 for its exit status.
pub async fn start(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move { by_hand(&engine, &container).await }).await
}

/// Stops a container that runs, and starts it.
///
/// # Errors
/// As for stopping and starting.
pub async fn restart(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    signal: Option<i32>,
    timeout: Option<i64>,
) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move {
        let seat = engine.supervision.seat(&container.id);
        let kept = seat.keep();
        match stop::down(&engine, &container, signal, timeout).await {
            Err(failure) if failure.kind != Kind::NotModified => return Err(failure),
            _ => {}
        }
        by_hand(&engine, &container).await?;
        drop(kept);
        tell(&engine, &container, "restart", &[]);
        Ok(())
    })
    .await
}

async fn by_hand(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let seat = engine.supervision.seat(&container.id);
    let turn = seat.turn().await;
    admit(engine, container)?;
    seat.forget_waits();
    let started = launch(engine, container, &seat, 0).await;
    drop(turn);
    if started.is_err() && container.host_config().auto_remove {
        // As Docker does: what was to be removed at its end does not stay because it had no beginning.
        exit::remove(engine, container).await;
    }
    started
}

fn admit(engine: &Engine, container: &Container) -> Result<()> {
    if engine.supervision.is_closing() {
        return Err(Failure::new(Kind::Unavailable, "the daemon ends"));
    }
    if engine.containers.by_id(&container.id).is_none() {
        return Err(Failure::not_found(format!("No such container: {}", container.id)));
    }
    match container.state().status {
        Status::Running | Status::Restarting => Err(Failure::new(Kind::NotModified, "it runs already")),
        Status::Paused => Err(Failure::conflict("cannot start a paused container, try unpause instead")),
        Status::Removing | Status::Dead => {
            Err(Failure::conflict("container is marked for removal and cannot be started"))
        }
        Status::Created | Status::Exited => Ok(()),
    }
}

/// Starts it, in its turn. `restarts`: how often its restart policy has done so.
///
/// # Errors
/// The broker refuses.
pub async fn launch(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    seat: &Arc<Seat>,
    restarts: u32,
) -> Result<()> {
    let begun = ask(engine, container, seat).await.map_err(|failure| worded(failure, &container.mounts));
    match begun {
        Ok((pid, link)) => {
            let kept = set_state(engine, container, |state| {
                state.status = Status::Running;
                (state.pid, state.exit_code, state.error) = (pid, 0, String::new());
                (state.oom_killed, state.stopped_by_hand, state.restart_count) = (false, false, restarts);
                (state.started_at, state.finished_at) = (clock::now(), 0);
                state.health = None;
            });
            if let Err(failure) = kept {
                complain(container, "its start is not kept", &failure);
            }
            tell(engine, container, "start", &[]);
            exit::follow(engine, container, seat, link);
            health::begin(engine, container, seat, true);
            Ok(())
        }
        // What has become of it is not known: whoever comes after us will hear it.
        Err(failure) if failure.kind == Kind::Unavailable => Err(failure),
        Err(failure) => {
            let kept = set_state(engine, container, |state| {
                state.exit_code = exit_status(&failure.message);
                state.error.clone_from(&failure.message);
            });
            if let Err(failure) = kept {
                complain(container, "its failure is not kept", &failure);
            }
            Err(failure)
        }
    }
}

/// Connects it, and starts it; what cannot be started is connected to nothing.
async fn ask(engine: &Arc<Engine>, container: &Arc<Container>, seat: &Seat) -> Result<(i32, Arc<Link>)> {
    for attempt in 0.. {
        networks::up(engine, container, attempt).await?;
        let begun = begin(engine, container, seat).await;
        let Err(failure) = begun else { return begun };
        let told = networks::explained(engine, container, failure.clone());
        networks::down(engine, container).await;
        match networks::again(container, &failure, attempt) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(told),
        }
    }
    Err(Failure::failed("it was tried too often"))
}

async fn begin(engine: &Arc<Engine>, container: &Arc<Container>, seat: &Seat) -> Result<(i32, Arc<Link>)> {
    let (wanted, mut streams, files) = containers::wire(engine, container)?;
    streams.size = seat.stdio.size().or(streams.size);
    seat.set_process(wanted.process.clone());
    let ask = Ask::Start { id: container.id.clone(), container: Box::new(wanted), streams, files };
    match engine.broker.ask(ask).await? {
        (Answer::Started { pid }, connection) => Ok((pid, linked(connection)?)),
        (other, _) => Err(Failure::failed(format!("the broker answered something else: {other:?}"))),
    }
}

/// In Docker's words where a place of the host's is missing: its client takes "no such file" for the program's, and ends
/// with 127.
fn worded(failure: Failure, mounts: &[MountPoint]) -> Failure {
    let missing = mounts.iter().find_map(|point| match &point.kind {
        PointKind::Bind { source, create: false, .. } => {
            let words = format!("open mount source {source}: no such file or directory");
            failure.message.contains(&words).then_some(source)
        }
        _ => None,
    });
    match missing {
        Some(source) => Failure::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {source}"
        )),
        None => failure,
    }
}

/// What a shell would say of a program that cannot be started, by the words that clients look for, too.
pub fn exit_status(message: &str) -> i32 {
    let lower = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["executable file not found", "no such file or directory", "system cannot find the file"]) {
        127
    } else if says(&["permission denied", "is a directory", "exec format error", "not a directory"]) {
        126
    } else {
        128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_started_has_a_shells_status() {
        assert_eq!(exit_status("exec: \"nope\": executable file not found in $PATH"), 127);
        assert_eq!(exit_status("exec: \"/x\": No such file or directory (ENOENT)"), 127);
        assert_eq!(exit_status("exec: \"/etc\": permission denied"), 126);
        assert_eq!(exit_status("exec: \"/etc\": Is a directory"), 126);
        assert_eq!(exit_status("mount: no room"), 128);
    }
}
