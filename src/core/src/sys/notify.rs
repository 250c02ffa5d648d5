//! seccomp_unotify(2): system calls that wait at a filter's listener for somebody's answer (Linux 5.5).

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::ioctl;

const RECV: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// A waiting call: `struct seccomp_notif` with its `struct seccomp_data`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Call {
    /// Names the call in every question and answer.
    pub id: u64,
    /// The calling thread, in the reader's pid namespace.
    pub thread: u32,
    flags: u32,
    /// System call number.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    instruction: u64,
    /// As they stand in the registers.
    pub arguments: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Takes the next call, waiting for one.
///
/// # Errors
/// `ENOENT` when the caller is gone again, `EINTR`.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Call, Errno> {
    let mut call = Call::default();
    ioctl(listener, RECV, std::ptr::from_mut(&mut call).expose_provenance()).map(|()| call)
}

/// Answers the call `id`: lets the kernel do it, or has it fail.
///
/// # Errors
/// `ENOENT` when the caller is gone.
pub fn respond(listener: BorrowedFd<'_>, id: u64, refusal: Option<Errno>) -> Result<(), Errno> {
    let error = refusal.map_or(0, |errno| -errno.raw_os_error());
    // 1 is SECCOMP_USER_NOTIF_FLAG_CONTINUE.
    let mut answer = Answer { id, value: 0, error, flags: u32::from(refusal.is_none()) };
    ioctl(listener, SEND, std::ptr::from_mut(&mut answer).expose_provenance())
}

/// Whether the call still waits. What was read of its caller's memory before is the caller's only then.
pub fn is_waiting(listener: BorrowedFd<'_>, mut id: u64) -> bool {
    ioctl(listener, ID_VALID, std::ptr::from_mut(&mut id).expose_provenance()).is_ok()
}

/// Has callers and listener take turns on one processor, so that less can happen between call and [`receive`].
///
/// # Errors
/// `EINVAL` before Linux 6.6.
pub fn take_turns(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    // 1 is SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP.
    ioctl(listener, SET_FLAGS, 1)
}
