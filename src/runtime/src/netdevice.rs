//! Moving a network device of the host's into a container (`linux.netDevices`).

use std::os::fd::OwnedFd;

use casemate_core::procfs::Proc;
use casemate_spec::{Error, Result};
use rustix::process::Pid;

/// Moves `name` into the network namespace of a process, as `inside`.
///
/// # Errors
/// Always, for now.
pub fn move_into(name: &str, _inside: &str, _pidfd: &OwnedFd, _pid: Pid, _proc: &Proc) -> Result<()> {
    Err(Error::new(format!("network device {name}"), "cannot be moved yet"))
}
