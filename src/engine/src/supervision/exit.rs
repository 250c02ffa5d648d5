//! The end of a container's process, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Answer, Ask, Exited};

use super::backoff::Policy;
use super::link::{Link, Shim};
use super::seat::Seat;
use super::{complain, start, tell};
use crate::containers::{self, Container, Status, set_state};
use crate::{Engine, Failure, Kind, Result, clock, networks};

/// The first and the longest wait between two looks whether a process that must have ended has done so.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Opens the streams of a process that runs, and sees it to its end.
pub fn follow(engine: &Arc<Engine>, container: &Arc<Container>, seat: &Arc<Seat>, link: Arc<Link>) {
    // Before anything else can happen: whoever is attached, attaches or writes from now on is served by this run.
    seat.stdio.open(&link);
    seat.begins();
    let (engine, container, seat) = (Arc::clone(engine), Arc::clone(container), Arc::clone(seat));
    tokio::spawn(async move {
        let shim = Shim { broker: engine.broker.clone(), id: container.id.clone(), exec: None };
        let mut link = link;
        let told = loop {
            match seat.stdio.pump(&link, &shim).await {
                Some(exited) => break Some(exited),
                // The shim has let go of us: the process has ended, or it will take us on again.
                None => match shim.connect().await {
                    Ok(again) => {
                        seat.stdio.open(&again);
                        link = again;
                    }
                    Err(_) => break None,
                },
            }
        };
        end(&engine, &container, &seat, told).await;
    });
}

/// A process has ended; `told` is how, where its shim has said so.
pub async fn end(engine: &Arc<Engine>, container: &Arc<Container>, seat: &Arc<Seat>, told: Option<Exited>) {
    let turn = seat.turn().await;
    let parting = seat.stdio.part();
    seat.end_beside();
    engine.supervision.execs.forget(engine, &container.id, false);
    if let Some(exited) = &told {
        // Before the broker forgets it: from here on, no crash loses it.
        note(engine, container, seat, exited);
    }
    // Clients look at the state as soon as they see the end of the output.
    drop(parting);
    let released = match release(engine, container).await {
        Ok(exited) => exited,
        // The broker is gone, and we will be, too; whoever comes after us hears it again.
        Err(failure) if failure.kind == Kind::Unavailable => return,
        Err(failure) => {
            complain(container, "release", &failure);
            None
        }
    };
    let exited = merge(told.clone(), released);
    if told.as_ref() != Some(&exited) {
        note(engine, container, seat, &exited);
    }
    announce(engine, container, &exited);
    networks::down(engine, container).await;
    let restarts = container.state().status == Status::Restarting;
    seat.exited(exited.code);
    drop(turn);
    match restarts.then(|| seat.wait_after()) {
        Some(wait) => again(engine, container, seat, wait),
        None if container.host_config().auto_remove && !seat.is_kept() => remove(engine, container).await,
        None => {}
    }
}

/// What the shim said, and what the broker knows beyond.
fn merge(told: Option<Exited>, released: Option<Exited>) -> Exited {
    let lost = || Exited { code: 137, at: clock::now(), out_of_memory: false, lost: true };
    match (told, released) {
        (Some(told), Some(released)) => {
            Exited { out_of_memory: told.out_of_memory || released.out_of_memory, ..told }
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => lost(),
    }
}

/// Takes down how it ended, and whether that is the end: clients never see one that is none.
fn note(engine: &Engine, container: &Container, seat: &Seat, exited: &Exited) {
    let asked = &container.host_config().restart_policy;
    let policy = Policy::new(&asked.name, asked.maximum_retry_count);
    let stays = engine.supervision.is_closing() || seat.is_kept();
    let kept = set_state(engine, container, |state| {
        let again = policy.restarts(exited.code, state.stopped_by_hand, state.restart_count);
        state.status = match state.status {
            // Whoever removes it has killed it.
            Status::Removing => Status::Removing,
            _ if again && !stays => Status::Restarting,
            _ => Status::Exited,
        };
        (state.pid, state.exit_code, state.oom_killed) = (0, exited.code, exited.out_of_memory);
        state.finished_at = exited.at.max(state.started_at);
        if exited.lost {
            state.error = "its supervisor was lost, and its true exit status with it".to_owned();
        }
    });
    if let Err(failure) = kept {
        complain(container, "its end is not kept", &failure);
    }
}

/// Tells of the end.
fn announce(engine: &Engine, container: &Container, exited: &Exited) {
    let state = container.state();
    let ran = Duration::from_nanos(state.finished_at.saturating_sub(state.started_at));
    if exited.out_of_memory {
        tell(engine, container, "oom", &[]);
    }
    let code = exited.code.to_string();
    tell(engine, container, "die", &[("execDuration", ran.as_secs().to_string()), ("exitCode", code)]);
}

/// Starts it again after a while, unless somebody stops, kills or removes it before.
pub fn again(engine: &Arc<Engine>, container: &Arc<Container>, seat: &Arc<Seat>, wait: Duration) {
    let (engine, container, seat) = (Arc::clone(engine), Arc::clone(container), Arc::clone(seat));
    tokio::spawn(async move {
        seat.pass(wait).await;
        let turn = seat.turn().await;
        let state = container.state();
        if state.status != Status::Restarting || engine.supervision.is_closing() {
            return;
        }
        let launched = start::launch(&engine, &container, &seat, state.restart_count + 1).await;
        if let Err(failure) = launched {
            complain(&container, "restart", &failure);
            if failure.kind == Kind::Unavailable {
                // The broker is gone, and we will be, too; whoever comes after us starts it.
                return;
            }
            let ended = set_state(&engine, &container, |state| state.status = Status::Exited);
            if let Err(failure) = ended {
                complain(&container, "its failure is not kept", &failure);
            }
            seat.exited(container.state().exit_code);
        }
        drop(turn);
    });
}

/// Has the broker give back what the run held. Nothing, where nothing of it is known.
///
/// # Errors
/// The broker is gone, or cannot.
pub async fn release(engine: &Engine, container: &Container) -> Result<Option<Exited>> {
    let mut wait = LOOKS.0;
    loop {
        match engine.broker.ask(Ask::Release { id: container.id.clone() }).await {
            Ok((Answer::Exited(exited), _)) => return Ok(Some(exited)),
            Ok((other, _)) => {
                return Err(Failure::failed(format!("the broker answered something else: {other:?}")));
            }
            Err(failure) if failure.kind == Kind::NotFound => return Ok(None),
            // The shim says that the process has ended a moment before it ends itself.
            Err(failure) if failure.kind == Kind::Conflict => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LOOKS.1);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// `docker run --rm`: it goes when it has ended, with its anonymous volumes.
pub async fn remove(engine: &Arc<Engine>, container: &Arc<Container>) {
    match containers::remove(engine, container, true, false).await {
        Ok(()) => {}
        // Somebody else is at it, or was.
        Err(failure) if matches!(failure.kind, Kind::Conflict | Kind::NotFound) => {}
        Err(failure) => complain(container, "its removal", &failure),
    }
}
