//! Signals, and the ends they bring about.

use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::Ask;

use super::signals::{KILL, TERM};
use super::wait::{Condition, wait};
use super::{not_running, signals, tell, whatever_happens};
use crate::containers::{Container, Status, set_state};
use crate::{Engine, Failure, Kind, Result};

/// How long a process has to end by itself where nobody says otherwise.
const USUAL: i64 = 10;
/// How long one that was killed has to be gone.
const GONE: Duration = Duration::from_secs(30);

/// Stops a container: its stop signal (or `signal`), and KILL after a time (`timeout` seconds, below 0 never).
///
/// # Errors
/// It does not run (`NotModified`), or does not end.
pub async fn stop(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    signal: Option<i32>,
    timeout: Option<i64>,
) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move { down(&engine, &container, signal, timeout).await }).await
}

/// Sends a signal; comes back after the end where it is KILL.
///
/// # Errors
/// It does not run, or the broker cannot.
pub async fn kill(engine: &Arc<Engine>, container: &Arc<Container>, signal: i32) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move {
        let within =
            |failure: Failure| failure.within(format!("cannot kill container: {}", container.name()));
        let ended = wait(&engine, &container, Condition::NextExit);
        match container.state().status {
            Status::Running | Status::Paused => {}
            Status::Restarting => return call_off(&engine, &container).await,
            _ => return Err(within(not_running(&container))),
        }
        if signal == KILL || signal == stop_signal(&container)? {
            by_hand(&engine, &container)?;
        }
        send(&engine, &container, signal).await.map_err(within)?;
        if signal == KILL {
            gone(&container, ended).await?;
        }
        Ok(())
    })
    .await
}

/// Kills whatever runs of a container and keeps it from being started again: for its removal. Nothing running is as
/// good.
///
/// # Errors
/// It does not end.
pub async fn end(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    match kill(engine, container, KILL).await {
        Err(failure) if failure.kind != Kind::Conflict => Err(failure),
        _ => Ok(()),
    }
}

/// As [`stop`], within the caller's task.
///
/// # Errors
/// As for [`stop`].
pub async fn down(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    signal: Option<i32>,
    timeout: Option<i64>,
) -> Result<()> {
    let ended = wait(engine, container, Condition::NextExit);
    match container.state().status {
        Status::Running | Status::Paused => {}
        Status::Restarting => return call_off(engine, container).await,
        _ => return Err(Failure::new(Kind::NotModified, "it does not run")),
    }
    by_hand(engine, container)?;
    finish(engine, container, signal, timeout, ended).await?;
    tell(engine, container, "stop", &[]);
    Ok(())
}

/// The signal, the time, and KILL.
///
/// # Errors
/// It does not end.
pub async fn finish(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    signal: Option<i32>,
    timeout: Option<i64>,
    ended: impl Future<Output = super::Waited> + Send,
) -> Result<()> {
    let signal = match signal {
        Some(signal) => signal,
        None => stop_signal(container)?,
    };
    let seconds = timeout.or(container.config.stop_timeout).unwrap_or(USUAL);
    let mut ended = std::pin::pin!(ended);
    send(engine, container, signal).await?;
    match u64::try_from(seconds) {
        Err(_) => {
            ended.as_mut().await;
            return Ok(());
        }
        Ok(seconds) => {
            if tokio::time::timeout(Duration::from_secs(seconds), ended.as_mut()).await.is_ok() {
                return Ok(());
            }
        }
    }
    send(engine, container, KILL).await?;
    gone(container, ended).await
}

/// Sends a signal. One that came too late is as good as any.
async fn send(engine: &Arc<Engine>, container: &Arc<Container>, signal: i32) -> Result<()> {
    let frozen = container.state().status == Status::Paused;
    if signal == KILL {
        // Nobody who is attached may hold up what must end.
        engine.supervision.seat(&container.id).stdio.hurry();
    }
    let ask = Ask::Signal { id: container.id.clone(), exec: None, signal, all: false };
    match engine.broker.done(ask, &[]).await {
        Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Conflict) => return Ok(()),
        other => other?,
    }
    tell(engine, container, "kill", &[("signal", signal.to_string())]);
    if frozen && (signal == KILL || signal == stop_signal(container)?) {
        // What is frozen takes no signal before it is thawed.
        match super::pause::thaw(engine, container).await {
            // The signal has thawed it by itself, or it has ended meanwhile.
            Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Conflict) => {}
            other => other?,
        }
    }
    Ok(())
}

async fn gone(container: &Container, ended: impl Future<Output = super::Waited>) -> Result<()> {
    match tokio::time::timeout(GONE, ended).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::failed(format!(
            "container {} was killed and is still there after {} s",
            container.id,
            GONE.as_secs()
        ))),
    }
}

/// Takes back a start that a restart policy waits for.
async fn call_off(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let seat = engine.supervision.seat(&container.id);
    let turn = seat.turn().await;
    let mut off = false;
    set_state(engine, container, |state| {
        state.stopped_by_hand = true;
        off = state.status == Status::Restarting;
        if off {
            state.status = Status::Exited;
        }
    })?;
    seat.call_off();
    drop(turn);
    if off {
        seat.exited(container.state().exit_code);
        return Ok(());
    }
    // It was started a moment before.
    let ended = wait(engine, container, Condition::NotRunning);
    Box::pin(finish(engine, container, None, None, ended)).await
}

fn by_hand(engine: &Engine, container: &Container) -> Result<()> {
    set_state(engine, container, |state| state.stopped_by_hand = true)
}

/// The signal that asks it to end.
fn stop_signal(container: &Container) -> Result<i32> {
    match container.config.stop_signal.as_str() {
        "" => Ok(TERM),
        name => signals::parse(name),
    }
}
