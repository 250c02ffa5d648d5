//! Freezing all processes of a container, and thawing them.

use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir::{Dir, os};
use super::{Cgroup, Placement, Side};

/// How long all processes may take to stop; one in an uninterruptible wait may keep v1 from it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Freezes every process and waits until all stand still; on failure they are thawed.
    ///
    /// # Errors
    /// When no freezer is available (v2: Linux 5.2), or some process does not stop within 10 seconds.
    pub fn freeze(&self) -> Result<()> {
        match self.freezer()? {
            Side::V1(dir) => freeze_v1(dir),
            Side::Unified(dir) => freeze_v2(dir),
        }
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// When no freezer is available or it refuses.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer()? {
            Side::V1(dir) => dir.write("freezer.state", "THAWED"),
            Side::Unified(dir) => {
                dir.write("cgroup.freeze", "0")?;
                wait_v2(dir, false)
            }
        }
    }

    /// Whether the container is frozen, by us or by a cgroup above it.
    ///
    /// # Errors
    /// When the freezer's state cannot be read. A container without any freezer is never frozen.
    pub fn frozen(&self) -> Result<bool> {
        let Ok(freezer) = self.freezer() else { return Ok(false) };
        let state = match freezer {
            Side::V1(dir) => dir.read_if_there("freezer.state")?.map(|text| text.trim() != "THAWED"),
            // cgroup.events says what is so, cgroup.freeze what was asked for: between the two it is frozen to us.
            Side::Unified(dir) => match dir.read_if_there("cgroup.freeze")? {
                Some(text) if text.trim() == "1" => Some(true),
                _ => dir
                    .read_if_there("cgroup.events")?
                    .map(|text| text.lines().any(|line| line == "frozen 1")),
            },
        };
        Ok(state.unwrap_or(false))
    }

    fn freezer(&self) -> Result<Side<'_>> {
        if let Some(dir) = self.v1_dir("freezer") {
            return Ok(Side::V1(dir));
        }
        match &self.unified {
            Some(dir) if dir.has("cgroup.freeze") => Ok(Side::Unified(dir)),
            Some(_) => Err(Error::new("freeze container", "the kernel has no cgroup v2 freezer (Linux 5.2)")),
            None => Err(Error::new("freeze container", "the container has no cgroup with a freezer")
                .hint("mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer")),
        }
    }
}

impl Placement {
    /// [`Cgroup::frozen`] without opening more than the freezer.
    ///
    /// # Errors
    /// As there, and when the hierarchy is no longer mounted where it was.
    pub fn frozen(&self) -> Result<bool> {
        let freezer: Vec<_> = self.v1.iter().filter(|place| place.has("freezer")).cloned().collect();
        let unified = self.unified.clone().filter(|_unified| freezer.is_empty());
        Self { v1: freezer, unified, ..self.clone() }.open()?.frozen()
    }
}

fn freeze_v1(dir: &Dir) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut round = 0_u32;
    loop {
        // A process that forks while the freezer walks the list keeps it FREEZING: thawing and asking again gets
        // past it (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
        if round % 50 == 49 {
            dir.write("freezer.state", "THAWED")?;
        }
        dir.write("freezer.state", "FROZEN")?;
        if dir.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > end {
            dir.write("freezer.state", "THAWED")?;
            return Err(Error::new("freeze container", "its processes did not stop within 10 seconds"));
        }
        std::thread::sleep(Duration::from_micros(if round < 10 { 50 } else { 1000 }));
        round = round.saturating_add(1);
    }
}

fn freeze_v2(dir: &Dir) -> Result<()> {
    dir.write("cgroup.freeze", "1")?;
    wait_v2(dir, true).inspect_err(|_| match dir.try_write("cgroup.freeze", "0") {
        // The reason why it did not freeze is what has to be told.
        Ok(()) | Err(_) => {}
    })
}

/// Waits for `cgroup.events` to say so; the kernel signals its changes as exceptional conditions to poll(2).
fn wait_v2(dir: &Dir, frozen: bool) -> Result<()> {
    let want = if frozen { "frozen 1" } else { "frozen 0" };
    let what = || format!("{}/cgroup.events", dir.path().display());
    let fd = dir.open("cgroup.events", OFlags::RDONLY).map_err(|e| os(what(), e))?;
    let end = Instant::now() + PATIENCE;
    loop {
        let mut text = [0_u8; 256];
        let read = rustix::io::pread(&fd, &mut text, 0).map_err(|e| os(what(), e))?;
        let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default());
        // An ancestor's freezing is none of ours to wait for when thawing.
        if text.lines().any(|line| line == want) || (!frozen && ancestor_is_frozen(dir)?) {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(
                "freeze container",
                format!("{} did not become {want:?} within 10 seconds", what()),
            ));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        match poll(&mut [PollFd::new(&fd, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(os(what(), e)),
        }
    }
}

/// When nothing is frozen here by request and still is, the reason lies above.
fn ancestor_is_frozen(dir: &Dir) -> Result<bool> {
    let parent = rustix::fs::openat(
        dir,
        "..",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let Ok(parent) = parent else { return Ok(false) };
    let events = rustix::fs::openat(
        &parent,
        "cgroup.events",
        OFlags::RDONLY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let Ok(events) = events else { return Ok(false) };
    let mut text = [0_u8; 256];
    let read = rustix::io::read(&events, &mut text).map_err(|e| os("cgroup.events", e))?;
    Ok(String::from_utf8_lossy(text.get(..read).unwrap_or_default()).lines().any(|line| line == "frozen 1"))
}
