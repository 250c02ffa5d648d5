//! User namespaces that exist for their maps: id-mapped mounts are made by one.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::birth::Failure;
use crate::channel::{Channel, Received};
use crate::plan::{Maps, Space};
use crate::procfs::Proc;
use crate::sys::clone::{Birth, clone3, exit_now};

/// A user namespace with these maps and no process left in it: what id-maps a mount.
///
/// # Errors
/// The caller lacks `CAP_SETUID` or `CAP_SETGID` over the ids, user_namespaces(7).
pub fn with_maps(maps: &Maps) -> Result<OwnedFd, Failure> {
    let host = |what: &'static str| move |errno| Failure::Host { what: what.to_owned(), errno };
    let (ours, theirs) = Channel::pair().map_err(host("make a channel"))?;
    match clone3(Space::User.flag(), None).map_err(host("make a user namespace"))? {
        Birth::Child => {
            drop(ours);
            // Ends when the parent lets go, however that comes about.
            exit_now(i32::from(!matches!(theirs.receive(), Ok(Received::Closed))))
        }
        Birth::Parent { pid, pidfd } => {
            drop(theirs);
            let space = Proc::open().and_then(|proc| {
                write(&proc, pid, maps)?;
                proc.namespace(pid, Space::User.file())
            });
            drop(ours);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                .map_err(host("wait for a user namespace"))?;
            space.map_err(host("write the maps of a user namespace"))
        }
    }
}

/// Writes the id maps of a process's new user namespace. Needs `CAP_SETUID` and `CAP_SETGID` over the ids; without
/// them, one map of the caller's own ids is allowed after setgroups(2) has been denied (user_namespaces(7)).
/// An empty list is left for somebody else to write: a map is written once.
pub fn write(proc: &Proc, pid: Pid, maps: &Maps) -> Result<(), Errno> {
    for (file, maps) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        if !maps.is_empty() {
            let lines: String =
                maps.iter().map(|m| format!("{} {} {}\n", m.inside, m.outside, m.count)).collect();
            proc.write(pid, file, lines.as_bytes())?;
        }
    }
    Ok(())
}

/// Denies setgroups(2) in a process's new user namespace.
pub fn deny_setgroups(proc: &Proc, pid: Pid) -> Result<(), Errno> {
    proc.write(pid, "setgroups", b"deny")
}
