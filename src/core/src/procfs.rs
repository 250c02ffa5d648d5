//! The host's procfs, proven genuine before anything is read or written through it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::child::open_proc;

/// linux/magic.h.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// The inode of a procfs's root: anything else is a directory within one.
const PROC_ROOT_INO: u64 = 1;

/// Whether what a descriptor refers to is a procfs's.
pub(crate) fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(u64::try_from(rustix::fs::fstatfs(fd)?.f_type).unwrap_or(0) == PROC_SUPER_MAGIC)
}

/// A handle on `/proc`.
///
/// Files are opened beneath it with openat2(2), which refuses whatever is mounted over them and every magic link.
#[derive(Debug)]
pub struct Proc(OwnedFd);

impl Proc {
    /// Opens `/proc` and checks that it is a procfs and its root.
    ///
    /// # Errors
    /// `EXDEV` when it is anything else.
    pub fn open() -> Result<Self, Errno> {
        let proc =
            rustix::fs::open(c"/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let root = rustix::fs::statat(&proc, c"", AtFlags::EMPTY_PATH)?;
        if !is_procfs(proc.as_fd())? || root.st_ino != PROC_ROOT_INO {
            return Err(Errno::XDEV);
        }
        Ok(Self(proc))
    }

    /// Writes `text` in one write to a file of a process.
    ///
    /// # Errors
    /// The kernel's, as proc(5) gives them for the file; `EINVAL` for a name with a NUL byte.
    pub fn write(&self, pid: Pid, file: &str, text: &[u8]) -> Result<(), Errno> {
        let path = CString::new(format!("{}/{file}", pid.as_raw_nonzero())).map_err(|_nul| Errno::INVAL)?;
        let file = open_proc(self.0.as_fd(), &path, OFlags::WRONLY)?;
        let written = rustix::io::write(&file, text)?;
        if written == text.len() { Ok(()) } else { Err(Errno::IO) }
    }

    /// Opens a file of procfs for reading.
    pub fn read(&self, path: &str) -> Result<OwnedFd, Errno> {
        let path = CString::new(path).map_err(|_nul| Errno::INVAL)?;
        open_proc(self.0.as_fd(), &path, OFlags::RDONLY)
    }

    /// Opens a namespace of a process (a magic link, so only by number).
    pub fn namespace(&self, pid: Pid, name: &str) -> Result<OwnedFd, Errno> {
        let path = format!("{}/ns/{name}", pid.as_raw_nonzero());
        rustix::fs::openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// The handle, for a child.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
