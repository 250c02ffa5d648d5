//! A client's connection, as the server keeps account of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use casemate_engine::Caller;
use rustls::pki_types::CertificateDer;

use super::gate::Place;
use super::socket::Closer;

/// One connection whose handshake is over.
#[derive(Debug)]
pub struct Session {
    /// Who is at the other end.
    pub caller: Caller,
    /// Their certificate and those above it, to be judged again when a revocation list changes.
    pub chain: Vec<CertificateDer<'static>>,
    /// Until when the certificate is valid, in seconds since 1970.
    pub not_after: i64,
    closer: Closer,
    phase: Mutex<Phase>,
    /// The request wants to take the connection over.
    upgrading: AtomicBool,
    /// The connection is no longer HTTP's.
    taken: AtomicBool,
    /// Given back when the connection ends.
    _place: Place,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy)]
pub enum Phase {
    /// Nothing, since then.
    Idle(Instant),
    /// It has begun to send a request, then.
    Head(Instant),
    /// A request is being answered, or the connection was taken over.
    Busy,
}

/// A request that is under way. The connection counts as busy until every copy is gone.
#[derive(Debug, Clone)]
pub struct Ticket(#[expect(dead_code, reason = "held for its end")] Arc<Held>);

#[derive(Debug)]
struct Held {
    session: Arc<Session>,
    _place: Place,
}

impl Session {
    /// A new one.
    pub fn new(
        caller: Caller,
        chain: Vec<CertificateDer<'static>>,
        not_after: i64,
        closer: Closer,
        place: Place,
    ) -> Self {
        let phase = Mutex::new(Phase::Idle(Instant::now()));
        let (upgrading, taken) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { caller, chain, not_after, closer, phase, upgrading, taken, _place: place }
    }

    /// Ends it, from wherever.
    pub fn close(&self) {
        self.closer.close();
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    pub fn heard(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*phase, Phase::Idle(_)) {
            *phase = Phase::Head(Instant::now());
        }
    }

    /// A request's head is whole.
    pub fn begin(self: &Arc<Self>, place: Place, upgrading: bool) -> Ticket {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Phase::Busy;
        self.upgrading.store(upgrading, Ordering::Relaxed);
        Ticket(Arc::new(Held { session: Arc::clone(self), _place: place }))
    }

    /// Whether the end of what the client sends is to be kept from the HTTP machine, which would take it for the end
    /// of the connection.
    pub fn hides_end(&self) -> bool {
        self.upgrading.load(Ordering::Relaxed)
    }

    /// The connection was taken over: its new owner is told of every end.
    pub fn taken_over(&self) {
        self.upgrading.store(false, Ordering::Relaxed);
        self.taken.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.session.phase.lock().unwrap_or_else(PoisonError::into_inner) = Phase::Idle(Instant::now());
        self.session.upgrading.store(false, Ordering::Relaxed);
    }
}
