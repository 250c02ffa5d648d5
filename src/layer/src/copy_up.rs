//! The first use of a volume: what the image has at its place is copied into it, if it is empty.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use casemate_spec::{Error, Result};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat,
    copy_file_range, fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, readlinkat,
    symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::archive::Xattr;
use crate::copy::Asked;
use crate::pack::xattrs;
use crate::place::{Place, show, split, subdirectory};
use crate::walk::{self, Found, Mounts};

/// Copies the directory's content, and its own attributes, unless the target holds something already.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy_up(root: &Place, path: &str, target: &Place) -> Result<()> {
    let wrong = |errno: Errno| Error::os(path, errno.raw_os_error());
    if !walk::names(target, b"").map_err(wrong)?.is_empty() {
        return Ok(());
    }
    let source = match root.beneath(Asked::new(path).path()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.map_err(wrong)?,
    };
    let mut copying = Copying { source: &source, target, links: HashMap::new(), times: Vec::new() };
    walk::walk(&source, Mounts::LeaveOut, |found| {
        copying.add(found).map_err(|errno| Error::os(show(&found.path), errno.raw_os_error()))
    })?;
    copying.finish().map_err(wrong)
}

struct Copying<'a> {
    source: &'a Place,
    target: &'a Place,
    /// The first name of each file that has several.
    links: HashMap<(u32, u32, u64), Vec<u8>>,
    /// When directories were modified; whatever is made in one changes that.
    times: Vec<(Vec<u8>, Timespec)>,
}

impl Copying<'_> {
    fn add(&mut self, found: &Found) -> Result<(), Errno> {
        let (above, name) = split(&found.path);
        let parent = self.target.directory(above)?;
        let is_directory = found.kind() == FileType::Directory;
        if !is_directory && found.stat.stx_nlink > 1 {
            if let Some(first) = self.links.get(&found.inode()) {
                let (directory, first) = split(first);
                return linkat(self.target.directory(directory)?, first, parent, name, AtFlags::empty());
            }
            self.links.insert(found.inode(), found.path.clone());
        }
        match found.kind() {
            FileType::RegularFile => self.file(found, &parent, name),
            FileType::Directory => self.directory(found, &parent, name),
            FileType::Symlink => {
                let link = self.source.at(&found.path, OFlags::PATH | OFlags::NOFOLLOW)?;
                symlinkat(&*readlinkat(&link, c"", Vec::new())?, &parent, name)?;
                attributes_at(found, &parent, name)
            }
            FileType::Fifo => {
                let mode = Mode::from_raw_mode(u32::from(found.stat.stx_mode) & 0o777);
                mknodat(&parent, name, FileType::Fifo, mode, 0)?;
                attributes_at(found, &parent, name)
            }
            _ => Ok(()),
        }
    }

    fn file(&self, found: &Found, parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let from = self.source.at(&found.path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        if !found.left_out {
            copy(&from, &to)?;
        }
        attributes(found, &from, &to)?;
        futimens(&to, &stamps(time(found)))
    }

    fn directory(&mut self, found: &Found, parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let from = self.source.at(&found.path, flags | OFlags::NOFOLLOW)?;
        let to = if found.path.is_empty() {
            self.target.at(b"", flags)?
        } else {
            mkdirat(parent, name, Mode::RWXU)?;
            subdirectory(parent, name)?
        };
        self.times.push((found.path.clone(), time(found)));
        attributes(found, &from, &to)
    }

    fn finish(self) -> Result<(), Errno> {
        for (path, time) in &self.times {
            futimens(self.target.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?, &stamps(*time))?;
        }
        Ok(())
    }
}

/// The kernel copies, within a filesystem without moving a byte where it can.
fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    loop {
        match copy_file_range(from, None, to, None, 1 << 30) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_by_hand(from, to);
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut piece = vec![0; 256 << 10];
    loop {
        let length = match rustix::io::read(from, &mut piece) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if length == 0 {
            return Ok(());
        }
        let mut rest = piece.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            rest = rest.get(rustix::io::write(to, rest)?..).unwrap_or_default();
        }
    }
}

fn attributes(found: &Found, from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let stat = &found.stat;
    fchown(to, Some(Uid::from_raw(stat.stx_uid)), Some(Gid::from_raw(stat.stx_gid)))?;
    fchmod(to, Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o7777))?;
    for Xattr { name, value } in xattrs(from)? {
        match fsetxattr(to, &*name, &value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

fn attributes_at(found: &Found, parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(found.stat.stx_uid), Gid::from_raw(found.stat.stx_gid));
    chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(&parent, name, &stamps(time(found)), AtFlags::SYMLINK_NOFOLLOW)
}

fn time(found: &Found) -> Timespec {
    let modified = &found.stat.stx_mtime;
    Timespec { tv_sec: modified.tv_sec, tv_nsec: modified.tv_nsec.into() }
}

fn stamps(time: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time }
}
