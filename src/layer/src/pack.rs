//! Packing a tree: files become the entries of an archive.
//!
//! Sockets and devices are left out: the former mean nothing elsewhere, the latter are the container's `/dev`.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io::Write;
use std::os::fd::OwnedFd;

use casemate_spec::{Error, Result};
use rustix::fs::{FileType, OFlags, fgetxattr, flistxattr, readlinkat};
use rustix::io::{Errno, read};

use crate::archive::{Entry, Kind, Writer, Xattr};
use crate::changes::Runtime;
use crate::place::{Place, join, show, split};
use crate::unpack::{OPAQUE, OPAQUE_XATTR, WHITEOUT, is_xattr_allowed};
use crate::walk::{self, Found, Mounts};

/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// The longest value and the longest list of extended attributes (xattr(7)).
const XATTRS: usize = 64 << 10;

/// How names and marks are written.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// Every name behind this one.
    Named(&'a [u8]),
    /// As a layer: overlayfs's marks become OCI's, and what the runtime made is left out.
    Layer(&'a Runtime),
}

/// Writes the tree beneath a place.
///
/// # Errors
/// Something cannot be read, or nobody reads the archive.
pub fn pack<W: Write>(place: &Place, mounts: Mounts, form: Form<'_>, writer: &mut Writer<W>) -> Result<()> {
    let mut packing = Packing { place, form, writer, links: HashMap::new(), piece: vec![0; PIECE] };
    walk::walk(place, mounts, |found| packing.add(found))
}

/// Writes a single thing that is no directory.
///
/// # Errors
/// It cannot be read, or nobody reads the archive.
pub fn pack_one<W: Write>(place: &Place, path: &[u8], name: &[u8], writer: &mut Writer<W>) -> Result<()> {
    let wrong = |errno: Errno| Error::os(show(path), errno.raw_os_error());
    let file = place.at(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(wrong)?;
    let stat = walk::status(&file).map_err(wrong)?;
    let found = Found { path: path.to_vec(), stat, left_out: false };
    let mut packing =
        Packing { place, form: Form::Named(name), writer, links: HashMap::new(), piece: vec![0; PIECE] };
    packing.add_as(&found, name.to_vec())
}

struct Packing<'a, W: Write> {
    place: &'a Place,
    form: Form<'a>,
    writer: &'a mut Writer<W>,
    /// The first name of each file that has several.
    links: HashMap<(u32, u32, u64), Vec<u8>>,
    piece: Vec<u8>,
}

impl<W: Write> Packing<'_, W> {
    fn add(&mut self, found: &Found) -> Result<()> {
        match self.form {
            Form::Named(name) => {
                let name = match name {
                    // `docker cp` counts on this form of the root's own entry.
                    b"/" => [b"/", &*found.path].concat(),
                    name if found.path.is_empty() => name.to_vec(),
                    name => join(name, &found.path),
                };
                // A layer's own directory is nobody's entry, where nothing names it.
                if name.is_empty() { Ok(()) } else { self.add_as(found, name) }
            }
            Form::Layer(runtime) => self.add_change(found, runtime),
        }
    }

    fn add_change(&mut self, found: &Found, runtime: &Runtime) -> Result<()> {
        let (directory, name) = split(&found.path);
        // A container's file of such a name would be taken for a mark.
        let in_disguise = found.path.split(|&byte| byte == b'/').any(|part| part.starts_with(WHITEOUT));
        if found.path.is_empty() || in_disguise || runtime.made(self.place, found)? {
            return Ok(());
        }
        if found.is_whiteout() {
            return self.writer.entry(&mark(join(directory, &[WHITEOUT, name].concat())));
        }
        self.add_as(found, found.path.clone())?;
        if found.kind() == FileType::Directory && is_opaque(self.place, &found.path)? {
            self.writer.entry(&mark(join(&found.path, OPAQUE)))?;
        }
        Ok(())
    }

    fn add_as(&mut self, found: &Found, mut path: Vec<u8>) -> Result<()> {
        let stat = &found.stat;
        let kind = match found.kind() {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(()),
        };
        if kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let mut entry = Entry {
            kind,
            path,
            link: Vec::new(),
            size: 0,
            mode: stat.stx_mode.into(),
            uid: stat.stx_uid.into(),
            gid: stat.stx_gid.into(),
            modified: (stat.stx_mtime.tv_sec, 0),
            xattrs: Vec::new(),
            extents: None,
        };
        if kind != Kind::Directory && stat.stx_nlink > 1 {
            match self.links.entry(found.inode()) {
                hash_map::Entry::Occupied(first) => {
                    entry.kind = Kind::HardLink;
                    entry.link.clone_from(first.get());
                    return self.writer.entry(&entry);
                }
                hash_map::Entry::Vacant(first) => drop(first.insert(entry.path.clone())),
            }
        }
        self.fill(found, entry)
    }

    /// Reads what is to be read of it, and writes it.
    fn fill(&mut self, found: &Found, mut entry: Entry) -> Result<()> {
        let wrong = |errno: Errno| Error::os(show(&found.path), errno.raw_os_error());
        match entry.kind {
            Kind::File if found.left_out => self.writer.entry(&entry),
            Kind::File => {
                let Some(file) = self.open(&found.path, OFlags::NONBLOCK).map_err(wrong)? else {
                    return Ok(());
                };
                let stat = walk::status(&file).map_err(wrong)?;
                // Somebody may have put a pipe in its place since it was looked at.
                if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
                    return Ok(());
                }
                entry.size = stat.stx_size;
                entry.xattrs = xattrs(&file).map_err(wrong)?;
                self.writer.entry(&entry)?;
                self.copy(&file, stat.stx_size).map_err(|error| error.within(show(&found.path)))?;
                self.writer.end(&entry)
            }
            Kind::Directory => {
                if let Some(file) = self.open(&found.path, OFlags::DIRECTORY).map_err(wrong)? {
                    entry.xattrs = xattrs(&file).map_err(wrong)?;
                }
                self.writer.entry(&entry)
            }
            Kind::Symlink => {
                let link = match self.place.at(&found.path, OFlags::PATH | OFlags::NOFOLLOW) {
                    Ok(link) => readlinkat(&link, c"", Vec::new()).map_err(wrong)?,
                    Err(Errno::NOENT) => return Ok(()),
                    Err(errno) => return Err(wrong(errno)),
                };
                entry.link = link.into_bytes();
                self.writer.entry(&entry)
            }
            _ => self.writer.entry(&entry),
        }
    }

    fn copy(&mut self, file: &OwnedFd, size: u64) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let length = match read(file, &mut self.piece) {
                Err(Errno::INTR) => continue,
                other => other.map_err(|errno| Error::os("", errno.raw_os_error()))?,
            };
            if length == 0 {
                break;
            }
            left = left.saturating_sub(length as u64);
            self.writer.content(self.piece.get(..length).unwrap_or_default())?;
        }
        Ok(())
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, Errno> {
        match self.place.at(path, OFlags::RDONLY | OFlags::NOFOLLOW | flags) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// An empty file whose name says it all; without a time of its own, so that the same change makes the same archive.
fn mark(path: Vec<u8>) -> Entry {
    Entry {
        kind: Kind::File,
        path,
        link: Vec::new(),
        size: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        modified: (0, 0),
        xattrs: Vec::new(),
        extents: None,
    }
}

/// Whether a directory hides what the layers beneath have in it.
///
/// # Errors
/// The kernel's.
pub fn is_opaque(place: &Place, path: &[u8]) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let wrong = |errno: Errno| Error::os(show(path), errno.raw_os_error());
    let directory = match place.at(path, flags) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        other => other.map_err(wrong)?,
    };
    let mut value = [0; 8];
    match fgetxattr(&directory, OPAQUE_XATTR, &mut value) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(wrong(errno)),
    }
}

/// The extended attributes that travel, in the order of their names.
pub fn xattrs(file: &OwnedFd) -> Result<Vec<Xattr>, Errno> {
    let mut list = vec![0; XATTRS];
    let length = match flistxattr(file, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = list.get(..length).unwrap_or_default().split(|&byte| byte == 0);
    let mut xattrs = Vec::new();
    for name in names.filter(|name| is_xattr_allowed(name)) {
        let mut value = vec![0; XATTRS];
        match fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                xattrs.push(Xattr { name: name.to_vec(), value });
            }
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}
