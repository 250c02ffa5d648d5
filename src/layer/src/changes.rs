//! What a container changed: its own layer held against the layers beneath.

use std::collections::{BTreeMap, BTreeSet};

use casemate_spec::wire::{Change, ChangeKind};
use casemate_spec::{Error, Result};
use rustix::fs::{FileType, OFlags, Statx};
use rustix::io::Errno;

use crate::pack::is_opaque;
use crate::place::{Place, clamp, join, show, split};
use crate::walk::{self, Found, Mounts};

/// Mount points, relative: what stands there was made by the runtime, to mount over.
#[derive(Debug, Default)]
pub struct Runtime(BTreeSet<Vec<u8>>);

impl Runtime {
    /// Of absolute paths.
    pub fn new(mounts: &[String]) -> Self {
        Self(mounts.iter().map(|path| clamp(path.as_bytes())).filter(|path| !path.is_empty()).collect())
    }

    /// Whether a thing was made by the runtime alone: nothing is in it, or nothing but mount points.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn made(&self, own: &Place, found: &Found) -> Result<bool> {
        match found.kind() {
            FileType::RegularFile => Ok(self.0.contains(&found.path) && found.stat.stx_size == 0),
            FileType::Directory => self.made_directory(own, &found.path),
            _ => Ok(false),
        }
    }

    fn made_directory(&self, own: &Place, path: &[u8]) -> Result<bool> {
        let names = || walk::names(own, path).map_err(|errno| Error::os(show(path), errno.raw_os_error()));
        if self.0.contains(path) && names()?.is_empty() {
            return Ok(true);
        }
        // A directory on the way to a mount point may have been made with it.
        let way = join(path, b"");
        if !self.0.iter().any(|mount| mount.starts_with(&way)) {
            return Ok(false);
        }
        for name in names()? {
            let below = join(path, &name);
            let Some(stat) = status(own, &below)? else { continue };
            if !self.made(own, &Found { path: below, stat, left_out: false })? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Lists the changes, by path. As with `docker diff`, the directories above a change are themselves modified.
///
/// # Errors
/// Something cannot be read.
pub fn changes(own: &Place, beneath: &Place, runtime: &Runtime) -> Result<Vec<Change>> {
    let mut kinds = BTreeMap::new();
    // Directories whose counterparts beneath do not count, and all in them.
    let mut hidden: BTreeSet<Vec<u8>> = BTreeSet::new();
    walk::walk(own, Mounts::Enter, |found| {
        let (above, _) = split(&found.path);
        if found.path.is_empty() {
            return Ok(());
        }
        let is_hidden = hidden.contains(above);
        let before = if is_hidden { None } else { status(beneath, &found.path)? };
        let is_directory = found.kind() == FileType::Directory;
        let was_directory = before.as_ref().is_some_and(is_dir);
        if is_directory && (!was_directory || is_opaque(own, &found.path)?) {
            hidden.insert(found.path.clone());
            if was_directory {
                removed(own, beneath, &found.path, &mut kinds)?;
            }
        }
        if !runtime.made(own, found)?
            && let Some(kind) = compare(found, before.as_ref())
        {
            kinds.insert(found.path.clone(), kind);
        }
        Ok(())
    })?;
    for path in kinds.keys().cloned().collect::<Vec<_>>() {
        let mut above = split(&path).0;
        while !above.is_empty() {
            kinds.entry(above.to_vec()).or_insert(ChangeKind::Modified);
            above = split(above).0;
        }
    }
    Ok(kinds.into_iter().map(|(path, kind)| change(&path, kind)).collect())
}

/// What a directory that hides the one beneath has not got of it.
fn removed(
    own: &Place,
    beneath: &Place,
    path: &[u8],
    kinds: &mut BTreeMap<Vec<u8>, ChangeKind>,
) -> Result<()> {
    let wrong = |errno: Errno| Error::os(show(path), errno.raw_os_error());
    kinds.insert(path.to_vec(), ChangeKind::Modified);
    for name in walk::names(beneath, path).map_err(wrong)? {
        let name = join(path, &name);
        if status(own, &name)?.is_none() {
            kinds.insert(name, ChangeKind::Deleted);
        }
    }
    Ok(())
}

/// What a thing in the own layer means. A file is there because it was written to; a directory may be there for the
/// sake of what is in it alone.
fn compare(found: &Found, before: Option<&Statx>) -> Option<ChangeKind> {
    match (found.is_whiteout(), before) {
        (true, None) => None,
        (true, Some(_)) => Some(ChangeKind::Deleted),
        (false, None) => Some(ChangeKind::Added),
        (false, Some(before)) => {
            let now = &found.stat;
            let same = found.kind() == FileType::Directory
                && (now.stx_mode, now.stx_uid, now.stx_gid)
                    == (before.stx_mode, before.stx_uid, before.stx_gid);
            (!same).then_some(ChangeKind::Modified)
        }
    }
}

fn is_dir(stat: &Statx) -> bool {
    FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory
}

/// What is at a path; nothing where it, or a directory above, is missing or no directory.
fn status(place: &Place, path: &[u8]) -> Result<Option<Statx>> {
    let opened = match place.at(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        other => other,
    };
    opened
        .and_then(|file| walk::status(&file))
        .map(Some)
        .map_err(|errno| Error::os(show(path), errno.raw_os_error()))
}

fn change(path: &[u8], kind: ChangeKind) -> Change {
    Change { path: format!("/{}", String::from_utf8_lossy(path)), kind }
}
