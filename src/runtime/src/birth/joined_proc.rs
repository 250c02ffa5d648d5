//! A procfs of a pid namespace that the container joins: procfs shows the pid namespace of whoever mounts it, so a process
//! within it does, with the rights that this one has.

use std::os::fd::{AsFd, OwnedFd};

use casemate_core::channel::{Channel, Received};
use casemate_core::plan::{Plan, Space};
use casemate_core::report::{Record, Stage};
use casemate_core::sys::clone::{Birth, clone3, exit_now};
use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Mounts the procfs that the plan wants of a joined pid namespace; each comes with the index of its source.
///
/// # Errors
/// The namespace cannot be entered, or its procfs not be mounted.
pub(super) fn make(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>> {
    let failed = |errno: Errno| Error::os("mount proc of the joined pid namespace", errno.raw_os_error());
    let joined = plan.spaces.join.iter().find(|(space, _)| *space == Space::Pid);
    let wanted = plan.sources.iter().position(|source| source.instance.as_deref() == Some(c"proc"));
    let (Some((_, path)), Some(wanted)) = (joined, wanted) else { return Ok(Vec::new()) };
    let open =
        |path: &std::ffi::CStr| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let (theirs, own) = (open(path).map_err(failed)?, open(c"/proc/self/ns/pid").map_err(failed)?);
    let (listen, tell) = Channel::pair().map_err(failed)?;
    enter(&theirs).map_err(failed)?;
    let birth = clone3(0, None);
    // Only children are in there; this process goes back in any case.
    let back = enter(&own);
    let pidfd = match birth.map_err(failed)? {
        Birth::Child => {
            let sent = match instance() {
                Ok(proc) => tell.send_with(Record::Listener, Some(proc.as_fd())),
                Err(errno) => tell.send(Record::Fault(Stage::Source.fault(errno))),
            };
            exit_now(i32::from(sent.is_err()))
        }
        Birth::Parent { pidfd, .. } => pidfd,
    };
    drop(tell);
    let said = listen.receive();
    waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(failed)?;
    back.map_err(failed)?;
    match said.map_err(failed)? {
        Received::Record(Record::Listener, Some(proc)) => Ok(vec![(wanted, proc)]),
        Received::Record(Record::Fault(fault), _) => Err(failed(Errno::from_raw_os_error(fault.errno))),
        _ => Err(failed(Errno::PIPE)),
    }
}

fn enter(space: &OwnedFd) -> std::result::Result<(), Errno> {
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::ProcessID))
}

fn instance() -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}
