//! Why a root filesystem cannot be shown through the ids of a container's own.

use std::os::fd::AsFd;
use std::path::Path;

use casemate_core::plan::{IdMap, Maps};
use casemate_core::sys::mount::idmap;
use casemate_core::userns;
use rustix::fs::{CWD, statfs};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::Range;
use crate::plan;

/// Filesystems that have long taken id-maps (ext4 and xfs since Linux 5.12, btrfs 5.15), linux/magic.h: the usual case
/// costs one system call. Any other is tried.
const KNOWN: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// What stands against id-mapping the root filesystem at `root`; nothing where it can be done, or is not there at all:
/// that is for whoever opens it to say.
pub fn obstacle(root: &Path) -> Option<String> {
    let kind = u64::try_from(statfs(root).ok()?.f_type).ok()?;
    if KNOWN.contains(&kind) {
        return None;
    }
    match plan::overlay_at(root) {
        Ok(true) => None,
        Ok(false) => tried(root).err().map(|errno| match errno {
            Errno::INVAL => "the root's filesystem takes no id-map on this kernel".to_owned(),
            other => format!("the root's filesystem cannot be id-mapped ({other})"),
        }),
        Err(error) => Some(error.to_string()),
    }
}

fn tried(root: &Path) -> Result<(), Errno> {
    let any = vec![IdMap { inside: 0, outside: Range::SIZE, count: Range::SIZE }];
    // A caller who cannot make one hears of it at the birth.
    let Ok(space) = userns::with_maps(&Maps { uids: any.clone(), gids: any }) else { return Ok(()) };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, root, flags)?;
    idmap(tree.as_fd(), space.as_fd(), true)
}
