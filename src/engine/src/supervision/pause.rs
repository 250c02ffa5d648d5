//! Freezing and thawing, and other limits for what runs.

use std::sync::Arc;

use casemate_spec::wire::Ask;
use oci_spec::runtime::LinuxResources;

use super::{not_running, tell, whatever_happens};
use crate::containers::{Container, Status, set_state};
use crate::{Engine, Failure, Result};

/// Freezes a container.
///
/// # Errors
/// It does not run, is frozen already, or the broker cannot.
pub async fn pause(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move {
        let turn = super::hold(&engine, &container).await;
        match container.state().status {
            Status::Running => {}
            Status::Paused => {
                return Err(Failure::conflict(format!("container {} is already paused", container.id)));
            }
            Status::Restarting => {
                let message =
                    format!("container {} is restarting, wait until the container is running", container.id);
                return Err(Failure::conflict(message));
            }
            _ => return Err(not_running(&container)),
        }
        engine.broker.done(Ask::Pause { id: container.id.clone() }, &[]).await?;
        set_state(&engine, &container, |state| state.status = Status::Paused)?;
        drop(turn);
        tell(&engine, &container, "pause", &[]);
        Ok(())
    })
    .await
}

/// Thaws a container.
///
/// # Errors
/// It is not frozen, or the broker cannot.
pub async fn resume(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move {
        if container.state().status != Status::Paused {
            return Err(Failure::conflict(format!("Container {} is not paused", container.id)));
        }
        thaw(&engine, &container).await
    })
    .await
}

/// Thaws it, and tells of it.
///
/// # Errors
/// The broker cannot.
pub async fn thaw(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let turn = super::hold(engine, container).await;
    if container.state().status != Status::Paused {
        return Ok(());
    }
    engine.broker.done(Ask::Resume { id: container.id.clone() }, &[]).await?;
    set_state(engine, container, |state| state.status = Status::Running)?;
    drop(turn);
    tell(engine, container, "unpause", &[]);
    Ok(())
}

/// Gives a container other limits, if it runs; what is kept of them is the caller's.
///
/// # Errors
/// The broker cannot.
pub async fn update(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    resources: LinuxResources,
) -> Result<()> {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    whatever_happens(async move {
        let turn = super::hold(&engine, &container).await;
        if container.is_running() {
            let ask = Ask::Update { id: container.id.clone(), resources: Box::new(resources) };
            engine.broker.done(ask, &[]).await?;
        }
        drop(turn);
        Ok(())
    })
    .await
}
