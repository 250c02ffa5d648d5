//! Births: clone3(2), and unshare(2) of namespaces.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::answer;

/// `CLONE_NEW*`, `CLONE_PARENT` and their like, as clone3(2) takes them.
pub const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
const CLONE_PIDFD: u64 = libc::CLONE_PIDFD as u64;
/// Not among libc's constants for every target: linux/sched.h, since Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a birth this is.
pub enum Birth {
    /// The new process.
    Child,
    /// The old process, holding the new one by pid and by descriptor.
    Parent {
        /// The child's id in the caller's pid namespace.
        pid: Pid,
        /// Refers to that process and no other, however pids are reused (`CLONE_PIDFD`, Linux 5.2).
        pidfd: OwnedFd,
    },
}

/// Forks into new namespaces, and with `cgroup` straight into that v2 control group (Linux 5.7).
///
/// The child is a copy of the whole process, as after fork(2): memory is copied, never shared. With
/// [`CLONE_PARENT`] in `flags` the child's parent is the caller's.
///
/// # Errors
/// clone3(2): `EPERM` without privilege for a namespace, `EINVAL` for one the kernel lacks, `ENOSPC` at a limit of
/// nested namespaces, `EBUSY` or `EOPNOTSUPP` for a control group that takes no processes.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Birth, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut args = libc::clone_args {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        // With CLONE_PARENT the exit signal is inherited and must be zero.
        exit_signal: if flags & CLONE_PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(0);
    }
    // SAFETY: no CLONE_VM, so the child runs on a copy of this stack and this function returns twice as fork(2) does;
    // our programs are single-threaded, so no lock can be held by a thread that the child lacks. `args` and `pidfd`
    // outlive the call.
    let value = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    let pid = answer(value)?;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(Birth::Child);
    };
    // SAFETY: the kernel has just opened this descriptor for us (CLONE_PIDFD) and nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Birth::Parent { pid, pidfd })
}

/// Leaves the namespaces named by `flags` (`CLONE_NEW*`) for new ones, unshare(2).
pub fn unshare(flags: u64) -> Result<(), Errno> {
    let flags = libc::c_int::try_from(flags).map_err(|_overflow| Errno::INVAL)?;
    // SAFETY: takes no pointers; callers pass namespace flags only, so descriptor tables stay as they are.
    let value = unsafe { libc::syscall(libc::SYS_unshare, flags) };
    answer(value).map(drop)
}

/// Ends this process at once, running nothing of the C library's or Rust's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and runs no handler; safe at any point.
    unsafe { libc::_exit(code) }
}

/// The working directory's path in the kernel's words, getcwd(2): one that the root does not contain is given without a
/// leading slash, or not at all (`ENOENT`).
pub fn getcwd(buffer: &mut [std::mem::MaybeUninit<u8>]) -> Result<&[u8], Errno> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into it and returns how many.
    let value = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let written = usize::try_from(answer(value)?).map_err(|_negative| Errno::INVAL)?;
    let written = buffer.get(..written).ok_or(Errno::RANGE)?;
    // SAFETY: the kernel has initialised exactly these bytes.
    Ok(unsafe { std::slice::from_raw_parts(written.as_ptr().cast(), written.len()) })
}
