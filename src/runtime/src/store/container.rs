//! A container: its record, and what the kernel says of it.

use std::fmt;

use casemate_spec::Result;

use super::home::missing;
use super::{Home, Init, Lock, Phase, Record};
use crate::cgroup::{Cgroup, Placement};

/// A recorded container.
#[derive(Debug)]
pub struct Container {
    home: Home,
    record: Record,
    lock: Option<Lock>,
}

/// The states of the OCI runtime specification, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// Waits for `start`.
    Created,
    /// Runs.
    Running,
    /// Its processes are suspended.
    Paused,
    /// Its init has ended, or was never born.
    Stopped,
}

impl Container {
    /// A container of known record; `lock` is what [`Home::lock`] gave, if it was asked.
    pub fn of(home: Home, record: Record, lock: Option<Lock>) -> Self {
        Self { home, record, lock }
    }

    pub(super) fn load(home: Home) -> Result<Self> {
        let record = home.load()?.ok_or_else(|| missing(home.id()))?;
        Ok(Self::of(home, record, None))
    }

    /// The record is read under the lock, so that it is what the last command left.
    pub(super) fn load_locked(home: Home) -> Result<Self> {
        let lock = home.lock()?;
        Ok(Self { lock: Some(lock), ..Self::load(home)? })
    }

    /// Its directory.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What was recorded.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Changes the record, on disk first.
    ///
    /// # Errors
    /// The kernel's; the record is then as before.
    pub fn save(&mut self, record: Record) -> Result<()> {
        self.home.save(&record)?;
        self.record = record;
        Ok(())
    }

    /// Lets other commands at it.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// Its init process; `None` when it has ended or was never born.
    ///
    /// # Errors
    /// The kernel's.
    pub fn init(&self) -> Result<Option<Init>> {
        self.record.init.map_or(Ok(None), Init::open)
    }

    /// Its control groups, as far as they are there; `None` when none were ever wanted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        self.record.cgroup.as_ref().map(Placement::open).transpose()
    }

    /// Asks the kernel how it is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn status(&self) -> Result<Status> {
        let init = self.init()?;
        self.status_with(init.as_ref())
    }

    /// [`Container::status`] for callers that hold the init already.
    ///
    /// # Errors
    /// The kernel's.
    pub fn status_with(&self, init: Option<&Init>) -> Result<Status> {
        // Holding the lock ourselves, we know that no `create` is at work.
        let creating =
            self.record.phase == Phase::Creating && self.lock.is_none() && self.home.is_locked()?;
        if creating {
            return Ok(Status::Creating);
        }
        if init.is_none() {
            return Ok(Status::Stopped);
        }
        // Before "created": what is frozen must be resumed before it can be started.
        if self.record.cgroup.as_ref().map_or(Ok(false), Placement::frozen)? {
            return Ok(Status::Paused);
        }
        if self.home.is_waiting()? {
            return Ok(Status::Created);
        }
        Ok(Status::Running)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}
