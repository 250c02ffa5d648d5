//! Tar archives, as untrusted streams: the reader, and the writer of archives that every implementation reads alike.
//!
//! The layout of a header is the `tar` crate's; the order of headers is read here. That crate's own iterator keeps names
//! and extended headers of any length in memory, splits PAX records at newlines that belong to a value, and knows no
//! sparse files in PAX form. Where implementations disagree about an archive, Go's is followed: it is the one with which
//! everybody else unpacks images, and two readers that see different files in one archive are an attack.

mod header;
mod pax;
mod read;
mod sparse;
mod write;

pub use read::Reader;
pub use sparse::Extent;
pub use write::Writer;

/// The size of a block, of which archives consist.
pub const BLOCK: u64 = 512;

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name, as the archive has it; may be anything but contain NUL.
    pub path: Vec<u8>,
    /// Where a link leads, as the archive has it.
    pub link: Vec<u8>,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// Seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
    /// The pieces of a sparse file that are in the archive.
    pub extents: Option<Vec<Extent>>,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// With its namespace: `user.x`.
    pub name: Vec<u8>,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file that came before.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character or block device.
    Device,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Something else, by its type byte.
    Other(u8),
}
