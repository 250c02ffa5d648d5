//! Taking a container's cgroups away.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use rustix::io::Errno;

use super::dir::{Dir, os};
use super::place::{Place, Placement};
use super::{Cgroup, systemd};

/// How long the last processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes every directory, children first, and stops the systemd unit; what is missing already is well.
    ///
    /// # Errors
    /// When a directory is still in use after 10 seconds, or systemd does not stop the unit.
    pub fn remove(&self) -> Result<()> {
        self.placement.remove()
    }
}

impl Placement {
    /// As [`Cgroup::remove`], for a container of which nothing but the state is known.
    ///
    /// # Errors
    /// As [`Cgroup::remove`].
    pub fn remove(&self) -> Result<()> {
        let stopped = self.systemd.as_ref().map_or(Ok(()), systemd::stop);
        let end = Instant::now() + PATIENCE;
        let places = self.v1.iter().chain(&self.unified);
        // All are tried: one that is stuck must not leave the others behind.
        let failures: Vec<Error> = places.filter_map(|place| self.remove_place(place, end).err()).collect();
        stopped?;
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn remove_place(&self, place: &Place, end: Instant) -> Result<()> {
        let (parent, name) = split(&place.below)?;
        let mounted = Dir::open_if_mounted(&place.mount);
        let Some(mount) =
            mounted.map_err(|e| os(format!("open cgroup mount {}", place.mount.display()), e))?
        else {
            return Ok(());
        };
        let Some(parent) = mount.beneath(parent)? else { return Ok(()) };
        match remove_tree(&parent, name, end) {
            Err(e) if self.rootless && e.errno() == Some(Errno::ACCESS.raw_os_error()) => Ok(()),
            other => other,
        }
    }
}

/// Removes `name` with everything below, waiting for processes that are on their way out.
fn remove_tree(parent: &Dir, name: &OsStr, end: Instant) -> Result<()> {
    let failed = |e| os(format!("remove cgroup {}", parent.path().join(name).display()), e);
    let mut pause = Duration::from_micros(100);
    loop {
        match parent.remove(name) {
            Ok(()) => return Ok(()),
            // EBUSY: children or processes, zombies on their way included; ENOTEMPTY from older kernels.
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(e) => return Err(failed(e)),
        }
        match parent.child(name) {
            Ok(dir) => {
                for child in dir.children()? {
                    remove_tree(&dir, &child, end)?;
                }
            }
            Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
            Err(e) => return Err(failed(e)),
        }
        if Instant::now() > end {
            return Err(failed(Errno::BUSY));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn split(below: &Path) -> Result<(&Path, &OsStr)> {
    match (below.parent(), below.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        // Whoever tampered with the state must not make us remove a hierarchy's top.
        _ => Err(Error::new(
            format!("cgroup path {}", below.display()),
            "it names no cgroup of the container's own",
        )),
    }
}
