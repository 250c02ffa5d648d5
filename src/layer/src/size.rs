//! How much a tree holds.

use std::collections::HashSet;

use casemate_spec::Result;
use rustix::fs::FileType;

use crate::place::Place;
use crate::walk::{self, Mounts};

/// Bytes of all files; one with several names counts once, and what is mounted in the tree does not.
///
/// # Errors
/// Something cannot be read.
pub fn size(place: &Place) -> Result<u64> {
    let (mut bytes, mut seen) = (0_u64, HashSet::new());
    walk::walk(place, Mounts::LeaveOut, |found| {
        let counts = found.kind() != FileType::Directory && !found.left_out;
        if counts && (found.stat.stx_nlink == 1 || seen.insert(found.inode())) {
            bytes = bytes.saturating_add(found.stat.stx_size);
        }
        Ok(())
    })?;
    Ok(bytes)
}
