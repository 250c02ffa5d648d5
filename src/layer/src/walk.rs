//! Walking a tree in the order of its names, without a descriptor for every level: trees of containers may be deep.

use std::os::fd::OwnedFd;

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Statx, StatxAttributes, StatxFlags, fstatfs, statx};
use rustix::io::Errno;

use crate::place::{Place, join, show};

/// What is done about other filesystems that are mounted in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// They are empty directories and files.
    LeaveOut,
    /// They are walked, those apart that the kernel makes up.
    Enter,
}

/// One thing in the tree.
pub struct Found {
    /// Relative to where the walk began; empty for that itself.
    pub path: Vec<u8>,
    /// Its attributes.
    pub stat: Statx,
    /// What is mounted here is left out.
    pub left_out: bool,
}

impl Found {
    /// What kind of thing.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }

    /// Its identity among all files.
    pub fn inode(&self) -> (u32, u32, u64) {
        (self.stat.stx_dev_major, self.stat.stx_dev_minor, self.stat.stx_ino)
    }

    /// overlayfs's mark that there is nothing here.
    pub fn is_whiteout(&self) -> bool {
        self.kind() == FileType::CharacterDevice
            && (self.stat.stx_rdev_major, self.stat.stx_rdev_minor) == (0, 0)
    }
}

/// Visits the whole tree beneath a place, a directory before what is in it, names in the order of their bytes. What
/// vanishes meanwhile is passed over.
///
/// # Errors
/// The visit's, and the kernel's.
pub fn walk(place: &Place, mounts: Mounts, mut visit: impl FnMut(&Found) -> Result<()>) -> Result<()> {
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let wrong = |errno: Errno| Error::os(show(&path), errno.raw_os_error());
        let Some(file) = present(place.at(&path, OFlags::PATH | OFlags::NOFOLLOW)).map_err(wrong)? else {
            continue;
        };
        let stat = status(&file).map_err(wrong)?;
        let left_out = is_left_out(&file, &stat, &path, mounts).map_err(wrong)?;
        let found = Found { path: path.clone(), stat, left_out };
        visit(&found)?;
        if found.kind() == FileType::Directory && !left_out {
            let mut names = names(place, &path).map_err(wrong)?;
            names.sort_unstable();
            pending.extend(names.iter().rev().map(|name| join(&path, name)));
        }
    }
    Ok(())
}

/// The attributes of what is open.
///
/// # Errors
/// The kernel's.
pub fn status(file: &OwnedFd) -> Result<Statx, Errno> {
    statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// The names in a directory; none when it is not there.
///
/// # Errors
/// The kernel's.
pub fn names(place: &Place, path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let Some(directory) = present(place.at(path, flags))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in Dir::new(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn present(opened: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Errno> {
    match opened {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some),
    }
}

fn is_left_out(file: &OwnedFd, stat: &Statx, path: &[u8], mounts: Mounts) -> Result<bool, Errno> {
    let is_mount = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    match mounts {
        // Where the walk begins may well be a mount: it is what was asked for.
        Mounts::LeaveOut => Ok(is_mount && !path.is_empty()),
        Mounts::Enter => Ok(is_mount && made_up().contains(&fstatfs(file)?.f_type)),
    }
}

/// Filesystems that hold no files but the kernel's view of itself: proc, sysfs, cgroup, cgroup2, devpts, mqueue,
/// debugfs, tracefs, securityfs, bpf (linux/magic.h, ipc/mqueue.c).
fn made_up() -> [rustix::fs::FsWord; 10] {
    [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
    ]
}
