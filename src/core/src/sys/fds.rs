//! Descriptor hygiene: close_range(2).

use std::os::fd::RawFd;

use rustix::io::Errno;

use super::answer;

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// Marks every descriptor from `first` up close-on-exec (Linux 5.11; before that they are closed at once, 5.9).
pub fn seal_from(first: RawFd) -> Result<(), Errno> {
    match close_range(first, CLOSE_RANGE_CLOEXEC) {
        Err(Errno::INVAL) => close_range(first, 0),
        other => other,
    }
}

fn close_range(first: RawFd, flags: libc::c_uint) -> Result<(), Errno> {
    let first = libc::c_uint::try_from(first).map_err(|_negative| Errno::BADF)?;
    // SAFETY: takes no pointers. With the flag it only marks descriptors; without, callers are at program start, where
    // nothing in this process owns a descriptor above the standard three.
    let value = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    answer(value).map(drop)
}
