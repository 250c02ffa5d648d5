//! News of the out-of-memory killer.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use casemate_spec::{Error, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, inotify};
use rustix::io::Errno;

use super::dir::{Dir, os};
use super::{Cgroup, Side};

/// A descriptor to poll for reading; when it is readable, [`OomWatch::read`] says what happened.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    dir: Dir,
    side: Watched,
}

/// What has happened in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomNews {
    /// A process was killed, or is held, for want of memory.
    Oom,
    /// The container's cgroup has gone: nothing more will come.
    Gone,
    /// Something else woke us.
    Nothing,
}

#[derive(Debug)]
enum Watched {
    /// The kernel signals an eventfd registered for `memory.oom_control`, and once more when the cgroup goes.
    V1,
    /// inotify on `memory.events`, whose count of kills was this.
    Unified { kills: u64 },
}

impl Cgroup {
    /// Starts to watch for the out-of-memory killer.
    ///
    /// # Errors
    /// When the container has no memory controller, or the kernel refuses the watch.
    pub fn oom_events(&self) -> Result<OomWatch> {
        match self.side("memory")? {
            Some(Side::V1(dir)) => watch_v1(dir),
            Some(Side::Unified(dir)) => watch_v2(dir),
            None => Err(Error::new("watch for out of memory", "the container has no memory controller")),
        }
    }
}

/// Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control".
fn watch_v1(dir: &Dir) -> Result<OomWatch> {
    let failed = |e| os(format!("watch {}/memory.oom_control", dir.path().display()), e);
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
    let control = dir.open("memory.oom_control", OFlags::RDONLY).map_err(failed)?;
    dir.write("cgroup.event_control", &format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()))?;
    Ok(OomWatch { fd, dir: dir.again()?, side: Watched::V1 })
}

fn watch_v2(dir: &Dir) -> Result<OomWatch> {
    let failed = |e| os(format!("watch {}/memory.events", dir.path().display()), e);
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    // The files are named through our descriptor: the directory may be replaced by another container's meanwhile.
    let base = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    for file in ["memory.events", "cgroup.events"] {
        inotify::add_watch(&fd, format!("{base}/{file}"), inotify::WatchFlags::MODIFY).map_err(failed)?;
    }
    let kills = kills(dir)?.unwrap_or(0);
    Ok(OomWatch { fd, dir: dir.again()?, side: Watched::Unified { kills } })
}

impl OomWatch {
    /// Takes what has happened since the last call; does not block.
    ///
    /// # Errors
    /// When the descriptor or the container's memory files cannot be read.
    pub fn read(&mut self) -> Result<OomNews> {
        match self.side {
            Watched::V1 => self.read_v1(),
            Watched::Unified { kills } => self.read_v2(kills),
        }
    }

    fn read_v1(&self) -> Result<OomNews> {
        let mut count = [0_u8; 8];
        match rustix::io::read(&self.fd, &mut count) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(OomNews::Nothing),
            Err(e) => return Err(os("read out of memory events", e)),
            Ok(_) => {}
        }
        // Removing the cgroup signals the eventfd as well.
        Ok(if self.dir.has("cgroup.event_control") { OomNews::Oom } else { OomNews::Gone })
    }

    fn read_v2(&mut self, before: u64) -> Result<OomNews> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.fd, &mut buffer);
        let mut changed = false;
        loop {
            match events.next() {
                Ok(_) => changed = true,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(os("read out of memory events", e)),
            }
        }
        let Some(now) = kills(&self.dir)? else { return Ok(OomNews::Gone) };
        self.side = Watched::Unified { kills: now };
        if now > before {
            return Ok(OomNews::Oom);
        }
        // Before its first process has entered a cgroup is empty too.
        if !changed {
            return Ok(OomNews::Nothing);
        }
        let events = self.dir.read_if_there("cgroup.events")?;
        let empty = events.is_none_or(|text| text.lines().any(|line| line == "populated 0"));
        Ok(if empty { OomNews::Gone } else { OomNews::Nothing })
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `oom_kill` of `memory.events`; none when the cgroup has gone.
fn kills(dir: &Dir) -> Result<Option<u64>> {
    let Some(text) = dir.read_if_there("memory.events")? else { return Ok(None) };
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(Some(count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)))
}
