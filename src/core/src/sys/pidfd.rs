//! pidfd_send_signal(2) with any signal number: `rustix` has no safe way to name a real-time signal.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::answer;

/// Sends `signal` to the process that the descriptor stands for (Linux 5.1); 0 only asks whether it may be sent.
///
/// # Errors
/// pidfd_send_signal(2): `ESRCH` when the process has ended, `EPERM`, `EINVAL` for a number that is no signal.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: the kernel fills in the signal's information itself where it is given none; nothing else is a pointer.
    let value =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, 0_usize, 0) };
    answer(value).map(|_zero| ())
}
