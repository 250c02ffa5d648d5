//! Containers while they run: streams, exits, restarts, execs, health.
//!
//! Whatever must come about although nobody waits for it any more (a start, an exit, a restart) runs in a task of its
//! own; a client that goes away takes nothing with it but its own stream.

mod adopt;
mod attach;
mod backoff;
mod detach;
pub mod exec;
mod exit;
mod funnel;
mod health;
mod link;
pub mod logs;
mod pause;
mod seat;
mod signals;
mod start;
pub mod stats;
mod stdio;
mod stop;
mod tell;
mod top;
mod wait;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::HexId;
use tokio::sync::OwnedMutexGuard;

pub use adopt::{adopt, shutdown};
pub use attach::{Attachment, Wanted, attach};
pub use detach::DetachKeys;
pub use pause::{pause, resume, update};
pub use signals::parse as signal;
pub use start::{restart, start};
pub use stdio::{Chunk, Stdio, Stream, frame};
pub use stop::{end, kill, stop};
pub use tell::{tell, tell_listeners};
pub use top::{Top, top};
pub use wait::{Condition, Waited, wait};

use crate::containers::Container;
use crate::{Engine, Failure, Result};
use exec::Execs;
use seat::Seat;

/// What runs, and who waits for it.
#[derive(Debug, Default)]
pub struct Supervision {
    /// What else runs in containers.
    pub execs: Execs,
    seats: Mutex<HashMap<HexId, Arc<Seat>>>,
    /// The daemon ends: nothing is started again.
    closing: AtomicBool,
}

impl Supervision {
    /// A container's place here; made at its first use, so that clients can attach and wait before the start.
    fn seat(&self, id: &HexId) -> Arc<Seat> {
        Arc::clone(self.seats().entry(id.clone()).or_default())
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<HexId, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this is held, the container is neither started nor does its end change what is known of it: for removal, and
/// whatever else must not meet a start half-way.
pub async fn hold(engine: &Engine, container: &Container) -> OwnedMutexGuard<()> {
    engine.supervision.seat(&container.id).turn().await
}

/// To be told by whoever has removed a container: those who wait for that are answered, those who are attached are let
/// go.
pub fn removed(engine: &Engine, container: &Container) {
    engine.supervision.execs.forget(engine, &container.id, true);
    let seat = engine.supervision.seats().remove(&container.id);
    if let Some(seat) = seat {
        seat.removed();
    }
}

/// Sets the size of a container's terminal.
///
/// # Errors
/// It does not run.
pub async fn resize(engine: &Engine, container: &Container, rows: u16, columns: u16) -> Result<()> {
    let seat = engine.supervision.seat(&container.id);
    if !container.is_running() {
        return Err(not_running(container));
    }
    seat.stdio.resize(rows, columns).await
}

/// 409, in Docker's words.
fn not_running(container: &Container) -> Failure {
    Failure::conflict(format!("container {} is not running", container.id))
}

/// Runs something to its end whatever becomes of the client who asked for it.
async fn whatever_happens<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::failed(format!("it broke off: {error}"))),
    }
}

/// For the daemon's own log: what failed and has nobody to be told to.
fn complain(container: &Container, what: &str, failure: &Failure) {
    eprintln!("casemated: container {}: {what}: {failure}", container.id.short());
}
