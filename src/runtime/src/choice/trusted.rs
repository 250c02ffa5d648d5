//! Files that decide what containers may have: read only where nobody but the operator can have written them.
//!
//! The path is walked one directory at a time, by descriptor and through no symbolic link, so that what was checked
//! is what is read. Whoever may write to a directory on the way could put another file in its place.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use casemate_spec::{Error, Result};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::cli::in_user_namespace;

/// Nothing a person writes is larger; 1 MiB.
const LARGEST: u64 = 1 << 20;

/// Who the kernel shows as the owner of what belongs to nobody in a user namespace (`kernel.overflowuid`).
const NOBODY: u32 = 65_534;

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the host's configuration: nobody else may add a file beside it.
    Configuration,
    /// Where the operator's command line says: a directory like `/tmp`, where others may only add, will do.
    Named,
}

/// Reads a text file; `None` when it or a directory on the way is not there.
///
/// # Errors
/// It is not a regular file, a symbolic link is on the way, somebody else may change it, it is larger than 1 MiB or
/// not UTF-8; the kernel's.
pub fn read(path: &Path, place: Place) -> Result<Option<String>> {
    let path = std::path::absolute(path).map_err(|error| Error::io(path.display().to_string(), &error))?;
    // Most hosts have no such file; the way to it matters only where there is one. A dangling link is there too.
    if let Err(Errno::NOENT) = rustix::fs::lstat(&path) {
        return Ok(None);
    }
    let Some(file) = open(&path, place)? else { return Ok(None) };
    let shown = || path.display().to_string();
    let mut bytes = Vec::new();
    let taken = File::from(file).take(LARGEST + 1).read_to_end(&mut bytes);
    if taken.map_err(|error| Error::io(shown(), &error))? as u64 > LARGEST {
        return Err(Error::new(shown(), "larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        Error::new(shown(), format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    Ok(Some(text))
}

fn open(path: &Path, place: Place) -> Result<Option<OwnedFd>> {
    let mut walk = Walk { path: PathBuf::from("/"), place };
    let mut names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some("..".as_ref()),
        _ => None,
    });
    let Some(file) = names.next_back() else { return Err(Error::new("/", "not a regular file")) };
    let Some(mut directory) = walk.enter(rustix::fs::CWD, b"/", names.clone().next().is_none())? else {
        return Ok(None);
    };
    while let Some(name) = names.next() {
        walk.path.push(name);
        let last = names.clone().next().is_none();
        match walk.enter(&directory, name.as_bytes(), last)? {
            Some(next) => directory = next,
            None => return Ok(None),
        }
    }
    walk.path.push(file);
    walk.file(&directory, file.as_bytes())
}

struct Walk {
    path: PathBuf,
    place: Place,
}

impl Walk {
    fn enter(&self, directory: impl std::os::fd::AsFd, name: &[u8], last: bool) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(self.refuse("not a directory, or a symbolic link"));
            }
            Err(errno) => return Err(self.failed(errno)),
        };
        let stat = rustix::fs::fstat(&found).map_err(|errno| self.failed(errno))?;
        self.owned(&stat)?;
        // Where the sticky bit is set, an entry can be replaced by its owner alone; but anybody may add one.
        let sticky = stat.st_mode & 0o1000 != 0 && !(last && self.place == Place::Configuration);
        if !sticky {
            self.guarded(&stat)?;
        }
        Ok(Some(found))
    }

    fn file(&self, directory: &OwnedFd, name: &[u8]) -> Result<Option<OwnedFd>> {
        // Without waiting: a fifo would have us wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(self.refuse("a symbolic link").hint("name the file that it leads to"));
            }
            Err(Errno::NXIO) => return Err(self.refuse("not a regular file")),
            Err(errno) => return Err(self.failed(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.failed(errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.refuse("not a regular file"));
        }
        self.owned(&stat)?;
        self.guarded(&stat)?;
        Ok(Some(file))
    }

    fn owned(&self, stat: &Stat) -> Result<()> {
        let owner = stat.st_uid;
        if owner == 0 || owner == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        // A caller whose root is not the host's sees the host's files so, and could do no harm with the host's rights.
        if owner == NOBODY && in_user_namespace() {
            return Ok(());
        }
        Err(self
            .refuse(&format!("belongs to user {owner}, who could change what containers may do"))
            .hint(format!("chown root {}", self.path.display())))
    }

    fn guarded(&self, stat: &Stat) -> Result<()> {
        if stat.st_mode & 0o022 == 0 {
            return Ok(());
        }
        let who = if stat.st_mode & 0o002 == 0 { "its group" } else { "everybody" };
        Err(self
            .refuse(&format!("{who} may write to it (mode {:04o})", stat.st_mode & 0o7777))
            .hint(format!("chmod go-w {}", self.path.display())))
    }

    fn refuse(&self, why: &str) -> Error {
        Error::new(self.path.display().to_string(), why)
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::os(self.path.display().to_string(), errno.raw_os_error())
    }
}
