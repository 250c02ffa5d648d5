//! Our own program file, kept out of a container's reach.
//!
//! A process that enters a container is for a moment this program, and `/proc/PID/exe` leads back to its file; a root
//! of the container's that is root of the host's too could overwrite it for the next run.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use casemate_core::sys::exec::{Vector, execveat};
use casemate_core::sys::mount::{Change, change};
use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals,
    memfd_create,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

/// `MOUNT_ATTR_RDONLY`.
const RDONLY: u64 = 1;
/// So often the copy is sealed before that is given up.
const SEALINGS: usize = 4;
const EXE: &std::ffi::CStr = c"/proc/self/exe";

/// Returns when this process runs from a file that nobody can write; else runs it again from such a one, with the same
/// arguments and environment.
///
/// Such a file is one on a read-only mount that is in no mount namespace, or a sealed one in memory (memfd_create(2))
/// where mounts may not be made.
///
/// # Errors
/// The kernel's reason when neither can be had.
pub fn out_of_reach(arguments: Vec<CString>, environment: Vec<CString>) -> Result<(), Errno> {
    let exe = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if sealed(&exe)? {
        return Ok(());
    }
    let image = match detached() {
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => copied(&exe)?,
        other => other?,
    };
    Err(execveat(image.as_fd(), &Vector::new(arguments), &Vector::new(environment)))
}

fn sealed(exe: &OwnedFd) -> Result<bool, Errno> {
    if rustix::fs::fstatvfs(exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Only files in memory have seals.
    Ok(fcntl_get_seals(exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// A read-only mount of the file itself, in no namespace: nobody can make it writable again.
fn detached() -> Result<OwnedFd, Errno> {
    let mount = open_tree(CWD, EXE, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    change(mount.as_fd(), Change { set: RDONLY, ..Change::default() })?;
    Ok(mount)
}

fn copied(exe: &OwnedFd) -> Result<OwnedFd, Errno> {
    let copy = memfd_create(c"runtime", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    while rustix::fs::sendfile(&copy, exe, None, 1 << 22)? > 0 {}
    let seal =
        || fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL);
    // While the kernel itself holds a page, it seals none; it has waited for 150 ms then.
    (0..SEALINGS).map(|_| seal()).find(|sealed| *sealed != Err(Errno::BUSY)).unwrap_or(Err(Errno::BUSY))?;
    // Writable once more would not run (ETXTBSY): the descriptor is opened anew for reading.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
