//! Paths that somebody else wrote: resolved beneath a descriptor, to a descriptor.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::missing::Missing;
use crate::plan::At;

/// The kernel gives up with `EAGAIN` when a rename races with a lookup; so many tries are made.
const TRIES: u32 = 32;

/// Opens a path beneath `root`: symbolic links stay inside, magic links are refused (openat2(2), Linux 5.6).
pub(super) fn look(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    lookup(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As [`look`], and no symbolic link is followed at all.
pub(super) fn look_plain(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    lookup(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

/// Opens a file of a proven procfs: nothing mounted over it, no magic link on the way.
pub(crate) fn open_proc(proc: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    lookup(proc, path, flags, resolve)
}

fn lookup(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut tries = 0;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

/// The directory at `at`; missing parts are made, mode 0755.
pub(super) fn directory(root: BorrowedFd<'_>, at: &At) -> Result<OwnedFd, Errno> {
    made(root, at.path(), Missing::Directory)
}

/// The file at `at`, to mount something over; an empty one is made when missing.
pub(super) fn file(root: BorrowedFd<'_>, at: &At) -> Result<OwnedFd, Errno> {
    made(root, at.path(), Missing::File)
}

/// The directory that holds `at`, made when missing, and the last component.
pub(super) fn parent<'p>(root: BorrowedFd<'_>, at: &'p At) -> Result<(OwnedFd, Option<&'p CStr>), Errno> {
    match at.last() {
        Some((leading, name)) => Ok((made(root, leading, Missing::Directory)?, Some(name))),
        None => Ok((look(root, c".", OFlags::PATH | OFlags::DIRECTORY)?, None)),
    }
}

fn made(root: BorrowedFd<'_>, path: &CStr, what: Missing) -> Result<OwnedFd, Errno> {
    match look(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => super::missing::make(root, path, what),
        other => other,
    }
}

/// Type of what a descriptor refers to.
pub(super) fn kind(fd: BorrowedFd<'_>) -> Result<FileType, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Whether a descriptor refers to the character device of these numbers.
pub(super) fn is_character(fd: BorrowedFd<'_>, major: u32, minor: u32) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    let numbers = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && numbers == (major, minor))
}
