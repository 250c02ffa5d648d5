//! Unpacking: an archive's entries become files beneath one directory.
//!
//! Where a name is already taken, the later entry wins, as with Docker; the earlier is removed, never written through.
//! Devices are left out, as Docker does in a user namespace: a container's own `/dev` is a mount, and a device node in an
//! image could be overlayfs's mark for a removed file. Entries of unknown kinds are errors.

mod attributes;
mod make;
mod remove;
mod whiteout;

use std::io::BufRead;
use std::os::fd::OwnedFd;

use casemate_spec::{Error, Result};
use rustix::fs::Timespec;
use rustix::io::Errno;

use crate::archive::{Entry, Kind, Reader};
use crate::limits;
pub use attributes::is_xattr_allowed;
pub use whiteout::{OPAQUE, OPAQUE_XATTR, PREFIX as WHITEOUT};

use crate::place::{Place, clean, join, show, split};

/// What is to be heeded.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The archive is a layer: `.wh.` names stand for removed files, and become overlayfs's marks.
    layer: bool,
    /// A file never takes the place of a directory, nor a directory that of a file.
    keep_kinds: bool,
    /// Everything becomes theirs.
    owner: Option<(u32, u32)>,
}

impl Rules {
    /// For a layer of an image.
    pub fn layer() -> Self {
        Self { layer: true, keep_kinds: false, owner: None }
    }

    /// For files that are copied into a container.
    pub fn copy(keep_kinds: bool, owner: Option<(u32, u32)>) -> Self {
        Self { layer: false, keep_kinds, owner }
    }
}

/// Reads the stream to its end and writes what it holds beneath the directory `base` of `place`. Gives the stream back, and the bytes of
/// content.
///
/// # Errors
/// The archive is malformed, asks for what is not allowed, or cannot be written. What was written by then stays.
pub fn unpack<R: BufRead>(input: R, place: &Place, base: &[u8], rules: Rules) -> Result<(R, u64)> {
    let mut reader = Reader::new(input);
    let mut unpacking = Unpacking { place, base, rules, parent: None, times: Vec::new(), names: 0, size: 0 };
    while let Some(entry) = reader.entry()? {
        unpacking.entry(&entry, &mut reader).map_err(|error| naming(&entry, error))?;
    }
    let size = unpacking.size;
    unpacking.finish();
    Ok((reader.finish()?, size))
}

/// What is known between two entries.
struct Unpacking<'a> {
    place: &'a Place,
    base: &'a [u8],
    rules: Rules,
    /// The directory of the last entry: the next is most often in it too.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// When directories were modified; set last of all, for every entry in one changes that again.
    times: Vec<(Vec<u8>, Timespec)>,
    /// Bytes of the names among them.
    names: usize,
    size: u64,
}

impl Unpacking<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        let path = clean(&entry.path)?;
        // The directory itself is whoever's who gave it to us.
        if path.is_empty() {
            return Ok(());
        }
        let path = join(self.base, &path);
        let (directory, name) = split(&path);
        if self.rules.layer {
            match whiteout::of(directory, name)? {
                whiteout::Mark::None => {}
                whiteout::Mark::Ignored => return Ok(()),
                mark => return self.whiteout(directory, mark),
            }
        }
        match entry.kind {
            Kind::File => self.file(directory, name, entry, reader),
            Kind::Directory => self.directory(&path, entry),
            Kind::Symlink => self.symlink(directory, name, entry),
            Kind::HardLink => self.hard_link(&path, entry),
            Kind::Fifo => self.fifo(directory, name, entry),
            Kind::Device => Ok(()),
            Kind::Other(byte) => {
                let byte = byte.escape_ascii();
                Err(Error::new("", format!("entries of type '{byte}' are not understood")))
            }
        }
    }

    fn remember_time(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        self.names = self.names.saturating_add(path.len());
        if self.names > limits::NAMES {
            return Err(Error::new("", "too many directories"));
        }
        self.times.push((path.to_vec(), attributes::time(entry)));
        Ok(())
    }

    /// What can only be done when nothing more is written.
    fn finish(self) {
        for (path, time) in &self.times {
            // One that was replaced by something else has no time of its own to get; nor is a time worth a failure.
            if let Ok(directory) = self.place.at(path, attributes::READ_DIRECTORY) {
                attributes::set_time(directory, *time).unwrap_or_default();
            }
        }
    }
}

/// Puts the entry's name before what went wrong with it.
fn naming(entry: &Entry, error: Error) -> Error {
    error.within(show(entry.path.get(..200).unwrap_or(&entry.path)))
}

/// The kernel's no.
fn failed(what: &str, errno: Errno) -> Error {
    match errno {
        // openat2 says so of a link in the way.
        Errno::LOOP => Error::new(what, "a symbolic link is in the way"),
        other => Error::os(what, other.raw_os_error()),
    }
}
