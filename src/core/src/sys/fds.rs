//! Descriptor hygiene: close_range(2).

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use super::answer;

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// Marks every descriptor from `first` up close-on-exec (Linux 5.11; before that they are closed at once, 5.9).
pub fn seal_from(first: RawFd) -> Result<(), Errno> {
    match close_range(first, RawFd::MAX, CLOSE_RANGE_CLOEXEC) {
        Err(Errno::INVAL) => close_range(first, RawFd::MAX, 0),
        other => other,
    }
}

/// Closes every descriptor from `first` up but `kept`: right before execve(2), whose path must not lead through one
/// (`/proc/self/fd/7/../..`). Whoever still owns one must neither use nor drop it again.
pub fn dangerous_close_all_but(first: RawFd, kept: BorrowedFd<'_>) -> Result<(), Errno> {
    let kept = kept.as_raw_fd();
    if kept > first {
        close_range(first, kept - 1, 0)?;
    }
    close_range(first.max(kept.saturating_add(1)), RawFd::MAX, 0)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> Result<(), Errno> {
    let number = |fd: RawFd| libc::c_uint::try_from(fd).map_err(|_negative| Errno::BADF);
    let (first, last) = (number(first)?, number(last)?);
    // SAFETY: takes no pointers. With the flag it only marks descriptors. Without, callers are at program start, where
    // nothing owns a descriptor above the standard three, or about to leave this image, as they promise.
    let value = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    answer(value).map(drop)
}
