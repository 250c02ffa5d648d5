//! What is known of a container.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{HexId, Tenant, UserEntry};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Config, HostConfig, MountPoint};

/// A container: what was asked, and how it is.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: HexId,
    /// Whose.
    pub tenant: Tenant,
    /// When it was made, in nanoseconds since 1970.
    pub created: u64,
    /// The image's id: the SHA-256 of its configuration.
    pub image: HexId,
    /// The image's layers, the lowest first.
    pub layers: Vec<HexId>,
    /// What was asked of it, merged with the image's.
    pub config: Config,
    /// What is mounted in it, resolved.
    pub mounts: Vec<MountPoint>,
    /// Who its user is, as the image says.
    pub user: UserEntry,
    /// What the policy made of it at create: the runtime's report, shortened.
    pub verdict: Value,
    /// How it is. Change it through [`super::set_state`].
    pub state: Mutex<State>,
    pub(super) settings: Mutex<Settings>,
}

/// What may be changed later on, by rename and update.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub name: String,
    pub host_config: Arc<HostConfig>,
}

impl Container {
    /// Its name, without Docker's slash.
    pub fn name(&self) -> String {
        self.settings().name.clone()
    }

    /// What was asked of the host, as it is now.
    pub fn host_config(&self) -> Arc<HostConfig> {
        Arc::clone(&self.settings().host_config)
    }

    /// How it is, at this moment.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a process of it runs, frozen or not.
    pub fn is_running(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_running()
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// In Docker's words.
    pub status: Status,
    /// The first process, as the host numbers it; 0 while none runs.
    pub pid: i32,
    /// Of the last run.
    pub exit_code: i32,
    /// Why it could not be started.
    pub error: String,
    /// The kernel ended something in it for want of memory.
    pub oom_killed: bool,
    /// In nanoseconds since 1970; 0 is never.
    pub started_at: u64,
    /// In nanoseconds since 1970; 0 is never.
    pub finished_at: u64,
    /// Where there is a health check.
    pub health: Option<Health>,
    /// How often the restart policy has started it again.
    pub restart_count: u32,
    /// A client has stopped it: the restart policy leaves it alone.
    pub stopped_by_hand: bool,
    /// Execs that are known.
    #[serde(skip)]
    pub execs: Vec<HexId>,
}

impl State {
    /// Whether a process of it runs, frozen or not.
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }
}

/// In Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// A process runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended, and is about to be started again.
    Restarting,
    /// It is about to be gone.
    Removing,
    /// It has ended.
    Exited,
    /// It could not be removed.
    Dead,
}

impl Status {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// What the health check found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five probes.
    pub log: Vec<Probe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// In nanoseconds since 1970.
    pub start: u64,
    /// In nanoseconds since 1970.
    pub end: u64,
    /// 0 is well; -1 took too long.
    pub exit_code: i32,
    /// The first 4 KiB of what it said.
    pub output: String,
}
