//! A container's directory, held by descriptor: every file in it is reached through that descriptor alone.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use casemate_spec::{ContainerId, Error, Result};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::{Lock, Record};

/// The configuration as it was at `create`.
pub const CONFIG: &str = "config.json";
/// The policy as it was at `create`.
pub const POLICY: &str = "policy.toml";
/// Locked by an init that waits for `start`.
pub const WAITING: &str = "waiting";
/// Where that init listens.
pub const START_SOCKET: &str = "start.sock";

const LOCK: &str = "lock";
const STATE: &str = "state.json";
const STATE_NEXT: &str = ".state.json.next";
/// A state or configuration larger than this was not written by us (the configuration's own bound is 16 MiB).
const LARGEST: u64 = 32 << 20;
/// We make no directory in a home; whoever did is not followed for ever.
const DEPTH: u32 = 16;

/// A container's directory.
#[derive(Debug)]
pub struct Home {
    id: ContainerId,
    root: Rc<OwnedFd>,
    path: PathBuf,
    directory: OwnedFd,
}

impl Home {
    /// Opens the directory of `id` under the root; `None` when there is none.
    pub(super) fn open(root: &Rc<OwnedFd>, root_path: &Path, id: &ContainerId) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(root.as_ref(), id.as_str(), flags, Mode::empty()) {
            Ok(directory) => {
                let path = root_path.join(id.as_str());
                Ok(Some(Self { id: id.clone(), root: Rc::clone(root), path, directory }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::os(format!("{id}: open state directory"), error.raw_os_error())),
        }
    }

    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The directory's path, for messages and for what can only be told by path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the container for a change, waiting at most [`Lock::PATIENCE`].
    ///
    /// # Errors
    /// Another command holds it, or the container was deleted meanwhile.
    pub fn lock(&self) -> Result<Lock> {
        let lock = Lock::wait(self.lock_file()?).map_err(|error| error.within(&self.id))?;
        if self.is_linked()? { Ok(lock) } else { Err(missing(&self.id)) }
    }

    /// Whether a command that changes the container is at work.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_locked(&self) -> Result<bool> {
        match self.open_file(LOCK, OFlags::RDONLY)? {
            Some(file) => Lock::held(file),
            None => Ok(false),
        }
    }

    /// Makes `waiting` and locks it, for the init to inherit.
    ///
    /// # Errors
    /// The kernel's; the file exists already.
    pub fn make_waiting(&self) -> Result<OwnedFd> {
        let file = self.make(WAITING, OFlags::RDWR | OFlags::EXCL)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(error) => Err(self.failed("lock", WAITING, error)),
        }
    }

    /// Whether an init waits for `start`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_waiting(&self) -> Result<bool> {
        match self.open_file(WAITING, OFlags::RDONLY)? {
            Some(file) => Lock::held(file),
            None => Ok(false),
        }
    }

    /// Writes a file whole, or leaves it as it was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.write(STATE_NEXT, &record.to_bytes()?)?;
        rustix::fs::renameat(&self.directory, STATE_NEXT, &self.directory, STATE)
            .map_err(|error| self.failed("write", STATE, error))
    }

    /// Reads the record; `None` when `create` had no time to write one.
    ///
    /// # Errors
    /// It is malformed, or the kernel's.
    pub fn load(&self) -> Result<Option<Record>> {
        self.read(STATE)?.map(|bytes| Record::parse(&self.id, &bytes)).transpose()
    }

    /// Writes a new file, or over an old one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.make(name, OFlags::WRONLY | OFlags::TRUNC)?;
        File::from(file)
            .write_all(bytes)
            .map_err(|error| Error::io(format!("{}: write {name}", self.id), &error))
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// The kernel's; the file is absurdly large.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name, OFlags::RDONLY)? else { return Ok(None) };
        let file = File::from(file);
        let failed = |error: std::io::Error| Error::io(format!("{}: read {name}", self.id), &error);
        let size = file.metadata().map_err(failed)?.len();
        if size > LARGEST {
            return Err(Error::new(format!("{}: read {name}", self.id), "larger than 32 MiB"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Removes the directory: the state last but the lock, so that what is left after a crash can be deleted again.
    ///
    /// # Errors
    /// The kernel's, missing files apart.
    pub fn remove(&self) -> Result<()> {
        self.remove_known()
            .and_then(|()| match self.remove_directory() {
                Err(Errno::NOTEMPTY) => {
                    empty(self.directory.as_fd(), DEPTH)?;
                    self.remove_directory()
                }
                other => other,
            })
            .map_err(|error| {
                Error::os(format!("{}: remove {}", self.id, self.path.display()), error.raw_os_error())
            })
    }

    fn remove_known(&self) -> rustix::io::Result<()> {
        for name in [
            c"waiting",
            c"start.sock",
            c"config.json",
            c"policy.toml",
            c".state.json.next",
            c"state.json",
            c"lock",
        ] {
            match remove_file(self.directory.as_fd(), name) {
                // Not what we made; what is in it is seen to later.
                Err(Errno::ISDIR) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn remove_directory(&self) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(self.root.as_ref(), self.id.as_str(), AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    pub(super) fn lock_file(&self) -> Result<OwnedFd> {
        match self.make(LOCK, OFlags::RDWR) {
            // Deleted between opening the directory and now.
            Err(error) if error.errno() == Some(Errno::NOENT.raw_os_error()) => Err(missing(&self.id)),
            other => other,
        }
    }

    /// Whether the name still leads to this directory, and not to none or to a successor's.
    pub(super) fn is_linked(&self) -> Result<bool> {
        let of = |error: Errno| Error::os(format!("{}: stat state directory", self.id), error.raw_os_error());
        let ours = rustix::fs::fstat(&self.directory).map_err(of)?;
        match rustix::fs::statat(self.root.as_ref(), self.id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(of(error)),
        }
    }

    fn make(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("make", name, error))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<Option<OwnedFd>> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("open", name, error)),
        }
    }

    fn failed(&self, what: &str, name: &str, error: Errno) -> Error {
        Error::os(format!("{}: {what} {name}", self.id), error.raw_os_error())
    }
}

impl AsFd for Home {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The one error for a container that is not there; engines recognise it by its words.
pub fn missing(id: &ContainerId) -> Error {
    Error::new(id.as_str(), "container does not exist")
}

/// Empties a directory, never through a symbolic link.
fn empty(directory: BorrowedFd<'_>, depth: u32) -> rustix::io::Result<()> {
    // Names first: a directory that changes while it is read may be read for ever.
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    for name in names {
        match remove_file(directory, &name) {
            Err(Errno::ISDIR) => remove_tree(directory, &name, depth)?,
            other => other?,
        }
    }
    Ok(())
}

fn remove_file(directory: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn remove_tree(directory: BorrowedFd<'_>, name: &CStr, depth: u32) -> rustix::io::Result<()> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    empty(inner.as_fd(), depth)?;
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}
