//! Containers that run on without a broker: their user namespace is the only one from which they can be told anything, and
//! their networks are found in their shims' mount namespace.

use std::fs::File;
use std::path::Path;

use casemate_spec::{Error, Result};
use nix::sched::{CloneFlags, setns};
use serde::Deserialize;

use crate::place::Place;

/// As much of a bundle's `shim.json` as concerns us.
#[derive(Deserialize)]
struct Kept {
    shim: Identity,
}

/// A process, by its number and the moment at which it began (proc_pid_stat(5)).
#[derive(Deserialize)]
struct Identity {
    pid: i32,
    start: u64,
}

impl Identity {
    fn is_there(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name may hold anything, blanks and brackets too.
        let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
        start.and_then(|start| start.parse().ok()) == Some(self.start)
    }
}

/// Goes where the containers of a data root are. Whether any is.
///
/// # Errors
/// The kernel's.
pub fn join(data_root: &Path) -> Result<bool> {
    let Ok(place) = Place::find(data_root) else { return Ok(false) };
    let Ok(bundles) = std::fs::read_dir(place.run.join("bundles")) else { return Ok(false) };
    for bundle in bundles.flatten() {
        let text = std::fs::read(bundle.path().join("shim.json")).unwrap_or_default();
        let Ok(Kept { shim }) = serde_json::from_slice(&text) else { continue };
        let open = |name: &str| File::open(format!("/proc/{}/ns/{name}", shim.pid));
        let (Ok(user), Ok(mounts)) = (open("user"), open("mnt")) else { continue };
        // Asked after they are held.
        if shim.is_there() {
            return enter(&user, &mounts).map(|()| true);
        }
    }
    Ok(false)
}

fn enter(user: &File, mounts: &File) -> Result<()> {
    let failed = |errno: nix::errno::Errno| Error::os("go where the containers are", errno as i32);
    let here = std::env::current_dir();
    setns(user, CloneFlags::CLONE_NEWUSER).map_err(failed)?;
    setns(mounts, CloneFlags::CLONE_NEWNS).map_err(failed)?;
    // Paths that are given may begin here.
    here.and_then(std::env::set_current_dir).map_err(|error| Error::io("the present directory", &error))
}
