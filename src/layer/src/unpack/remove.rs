//! Removing what a later entry replaces.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, unlinkat};
use rustix::io::Errno;

use crate::place::subdirectory;

/// Directories that are open at once; what is nested deeper is not removed.
const DEPTH: usize = 512;

/// Removes a file, or a directory with all beneath it. Never through a link: each level is opened by its name alone,
/// beneath the one above.
pub fn tree(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        Err(Errno::NOENT) => return Ok(()),
        other => return other,
    }
    let mut open: Vec<(Vec<u8>, OwnedFd)> = vec![(name.to_vec(), subdirectory(&parent, name)?)];
    while let Some((_, directory)) = open.last() {
        match empty(directory)? {
            Some(next) if open.len() < DEPTH => {
                let below = subdirectory(directory, &next)?;
                open.push((next, below));
            }
            Some(_) => return Err(Errno::NAMETOOLONG),
            None => {
                let Some((name, _)) = open.pop() else { break };
                match open.last() {
                    Some((_, above)) => unlinkat(above, name, AtFlags::REMOVEDIR)?,
                    None => unlinkat(&parent, name, AtFlags::REMOVEDIR)?,
                }
            }
        }
    }
    Ok(())
}

/// Removes all files of a directory, and gives the first directory in it.
fn empty(directory: &OwnedFd) -> Result<Option<Vec<u8>>, Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => return Ok(Some(name.to_vec())),
            Err(Errno::NOENT) => {}
            other => other?,
        }
    }
    Ok(None)
}
