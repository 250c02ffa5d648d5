//! Making what an entry names.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ftruncate, linkat, mkdirat, mknodat, openat, symlinkat};
use rustix::io::{Errno, write};

use super::{Unpacking, attributes, failed, remove, whiteout};
use crate::archive::{Entry, Reader};
use crate::limits;
use crate::place::{self, clean, is_whiteout, join, kind, look, show, split};

/// The mode of directories that no entry names.
const IMPLIED: Mode = Mode::from_raw_mode(0o755);

impl Unpacking<'_> {
    pub(super) fn file<R: BufRead>(
        &mut self,
        directory: &[u8],
        name: &[u8],
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        self.size = self.size.saturating_add(entry.size);
        if self.size > limits::CONTENT {
            return Err(Error::new(
                "",
                format!("the files are longer than {} bytes together", limits::CONTENT),
            ));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.make(directory, name, entry, |parent| {
            openat(parent, name, flags, Mode::from_raw_mode(entry.mode & 0o777))
        })?;
        let mut end = 0;
        reader.content(entry, |offset, piece| {
            if offset != end {
                rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(offset))
                    .map_err(|errno| failed("", errno))?;
            }
            end = offset.saturating_add(piece.len() as u64);
            write_all(file.as_fd(), piece).map_err(|errno| failed("", errno))
        })?;
        if end < entry.size {
            ftruncate(&file, entry.size).map_err(|errno| failed("", errno))?;
        }
        attributes::set(&file, entry, self.rules)
    }

    pub(super) fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let (above, name) = split(path);
        let rules = self.rules;
        let parent = self.parent(above)?;
        let made = match look(parent, name).map_err(|errno| failed("", errno))? {
            Some(stat) if kind(&stat) == FileType::Directory => Ok(()),
            Some(_) if rules.keep_kinds => {
                Err(Error::new("", "cannot overwrite non-directory with directory"))
            }
            Some(stat) => {
                remove::tree(parent, name).map_err(|errno| failed("", errno))?;
                make_directory(parent, name, is_whiteout(&stat))
            }
            None => make_directory(parent, name, false),
        };
        made?;
        let own = place::subdirectory(parent, name).map_err(|errno| failed("", errno))?;
        attributes::set(&own, entry, rules)?;
        // What comes next is most often in it.
        self.parent = Some((path.to_vec(), own));
        self.remember_time(path, entry)
    }

    pub(super) fn symlink(&mut self, directory: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(Error::new("", "it is a link to no proper name"));
        }
        self.make(directory, name, entry, |parent| symlinkat(&*entry.link, parent, name))?;
        let rules = self.rules;
        attributes::set_at(self.parent(directory)?, name, entry, rules)
    }

    pub(super) fn fifo(&mut self, directory: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        self.make(directory, name, entry, |parent| mknodat(parent, name, FileType::Fifo, mode, 0))?;
        let rules = self.rules;
        attributes::set_at(self.parent(directory)?, name, entry, rules)
    }

    /// Another name for what an earlier entry made; what is not beneath the directory cannot be named.
    pub(super) fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let target = join(self.base, &clean(&entry.link)?);
        let (directory, name) = split(path);
        let (target_directory, target_name) = split(&target);
        let link = || format!("link to {}", show(&entry.link));
        let from = self.place.directory(target_directory).map_err(|errno| failed(&link(), errno))?;
        let Some(there) = look(&from, target_name).map_err(|errno| failed(&link(), errno))? else {
            return Err(failed(&link(), Errno::NOENT));
        };
        if !matches!(kind(&there), FileType::RegularFile | FileType::Symlink | FileType::Fifo) {
            return Err(Error::new(link(), "it is no file"));
        }
        let parent = self.parent(directory)?;
        if let Some(here) = look(parent, name).map_err(|errno| failed("", errno))?
            && (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        {
            return Ok(());
        }
        // Without AT_SYMLINK_FOLLOW a link is linked, not what it leads to.
        self.make(directory, name, entry, |parent| linkat(&from, target_name, parent, name, AtFlags::empty()))
    }

    /// Makes something new under a name; what has the name already is removed first.
    fn make<T>(
        &mut self,
        directory: &[u8],
        name: &[u8],
        entry: &Entry,
        mut step: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T> {
        let keep_kinds = self.rules.keep_kinds;
        let parent = self.parent(directory)?;
        match step(parent) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(|errno| failed("", errno)),
        }
        let there = look(parent, name).map_err(|errno| failed("", errno))?;
        let is_directory = there.is_some_and(|stat| kind(&stat) == FileType::Directory);
        if is_directory && keep_kinds {
            let why = format!("cannot overwrite directory with non-directory {}", show(&entry.path));
            return Err(Error::new("", why));
        }
        remove::tree(parent, name).map_err(|errno| failed("", errno))?;
        let made = step(parent).map_err(|errno| failed("", errno));
        // The removed one may have been the directory that we hold for the next entry, or above it.
        if is_directory {
            self.parent = None;
        }
        made
    }

    /// The directory of that path, made with all above it where it is missing.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if !matches!(&self.parent, Some((at, _)) if at == path) {
            let opened = match self.place.directory(path) {
                Err(Errno::NOENT | Errno::NOTDIR) => self.imply(path)?,
                other => other.map_err(|errno| failed(&show(path), errno))?,
            };
            self.parent = Some((path.to_vec(), opened));
        }
        match &self.parent {
            Some((_, directory)) => Ok(directory.as_fd()),
            None => Err(Error::new(show(path), "no directory")),
        }
    }

    /// Makes each directory of a path that is missing; a removed file's mark gives way.
    fn imply(&self, path: &[u8]) -> Result<OwnedFd> {
        let wrong = |errno| failed(&show(path), errno);
        let (mut above, mut at) = (self.place.directory(b"").map_err(wrong)?, Vec::new());
        for name in path.split(|&byte| byte == b'/') {
            at = join(&at, name);
            match look(&above, name).map_err(wrong)? {
                None => make_directory(above.as_fd(), name, false)?,
                Some(stat) if self.rules.layer && is_whiteout(&stat) => {
                    remove::tree(&above, name).map_err(wrong)?;
                    make_directory(above.as_fd(), name, true)?;
                }
                Some(_) => {}
            }
            above = self.place.directory(&at).map_err(wrong)?;
        }
        Ok(above)
    }
}

/// A new directory; one that stands where the layers beneath have another is opaque.
fn make_directory(parent: BorrowedFd<'_>, name: &[u8], opaque: bool) -> Result<()> {
    mkdirat(parent, name, IMPLIED).map_err(|errno| failed(&show(name), errno))?;
    if opaque {
        let own = place::subdirectory(parent, name).map_err(|errno| failed(&show(name), errno))?;
        whiteout::make_opaque(&own)?;
    }
    Ok(())
}

fn write_all(file: BorrowedFd<'_>, mut piece: &[u8]) -> Result<(), Errno> {
    while !piece.is_empty() {
        match write(file, piece) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(Errno::NOSPC),
            other => piece = piece.get(other?..).unwrap_or_default(),
        }
    }
    Ok(())
}
