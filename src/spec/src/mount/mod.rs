//! Mount options: the words of the OCI specification and of fstab, as plain data for the mount system calls.
//!
//! Nothing here touches the kernel. See `mount(8)`, `mount_setattr(2)`, `fsconfig(2)` and the specification's
//! "Linux mount options" table.

mod options;
mod table;

pub use options::{Bind, Idmap, MountOptions, Propagation, PropagationKind};
pub use table::names as option_names;

/// `MOUNT_ATTR_*` of `linux/mount.h`, for `mount_setattr(2)` and `fsmount(2)` (Linux 5.12 and 5.2).
pub mod attr {
    /// No writes through this mount.
    pub const RDONLY: u64 = 0x0000_0001;
    /// Set-user-ID bits and file capabilities do nothing.
    pub const NOSUID: u64 = 0x0000_0002;
    /// Device nodes do nothing.
    pub const NODEV: u64 = 0x0000_0004;
    /// No program can be executed.
    pub const NOEXEC: u64 = 0x0000_0008;
    /// The field (not a flag) of access time modes; must be cleared whole whenever one is set.
    pub const ATIME_FIELD: u64 = 0x0000_0070;
    /// Access times never change: a value of [`ATIME_FIELD`].
    pub const NOATIME: u64 = 0x0000_0010;
    /// Access times always change: a value of [`ATIME_FIELD`]. The value 0 is relatime.
    pub const STRICTATIME: u64 = 0x0000_0020;
    /// Access times of directories never change.
    pub const NODIRATIME: u64 = 0x0000_0080;
    /// Ids are mapped through a user namespace.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed (Linux 5.14).
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// `MS_*` of `linux/mount.h` that concern the superblock, for `mount(2)`; [`MountOptions::fs_keys`] gives
/// the same as `fsconfig(2)` keys.
pub mod superblock {
    /// Read-only.
    pub const RDONLY: u64 = 1;
    /// Writes are synchronous.
    pub const SYNCHRONOUS: u64 = 1 << 4;
    /// Mandatory locks (no effect since Linux 5.15).
    pub const MANDLOCK: u64 = 1 << 6;
    /// Directory changes are synchronous.
    pub const DIRSYNC: u64 = 1 << 7;
    /// Fewer kernel messages.
    pub const SILENT: u64 = 1 << 15;
    /// POSIX access control lists.
    pub const POSIXACL: u64 = 1 << 16;
    /// Inode versions.
    pub const I_VERSION: u64 = 1 << 23;
    /// Timestamps are written lazily.
    pub const LAZYTIME: u64 = 1 << 25;
}

#[cfg(test)]
mod tests;
