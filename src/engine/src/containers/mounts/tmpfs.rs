//! Directories in memory.

use super::destination;
use crate::containers::{MountPoint, PointKind};
use crate::{Failure, Result};

/// What holds unless the opposite is said.
const USUAL: [(&str, &str); 3] = [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")];
/// Other words without a value.
const FLAGS: [&str; 14] = [
    "ro",
    "rw",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "defaults",
];
/// Words with a value.
const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// One of `Tmpfs`.
///
/// # Errors
/// In Docker's words.
pub fn point(path: &str, text: &str) -> Result<MountPoint> {
    Ok(MountPoint {
        kind: PointKind::Tmpfs { options: options(text)? },
        destination: destination(path)?,
        read_only: false,
        mode: text.to_owned(),
        listed: false,
    })
}

/// The options, Docker's own put before those that were given.
///
/// # Errors
/// One is none of a tmpfs's.
pub fn options(text: &str) -> Result<Vec<String>> {
    let given: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    for word in &given {
        let known = match word.split_once('=') {
            Some((name, value)) => VALUES.contains(&name) && !value.is_empty(),
            None => FLAGS.contains(word) || USUAL.iter().any(|(safe, open)| word == safe || word == open),
        };
        if !known || word.chars().any(char::is_control) {
            return Err(Failure::invalid(format!("invalid tmpfs option [{word:?}]")));
        }
    }
    let usual = USUAL.iter().filter(|(safe, open)| !given.contains(safe) && !given.contains(open));
    Ok(usual.map(|(safe, _)| *safe).chain(given.iter().copied()).map(str::to_owned).collect())
}
