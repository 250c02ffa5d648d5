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
pub mod quota;
pub mod sched;
pub mod seccomp;
pub mod signal;

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The kernel's answer as `libc::syscall` gives it: -1 and `errno`, or a value. Allocates nothing.
fn answer(value: libc::c_long) -> Result<libc::c_long, Errno> {
    let failed = || Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    if value == -1 { Err(failed()) } else { Ok(value) }
}

/// ioctl(2), for requests whose argument is a number, or the address of a structure of the size that the request's number
/// carries.
fn ioctl(file: BorrowedFd<'_>, request: libc::c_ulong, argument: usize) -> Result<(), Errno> {
    // SAFETY: each caller gives a number, or the address of the structure whose size the request's number carries,
    // which outlives the call and which nobody else refers to.
    answer(libc::c_long::from(unsafe { libc::ioctl(file.as_raw_fd(), request, argument) })).map(drop)
}
