//! What an archive may ask of the host before it is refused. An image that is meant to be run stays far below each.

/// Entries of one archive.
pub const ENTRIES: u64 = 2_000_000;
/// Bytes of one uncompressed archive, and bytes of all its files together.
pub const CONTENT: u64 = 256 << 30;
/// Bytes of one name, as the kernel has it (`PATH_MAX`, less the NUL).
pub const PATH: usize = 4095;
/// Directories above one entry.
pub const DEPTH: usize = 256;
/// Bytes of one extended header: a PAX header, a long name of GNU tar, a map of a sparse file.
pub const EXTENSION: u64 = 1 << 20;
/// Pieces of one sparse file.
pub const EXTENTS: usize = 65_536;
/// Bytes of all the names that are remembered until the end: those of directories.
pub const NAMES: usize = 256 << 20;
/// An archive may be this many times as long as its compressed form, ...
pub const RATIO: u64 = 500;
/// ... once it is longer than this: a disk image of zeros is no attack.
pub const RATIO_FROM: u64 = 1 << 30;
/// Bytes that a decompressor may hold as its window.
pub const WINDOW: u32 = 128 << 20;
