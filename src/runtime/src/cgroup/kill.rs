//! Who is in a container, and signals to all of them.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use casemate_core::sys::pidfd;
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::dir::{Dir, os};
use super::{Cgroup, SIGKILL};

/// How long killed processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The ids of all processes in the container and in the cgroups below, in the caller's pid namespace, ascending.
    ///
    /// # Errors
    /// When a directory cannot be read, or a process is invisible from this pid namespace.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = BTreeSet::new();
        // One v1 hierarchy tells of all: the one a container can change least, as runc reads it.
        let v1 = ["devices", "freezer", "pids", "memory"].iter().find_map(|c| self.v1_dir(c));
        let v1 = v1.or_else(|| self.v1.first().map(|v1| &v1.dir));
        for dir in v1.into_iter().chain(&self.unified) {
            collect(dir, &mut pids)?;
        }
        Ok(pids.into_iter().collect())
    }

    /// Sends a signal to every process of the container. None that has left the cgroup meanwhile is hit, nor one that
    /// got the id of a process that has ended.
    ///
    /// `SIGKILL` is repeated until nobody is left; it reaches frozen processes too.
    ///
    /// # Errors
    /// When a signal cannot be sent, or killed processes do not end within 10 seconds.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal != SIGKILL {
            return self.signal_each(signal).map(|_count| ());
        }
        if let Some(dir) = &self.unified {
            match dir.try_write("cgroup.kill", "1") {
                // Linux before 5.14 has no cgroup.kill, and a threaded cgroup refuses it.
                Ok(()) | Err(Errno::NOENT | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NODEV) => {}
                Err(e) => return Err(os(format!("kill cgroup {}", dir.path().display()), e)),
            }
        }
        self.kill_v1()
    }

    /// Kills what v1 holds: frozen, so that no fork escapes between listing and signalling; then thawed, because on
    /// v1 a frozen process does not even die.
    fn kill_v1(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            if self.pids()?.is_empty() {
                return Ok(());
            }
            let freezer = self.v1_dir("freezer");
            if let Some(dir) = freezer {
                // Not waiting for the freezing to complete: it stops forks, and a stuck process must not stop us.
                dir.write("freezer.state", "FROZEN")?;
            }
            let sent = self.signal_each(SIGKILL);
            if let Some(dir) = freezer {
                dir.write("freezer.state", "THAWED")?;
            }
            if let (None, Some(dir)) = (freezer, &self.unified)
                && dir.read_if_there("cgroup.freeze")?.is_some_and(|text| text.trim() == "1")
            {
                dir.write("cgroup.freeze", "0")?;
            }
            sent?;
            if Instant::now() > end {
                return Err(Error::new(
                    "kill container",
                    "some of its processes did not end within 10 seconds",
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Signals every process once and counts them.
    fn signal_each(&self, signal: i32) -> Result<usize> {
        let mut held = Vec::new();
        for raw in self.pids()? {
            let Some(pid) = Pid::from_raw(raw) else { continue };
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(fd) => held.push((raw, fd)),
                // A thread that outlives its leader's exit, or a process that has just gone.
                Err(Errno::SRCH | Errno::INVAL) => {}
                Err(e) => return Err(os(format!("pidfd of process {raw}"), e)),
            }
        }
        // Whoever is still listed now was so while we held its descriptor: an id that changed hands in between
        // is either not listed, or its descriptor leads to the dead one.
        let listed = self.pids()?;
        held.retain(|(raw, _)| listed.binary_search(raw).is_ok());
        for (raw, fd) in &held {
            match pidfd::send_signal(fd.as_fd(), signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => return Err(os(format!("signal process {raw}"), e)),
            }
        }
        Ok(held.len())
    }
}

fn collect(dir: &Dir, pids: &mut BTreeSet<i32>) -> Result<()> {
    let file = match dir.read_if_there("cgroup.procs")? {
        Some(text) => text,
        // A threaded cgroup lists no processes of its own; those of its domain are listed above it.
        None => dir.read_if_there("cgroup.threads")?.unwrap_or_default(),
    };
    for line in file.lines() {
        match line.parse::<i32>() {
            Ok(0) => {
                let what = format!("list processes of cgroup {}", dir.path().display());
                return Err(Error::new(what, "it holds processes that this pid namespace cannot see"));
            }
            Ok(pid) => pids.insert(pid),
            Err(_) => continue,
        };
    }
    for name in dir.children()? {
        match dir.child(&name) {
            Ok(child) => collect(&child, pids)?,
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(e) => return Err(os(format!("open cgroup {}", dir.path().join(&name).display()), e)),
        }
    }
    Ok(())
}
