//! A directory tree that somebody else filled: every path is resolved beneath one descriptor, in one system call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, open, openat, openat2, statat};
use rustix::io::Errno;

use crate::limits;

/// The directory, and how links beneath it count.
#[derive(Debug)]
pub struct Place {
    root: OwnedFd,
    links: Links,
}

/// What becomes of a symbolic link in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It stops us.
    Refuse,
    /// It is followed as if the directory were the root: it leads nowhere else.
    Within,
}

impl Place {
    /// The directory at a path of our own.
    ///
    /// # Errors
    /// It is not there, or no directory.
    pub fn open(path: &str, links: Links) -> Result<Self> {
        let root = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os(path, errno.raw_os_error()))?;
        Ok(Self { root, links })
    }

    /// A directory beneath it as a place of its own, in which links stop us.
    ///
    /// # Errors
    /// The kernel's.
    pub fn beneath(&self, path: &[u8]) -> Result<Self, Errno> {
        Ok(Self { root: self.directory(path)?, links: Links::Refuse })
    }

    /// Opens what is at `path`; links in the way count as the place has it, and so does one at the end of the path
    /// unless `NOFOLLOW` is among the flags.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` for a link that stops us.
    pub fn at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::NO_MAGICLINKS
            | match self.links {
                Links::Refuse => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                Links::Within => ResolveFlags::IN_ROOT,
            };
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        // A rename elsewhere in the tree lets the kernel give up with EAGAIN; it means nothing, but may be made to last.
        for _ in 0..64 {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The directory at `path`, to work in.
    ///
    /// # Errors
    /// The kernel's.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.at(path, OFlags::PATH | OFlags::DIRECTORY)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What is called `name` in a directory; a link is looked at, not followed.
///
/// # Errors
/// The kernel's, but that nothing is there is none.
pub fn look(directory: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// Opens a subdirectory by its name, to read it; never through a link.
///
/// # Errors
/// The kernel's.
pub fn subdirectory(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// The kind of file that a mode names.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// overlayfs's mark that there is nothing here: a character device of the number 0.
pub fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// A path without its doubled slashes, its dots, and what is taken back by `..`; relative, and empty for the root.
///
/// # Errors
/// It leads out, or is too long or too deep.
pub fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let refuse = |why: &str| Error::new(show(path), why);
    if path.len() > limits::PATH {
        return Err(Error::new(show(path.get(..64).unwrap_or_default()), "the name is too long"));
    }
    if path.contains(&0) {
        return Err(refuse("the name holds a NUL"));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop().ok_or_else(|| refuse("it leads out of its directory"))?),
            part => parts.push(part),
        }
    }
    if parts.len() > limits::DEPTH {
        return Err(refuse("it is nested too deeply"));
    }
    Ok(parts.join(&b'/'))
}

/// A path from a client, relative to the root: as [`clean`], but that `..` does not lead above the root.
pub fn clamp(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// A clean path's directory and last name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// A directory's path and a name in it.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// A name for people: control characters cannot play with their terminal.
pub fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths_lead_nowhere_else() {
        for (given, wanted) in
            [("/etc/x", "etc/x"), ("./a//b/.", "a/b"), ("a/../b", "b"), ("./", ""), ("/", "")]
        {
            assert_eq!(clean(given.as_bytes()).expect(given), wanted.as_bytes());
        }
        for bad in ["..", "../x", "/../x", "a/../../b", "a\0b"] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(clean(&b"a/".repeat(limits::DEPTH + 1)).is_err());
        assert!(clean(&[b'a'; limits::PATH + 1]).is_err());
    }

    #[test]
    fn names_are_shown_without_control_characters() {
        assert_eq!(show(b"a\n\x1b[2J"), "a\\n\\u{1b}[2J");
    }
}
