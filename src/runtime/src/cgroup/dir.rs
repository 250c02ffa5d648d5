//! One directory of a cgroup hierarchy, held by descriptor: everything below it is reached through that descriptor.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP_MAGICS: [i64; 2] = [0x0027_e0eb, 0x6367_7270];

/// An open cgroup directory and the path it was opened by, which serves messages only.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the mount point of a hierarchy and makes sure that a cgroup filesystem is what answers there.
    pub(super) fn open_mount(path: &Path) -> Result<Self> {
        let what = || format!("open cgroup mount {}", path.display());
        match Self::open_if_mounted(path) {
            Ok(Some(dir)) => Ok(dir),
            Ok(None) => Err(Error::new(what(), "this is not a cgroup filesystem")),
            Err(e) => Err(os(what(), e)),
        }
    }

    /// As [`Dir::open_mount`]; none when the hierarchy is no longer mounted there: whatever was in it went with it, or
    /// is out of anyone's reach.
    pub(super) fn open_if_mounted(path: &Path) -> Result<Option<Self>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        let kind = rustix::fs::fstatfs(&fd)?.f_type;
        Ok(CGROUP_MAGICS.contains(&kind).then(|| Self { fd, path: path.to_owned() }))
    }

    /// The directory `name` right below; a symbolic link is refused (`ELOOP`/`ENOTDIR`).
    pub(super) fn child(&self, name: &OsStr) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// The directory at `relative` below, or none when any part of it is missing.
    pub(super) fn beneath(self, relative: &Path) -> Result<Option<Self>> {
        let mut at = self;
        for part in relative.components() {
            let Component::Normal(name) = part else { return Err(escapes(relative)) };
            at = match at.child(name) {
                Ok(next) => next,
                // ENODEV: the directory was opened by path but has been removed meanwhile.
                Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
                Err(e) => return Err(os(format!("open cgroup {}", at.path.join(name).display()), e)),
            };
        }
        Ok(Some(at))
    }

    /// Makes the directory `name`; false when it was there already.
    pub(super) fn make(&self, name: &OsStr) -> Result<bool, Errno> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Removes the directory `name`; a missing one is a success.
    pub(super) fn remove(&self, name: &OsStr) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The names of the cgroups right below.
    pub(super) fn children(&self) -> Result<Vec<OsString>> {
        let what = || format!("list cgroup {}", self.path.display());
        let mut names = Vec::new();
        let entries = match rustix::fs::Dir::read_from(&self.fd) {
            Ok(entries) => entries,
            Err(Errno::NOENT | Errno::NODEV) => return Ok(names),
            Err(e) => return Err(os(what(), e)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT | Errno::NODEV) => break,
                Err(e) => return Err(os(what(), e)),
            };
            let name = entry.file_name().to_bytes();
            if entry.file_type().is_dir() && name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Whether the control file `file` exists.
    pub(super) fn has(&self, file: &str) -> bool {
        rustix::fs::accessat(&self.fd, file, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Opens a control file; close-on-exec is added to `flags`.
    pub(super) fn open(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.fd, file, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
    }

    /// The text of a control file.
    pub(super) fn read(&self, file: &str) -> Result<String> {
        self.try_read(file).map_err(|e| os(format!("read {}", self.path.join(file).display()), e))
    }

    /// The text of a control file, or none when it does not exist or its cgroup has gone.
    pub(super) fn read_if_there(&self, file: &str) -> Result<Option<String>> {
        match self.try_read(file) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            Err(e) => Err(os(format!("read {}", self.path.join(file).display()), e)),
        }
    }

    /// Writes `value` to a control file in one write(2), as the kernel wants it.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<()> {
        self.try_write(file, value)
            .map_err(|e| os(format!("write {value:?} to {}", self.path.join(file).display()), e))
    }

    /// As [`Dir::write`], with the kernel's bare answer for callers that act on it.
    pub(super) fn try_write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let fd = self.open(file, OFlags::WRONLY)?;
        loop {
            match rustix::io::write(&fd, value.as_bytes()) {
                // A signal may interrupt the wait for the cgroup lock; nothing was written then.
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// A second handle of the same directory.
    pub(super) fn again(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map_err(|e| os(self.path.display(), e))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Gives the descriptor away.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Where the directory was found, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn try_read(&self, file: &str) -> Result<String, Errno> {
        let fd = self.open(file, OFlags::RDONLY)?;
        let mut bytes = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            match rustix::io::read(&fd, &mut chunk) {
                Ok(0) => return String::from_utf8(bytes).map_err(|_foreign| Errno::ILSEQ),
                Ok(n) => bytes.extend(chunk.iter().take(n)),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's refusal in our error's shape.
pub(super) fn os(what: impl Display, errno: Errno) -> Error {
    Error::os(what.to_string(), errno.raw_os_error())
}

fn escapes(path: &Path) -> Error {
    Error::new(format!("cgroup path {}", path.display()), "it must not contain '..', '.' or a leading '/'")
}
