//! Makes what a path in the container's root lacks, where a symbolic link may lead to what is not there yet.
//!
//! Images have such links (`/etc/resolv.conf` to a file below `/run`), and engines mount over them. The walk holds a
//! path without links, resolves it beneath the root's descriptor anew at every step, and so stays inside whatever is
//! renamed meanwhile.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, mkdirat, openat, readlinkat_raw};
use rustix::io::Errno;

use super::resolve::{kind, look_plain};

/// What the end of a path is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Mode 0755, like every directory on the way.
    Directory,
    /// Empty, mode 0644.
    File,
}

/// As the kernel does: path_resolution(7).
const LINKS: u32 = 40;
const PATH_MAX: usize = 4096;

/// Follows `path` from `root` component by component, makes what is missing, and opens the end.
pub(super) fn make(root: BorrowedFd<'_>, path: &CStr, what: Missing) -> Result<OwnedFd, Errno> {
    let mut rest = Rest { bytes: [0; 2 * PATH_MAX], start: 2 * PATH_MAX };
    rest.prepend(path.to_bytes())?;
    let mut done = Done { bytes: [0; PATH_MAX], len: 0 };
    let mut links = 0;
    let mut name = [0; PATH_MAX];
    while let Some(length) = rest.next(&mut name) {
        match name.get(..length).unwrap_or_default() {
            b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            name => done.push(name)?,
        }
        let here = match look_plain(root, done.path()?, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => {
                let what = if rest.is_empty() { what } else { Missing::Directory };
                let name = CStr::from_bytes_until_nul(&name).map_err(|_long| Errno::NAMETOOLONG)?;
                create(root, &mut done, name, what)?;
                look_plain(root, done.path()?, OFlags::PATH | OFlags::NOFOLLOW)?
            }
            other => other?,
        };
        if kind(here.as_fd())? == FileType::Symlink {
            links += 1;
            let mut text = [MaybeUninit::uninit(); PATH_MAX];
            let (target, _unused) = readlinkat_raw(&here, c"", &mut text)?;
            rest.prepend(target)?;
            match target.first() {
                _ if links > LINKS => return Err(Errno::LOOP),
                Some(b'/') => done.len = 0,
                _ => done.pop(),
            }
        }
    }
    look_plain(root, done.path()?, OFlags::PATH)
}

fn create(root: BorrowedFd<'_>, done: &mut Done, name: &CStr, what: Missing) -> Result<(), Errno> {
    done.pop();
    let parent = look_plain(root, done.path()?, OFlags::PATH | OFlags::DIRECTORY)?;
    done.push(name.to_bytes())?;
    let made = match what {
        Missing::Directory => mkdirat(&parent, name, Mode::from_raw_mode(0o755)),
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        // Lost a race to somebody who made it: the lookup that follows decides whether it will do.
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// What is still to be walked: text at the end of a buffer, so that a link's target fits before it.
struct Rest {
    bytes: [u8; 2 * PATH_MAX],
    start: usize,
}

impl Rest {
    fn prepend(&mut self, text: &[u8]) -> Result<(), Errno> {
        for part in [b"/", text] {
            let start = self.start.checked_sub(part.len()).ok_or(Errno::NAMETOOLONG)?;
            self.bytes.get_mut(start..self.start).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
            self.start = start;
        }
        Ok(())
    }

    /// Takes the next component into `name`, with a NUL behind it, and gives its length.
    fn next(&mut self, name: &mut [u8; PATH_MAX]) -> Option<usize> {
        let text = self.bytes.get(self.start..)?;
        let from = text.iter().position(|byte| *byte != b'/')?;
        let text = text.get(from..)?;
        let length = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
        name.get_mut(..length)?.copy_from_slice(text.get(..length)?);
        *name.get_mut(length)? = 0;
        self.start += from + length;
        Some(length)
    }

    fn is_empty(&self) -> bool {
        self.bytes.get(self.start..).is_none_or(|text| text.iter().all(|byte| *byte == b'/'))
    }
}

/// A path relative to the root, without links, `.` and `..`.
struct Done {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Done {
    fn push(&mut self, name: &[u8]) -> Result<(), Errno> {
        let slash: &[u8] = if self.len == 0 { b"" } else { b"/" };
        for part in [slash, name, b"\0"] {
            let end = self.len + part.len();
            self.bytes.get_mut(self.len..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
            self.len = end;
        }
        self.len -= 1;
        Ok(())
    }

    fn pop(&mut self) {
        let done = self.bytes.get(..self.len).unwrap_or_default();
        self.len = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    }

    fn path(&mut self) -> Result<&CStr, Errno> {
        if self.len == 0 {
            return Ok(c".");
        }
        *self.bytes.get_mut(self.len).ok_or(Errno::NAMETOOLONG)? = 0;
        CStr::from_bytes_until_nul(&self.bytes).map_err(|_long| Errno::NAMETOOLONG)
    }
}
