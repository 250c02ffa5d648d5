//! What is kept of one container while the daemon lives: its streams, who waits for its end, its turn to change.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci_spec::runtime::Process;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::task::AbortHandle;

use super::backoff::BackOff;
use super::stdio::Stdio;

/// A container's place.
#[derive(Debug, Default)]
pub struct Seat {
    /// Its streams, over all runs.
    pub stdio: Arc<Stdio>,
    turn: Arc<tokio::sync::Mutex<()>>,
    tally: watch::Sender<Tally>,
    back_off: Mutex<BackOff>,
    /// When the present run began, or was found. The times of the state are the wall clock's, which may jump.
    began: Mutex<Option<Instant>>,
    /// A restart that was waited for is off.
    called_off: Notify,
    /// How many restarts by hand are under way: its end is no reason to remove it meanwhile.
    kept: AtomicUsize,
    /// What runs beside it and ends with it: the health check.
    beside: Mutex<Option<AbortHandle>>,
    /// What was started, for execs to take after.
    process: Mutex<Option<Arc<Process>>>,
}

/// What has happened to a container, as those who wait for it want to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many runs have ended.
    pub exits: u64,
    /// How the last one did.
    pub code: i32,
    /// The container is gone.
    pub removed: bool,
}

/// A restart by hand, under way.
#[derive(Debug)]
pub struct Kept<'a>(&'a Seat);

impl Seat {
    /// Waits until nobody else changes whether it runs.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// What happens to it from now on.
    pub fn watch(&self) -> watch::Receiver<Tally> {
        self.tally.subscribe()
    }

    /// A run has ended.
    pub fn exited(&self, code: i32) {
        self.tally.send_modify(|tally| (tally.exits, tally.code) = (tally.exits + 1, code));
    }

    /// The container is gone.
    pub fn removed(&self) {
        self.end_beside();
        self.stdio.shut();
        self.called_off.notify_waiters();
        self.tally.send_modify(|tally| tally.removed = true);
    }

    /// A run begins.
    pub fn begins(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long the restart after this run waits.
    pub fn wait_after(&self) -> Duration {
        let began = self.began.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ran = began.map_or(Duration::ZERO, |began| began.elapsed());
        self.back_off.lock().unwrap_or_else(PoisonError::into_inner).next(ran)
    }

    /// A start by hand: the waits begin anew.
    pub fn forget_waits(&self) {
        *self.back_off.lock().unwrap_or_else(PoisonError::into_inner) = BackOff::default();
    }

    /// Ends a wait for the next start.
    pub fn call_off(&self) {
        self.called_off.notify_waiters();
    }

    /// Waits before the next start, or until that is off.
    pub async fn pass(&self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.called_off.notified() => {}
        }
    }

    /// Keeps it from being removed at its end, while the guard lives.
    pub fn keep(&self) -> Kept<'_> {
        self.kept.fetch_add(1, Ordering::Relaxed);
        Kept(self)
    }

    /// Whether its end is part of a restart by hand.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > 0
    }

    /// Something that runs beside the process, and ends with it.
    pub fn set_beside(&self, task: Option<AbortHandle>) {
        let before = std::mem::replace(&mut *self.beside(), task);
        before.iter().for_each(AbortHandle::abort);
    }

    /// Ends it.
    pub fn end_beside(&self) {
        self.set_beside(None);
    }

    /// What was started.
    pub fn set_process(&self, process: Process) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(process));
    }

    /// What was started, if it was since the daemon lives.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn beside(&self) -> std::sync::MutexGuard<'_, Option<AbortHandle>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}
