//! What is known of each container: whose it is, what it stands on, and where it is in its life.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use casemate_spec::wire::{Endpoint, Exited, HexId, Refusal, RefusalKind, Tenant, When};
use serde::{Deserialize, Serialize};

use crate::child::{Identity, Running};
use crate::refusal::refuse;

/// A container with a place in the store.
#[derive(Debug)]
pub struct Container {
    /// What was said when it was made.
    pub made: Made,
    /// Its first process.
    pub stage: Stage,
    /// Other processes.
    pub execs: BTreeMap<HexId, Stage>,
    /// Volumes that are mounted while it runs.
    pub volumes: Vec<HexId>,
    /// What its network namespace is connected to.
    pub attached: Option<Attached>,
    /// What is being disconnected: until that is done, it is not started, released or removed.
    pub leaving: Vec<Endpoint>,
    /// Helpers that see its files: so many that read them, or one that writes.
    pub readers: usize,
    /// See `readers`.
    pub writer: bool,
}

/// What a container is connected to.
#[derive(Debug, Default)]
pub struct Attached {
    /// By which endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Names are answered in it.
    pub resolver: bool,
    /// Ports of the host that are held for it, by endpoint.
    pub ports: Vec<(HexId, OwnedFd)>,
}

/// `layers.json` of a container's place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Made {
    /// Whose it is.
    pub tenant: Tenant,
    /// The layers it stands on, the lowest first.
    pub layers: Vec<HexId>,
    /// How many bytes it may write into its own.
    #[serde(default)]
    pub quota: Option<u64>,
}

/// Where a process is in its life.
#[derive(Debug)]
pub enum Stage {
    /// Nothing of it is there.
    Still,
    /// It is being started, or what is left of it is being removed.
    Busy,
    /// Its shim runs.
    Running(Box<Process>),
    /// It has ended, and nobody has asked how yet.
    Ended(Exited),
}

/// A process with its shim.
#[derive(Debug)]
pub struct Process {
    /// What the bundle's directory keeps of it for the next broker.
    pub kept: Kept,
    /// The shim.
    pub shim: Shim,
}

/// A shim: ours to wait for, or one that an earlier broker started.
#[derive(Debug)]
pub enum Shim {
    /// Ours.
    Child(Running),
    /// Somebody else's by now.
    Adopted(OwnedFd),
}

/// `shim.json`, or `shim-<exec>.json`, of a bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The shim.
    pub shim: Identity,
    /// Whether the runtime is done.
    pub born: bool,
    /// The process; none when it had ended before it was looked at.
    pub process: Option<Identity>,
    /// It is frozen.
    pub paused: bool,
    /// Volumes that it has mounted.
    pub volumes: Vec<HexId>,
}

impl Shim {
    /// Readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        match self {
            Self::Child(running) => running.pidfd(),
            Self::Adopted(pidfd) => pidfd.as_fd(),
        }
    }
}

impl Container {
    /// One of which nothing runs.
    pub fn new(made: Made) -> Self {
        Self {
            made,
            stage: Stage::Still,
            execs: BTreeMap::new(),
            volumes: Vec::new(),
            attached: None,
            leaving: Vec::new(),
            readers: 0,
            writer: false,
        }
    }

    /// Its first process, while it runs.
    pub fn process(&self) -> Option<&Process> {
        match &self.stage {
            Stage::Running(process) => Some(process),
            _ => None,
        }
    }

    /// A process' stage.
    pub fn stage_of(&mut self, exec: Option<&HexId>) -> Option<&mut Stage> {
        match exec {
            None => Some(&mut self.stage),
            Some(exec) => self.execs.get_mut(exec),
        }
    }

    /// Whether a verb is accepted now.
    ///
    /// # Errors
    /// In which state it is.
    pub fn admits(&self, when: When) -> Result<(), Refusal> {
        let conflict = |text: &str| Err(refuse(RefusalKind::Conflict, text));
        match (when, &self.stage) {
            (When::Any, _)
            | (When::Still, Stage::Still)
            | (When::Started, Stage::Running(_) | Stage::Ended(_)) => Ok(()),
            (When::Running, Stage::Running(process)) if process.kept.paused => {
                conflict("the container is paused")
            }
            (When::Running | When::Alive, Stage::Running(_)) => Ok(()),
            (_, Stage::Busy) => conflict("the container is being started or removed"),
            (When::Still, _) => conflict("the container runs, or was not released"),
            (When::Started, Stage::Still) => Err(refuse(RefusalKind::NotFound, "nothing is left of it")),
            (When::Running | When::Alive, _) => conflict("the container is not running"),
        }
    }
}
