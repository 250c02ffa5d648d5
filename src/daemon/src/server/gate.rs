//! How many may be inside at once: connections in all, connections and requests of each client, handshakes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::session::Session;
use super::socket::Closer;
use crate::config::Limits;

/// The count of everything.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    places: HashMap<Kind, usize>,
    /// Handshakes under way, the oldest first.
    handshakes: VecDeque<(u64, Closer)>,
    next: u64,
    sessions: Vec<Weak<Session>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Connection,
    ConnectionOf(String),
    RequestOf(String),
}

/// A place inside, given back when dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    kinds: Vec<Kind>,
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake {
    gate: Arc<Gate>,
    number: u64,
}

impl Gate {
    /// With these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// A handshake begins. Where there are too many, the oldest goes: strangers push out strangers only, never a
    /// client that has shown its certificate.
    pub fn handshake(self: &Arc<Self>, closer: Closer) -> Handshake {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.handshakes.len() >= self.limits.handshakes
            && let Some((_, oldest)) = counts.handshakes.pop_front()
        {
            oldest.close();
        }
        counts.next += 1;
        let number = counts.next;
        counts.handshakes.push_back((number, closer));
        Handshake { gate: Arc::clone(self), number }
    }

    /// A place for a client's connection, if there is one.
    pub fn connection(self: &Arc<Self>, identity: &str) -> Option<Place> {
        let of = self.limits.connections_per_client;
        let kinds =
            [(Kind::Connection, self.limits.connections), (Kind::ConnectionOf(identity.to_owned()), of)];
        self.enter(kinds)
    }

    /// A place for a client's request, if there is one.
    pub fn request(self: &Arc<Self>, identity: &str) -> Option<Place> {
        self.enter([(Kind::RequestOf(identity.to_owned()), self.limits.requests_per_client)])
    }

    fn enter<const N: usize>(self: &Arc<Self>, kinds: [(Kind, usize); N]) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.iter().any(|(kind, most)| counts.places.get(kind).is_some_and(|now| now >= most)) {
            return None;
        }
        let kinds = kinds.map(|(kind, _)| kind).to_vec();
        for kind in &kinds {
            *counts.places.entry(kind.clone()).or_default() += 1;
        }
        Some(Place { gate: Arc::clone(self), kinds })
    }

    /// A session that begins.
    pub fn register(&self, session: &Arc<Session>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sessions.retain(|session| session.strong_count() > 0);
        counts.sessions.push(Arc::downgrade(session));
    }

    /// The sessions of now.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sessions.iter().filter_map(Weak::upgrade).collect()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.places.get(&Kind::Connection).copied().unwrap_or(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in &self.kinds {
            // A client that is gone leaves no entry: there may be ever new ones.
            match counts.places.get_mut(kind) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(counts.places.remove(kind)),
            }
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.handshakes.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_places() {
        let limits =
            Limits { connections: 3, connections_per_client: 2, requests_per_client: 1, ..Limits::default() };
        let gate = Arc::new(Gate::new(limits));
        let (one, two) = (gate.connection("a"), gate.connection("a"));
        assert!(one.is_some() && two.is_some());
        assert!(gate.connection("a").is_none(), "a third of one client");
        let other = gate.connection("b");
        assert!(other.is_some());
        assert!(gate.connection("c").is_none(), "a fourth of all");
        drop(one);
        assert!(gate.connection("c").is_some());
        let request = gate.request("a");
        assert!(request.is_some() && gate.request("a").is_none() && gate.request("b").is_some());
        drop((two, other, request));
        assert!(
            gate.counts.lock().expect("the counts").places.is_empty(),
            "nothing is left of those who are gone"
        );
    }
}
