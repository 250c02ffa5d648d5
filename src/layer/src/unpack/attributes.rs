//! Owner, mode, extended attributes and time, in the order in which the kernel does not take one back for another.

use std::os::fd::AsFd;

use casemate_spec::{Error, Result};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, utimensat,
};
use rustix::io::Errno;

use super::{Rules, failed};
use crate::archive::{Entry, Kind, Xattr};
use crate::place::show;

/// To look into a directory and to change its attributes.
pub const READ_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Of a file or directory that is open.
pub fn set(file: impl AsFd, entry: &Entry, rules: Rules) -> Result<()> {
    let (uid, gid) = owner(entry, rules)?;
    let file = file.as_fd();
    fchown(file, Some(uid), Some(gid)).map_err(|errno| failed("owner", errno))?;
    // A change of owner takes the set-id bits away.
    fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(|errno| failed("mode", errno))?;
    for Xattr { name, value } in &entry.xattrs {
        set_xattr(file, name, value, rules)?;
    }
    if entry.kind == Kind::Directory {
        return Ok(());
    }
    set_time(file, time(entry)).map_err(|errno| failed("time", errno))
}

/// Of a link or pipe, which cannot be opened for it.
pub fn set_at(directory: impl AsFd, name: &[u8], entry: &Entry, rules: Rules) -> Result<()> {
    let (uid, gid) = owner(entry, rules)?;
    let directory = directory.as_fd();
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| failed("owner", errno))?;
    utimensat(directory, name, &stamps(time(entry)), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| failed("time", errno))
}

/// The time of the last change of content.
pub fn set_time(file: impl AsFd, time: Timespec) -> Result<(), Errno> {
    futimens(file, &stamps(time))
}

/// When the entry was modified.
pub fn time(entry: &Entry) -> Timespec {
    let (tv_sec, nanoseconds) = entry.modified;
    Timespec { tv_sec, tv_nsec: nanoseconds.into() }
}

/// Who may be named: `user.*` but overlayfs's own, and file capabilities, which the kernel counts in the user
/// namespace of whoever sets them.
pub fn is_xattr_allowed(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8], rules: Rules) -> Result<()> {
    if !is_xattr_allowed(name) {
        return Ok(());
    }
    match fsetxattr(file, name, value, XattrFlags::empty()) {
        // Not every filesystem has them, as little as Docker's do.
        Err(Errno::OPNOTSUPP) => Ok(()),
        // A container without the right to give file capabilities gets the file without.
        Err(Errno::PERM) if !rules.layer => Ok(()),
        other => other.map_err(|errno| failed(&show(name), errno)),
    }
}

fn stamps(time: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time }
}

fn owner(entry: &Entry, rules: Rules) -> Result<(Uid, Gid)> {
    let (uid, gid) = rules.owner.map_or((entry.uid, entry.gid), |(uid, gid)| (uid.into(), gid.into()));
    match (u32::try_from(uid), u32::try_from(gid)) {
        // The highest number means: as it was.
        (Ok(uid), Ok(gid)) if uid != u32::MAX && gid != u32::MAX => {
            Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
        }
        _ => Err(Error::new("owner", format!("{uid}:{gid} are no ids"))),
    }
}
