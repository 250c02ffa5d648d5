//! Raw system calls: the only folder of the project where `unsafe` is allowed.
//!
//! One family a file, one unsafe operation a block. Everything that `rustix` offers safely is not here. Each
//! function is safe to call: it upholds its own invariants, so that a caller can at worst be refused by the kernel.
#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod fds;
pub mod keyring;
pub mod landlock;
pub mod mount;
pub mod net;
pub mod notify;
pub mod pidfd;
pub mod sched;
pub mod seccomp;
pub mod signal;

use rustix::io::Errno;

/// The kernel's answer as `libc::syscall` gives it: -1 and `errno`, or a value.
fn answer(value: libc::c_long) -> Result<libc::c_long, Errno> {
    if value != -1 {
        return Ok(value);
    }
    // SAFETY: takes nothing; gives this thread's errno location.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: that location is valid for the life of the thread, and nothing has run since the call that failed.
    let errno = unsafe { *location };
    Err(Errno::from_raw_os_error(errno))
}
