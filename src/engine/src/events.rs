//! What happened, for whoever listens (`docker events`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use casemate_spec::wire::Tenant;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::clock;

/// As many as Docker keeps for `since`.
const KEPT: usize = 256;
/// How far a listener may fall behind before it loses some.
const BEHIND: usize = 1024;

/// One event, as the API shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// `container`, `image`, `volume`, `network`, `daemon`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// `create`, `start`, `exec_create: sh`, …
    pub action: String,
    /// What it happened to.
    pub actor: Actor,
    /// Always `local`.
    #[serde(rename = "scope")]
    pub scope: &'static str,
    /// Seconds since 1970.
    #[serde(rename = "time")]
    pub time: u64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: u64,
}

/// What an event happened to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Actor {
    /// The object's id, or name.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels and what else is to be known.
    pub attributes: BTreeMap<String, String>,
}

/// The bus, and what went over it lately.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<(Tenant, Event)>,
    kept: Mutex<VecDeque<(Tenant, Event)>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND), kept: Mutex::default() }
    }
}

impl Event {
    fn now(kind: &'static str, action: String, actor: Actor) -> Self {
        let time_nano = clock::now();
        Self { kind, action, actor, scope: "local", time: time_nano / 1_000_000_000, time_nano }
    }
}

impl Events {
    /// Tells everybody.
    pub fn publish(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event::now(kind, action.into(), Actor { id: id.into(), attributes });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((tenant.clone(), event.clone()));
        // Nobody listening is no failure. Sent under the lock, so that `listen` misses none and sees none twice.
        self.sender.send((tenant.clone(), event)).ok();
    }

    /// Tells whoever listens, and keeps nothing.
    pub fn announce(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event::now(kind, action.into(), Actor { id: id.into(), attributes });
        // Nobody listening is no failure.
        self.sender.send((tenant.clone(), event)).ok();
    }

    /// What is kept of a tenant's, and what comes from now on (of everybody's: the listener drops the others').
    pub fn listen(&self, tenant: &Tenant) -> (Vec<Event>, broadcast::Receiver<(Tenant, Event)>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let past = kept.iter().filter(|(whose, _)| whose == tenant).map(|(_, event)| event.clone()).collect();
        (past, self.sender.subscribe())
    }
}
