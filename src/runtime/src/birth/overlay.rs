//! An overlay assembled anew, its layers id-mapped: a ready-made overlay mount takes no id-map itself.
//!
//! The upper layer is id-mapped too, so that what is written keeps the ids that the container knows, on the disk as in
//! the layers below: an engine that copies, compares or commits the container's files finds what it expects. The kernel
//! makes the work directory as whoever mounts, and that must be somebody through the map: one id above the container's
//! stands for the mounter.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use casemate_core::birth::Failure;
use casemate_core::plan::{IdMap, Maps};
use casemate_core::sys::mount::idmap;
use casemate_core::userns;
use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_reconfigure, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
    open_tree,
};

use crate::ids::Range;
use crate::log;
use crate::plan::{Layers, Upper, is_overlay};
use crate::store::Record;

/// Mounts the overlay, attached nowhere yet; `place` is where it is mounted on the host, and `space` has the id-maps of
/// its layers, the mounter's among them; none where they keep their ids.
///
/// # Errors
/// A layer is not there, its filesystem takes no id-map, or overlayfs takes no id-mapped layers (before Linux 5.19).
pub(super) fn assemble(layers: &Layers, place: &CStr, space: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    owned(layers)?;
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open overlay"))?;
    for (key, value) in &layers.options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key, value),
            None => fsconfig_set_flag(context.as_fd(), key),
        }
        .map_err(|errno| {
            Error::os(format!("overlay option {}", key.to_string_lossy()), errno.raw_os_error())
        })?;
    }
    // A detached mount ends with its descriptor, and the kernel takes the layers in all at once, at the end.
    let mut open = Vec::new();
    for lower in &layers.lowers {
        let layer = mapped(lower, space)?;
        match fsconfig_set_fd(context.as_fd(), c"lowerdir+", &layer) {
            // The key, or giving it a descriptor, is not known before Linux 6.13.
            Err(Errno::INVAL | Errno::OPNOTSUPP) if open.is_empty() => {
                return super::overlay_by_path::assemble(layers, place, space);
            }
            other => other.map_err(failed("add a layer"))?,
        }
        open.push(layer);
    }
    if layers.is_alone() {
        let empty = empty().map_err(failed("make an empty layer"))?;
        fsconfig_set_fd(context.as_fd(), c"lowerdir+", &empty).map_err(failed("add a layer"))?;
        open.push(empty);
    }
    if let Some(upper) = &layers.upper {
        make_work(upper, layers.owner)?;
        let base = mapped(&upper.base, space)?;
        for (key, path) in [(c"upperdir", &upper.upper), (c"workdir", &upper.work)] {
            let directory = beneath(base.as_fd(), path).map_err(failed("open the upper layer"))?;
            fsconfig_set_fd(context.as_fd(), key, &directory).map_err(failed("add the upper layer"))?;
        }
        open.push(base);
    }
    fsconfig_create(context.as_fd()).map_err(failed("assemble the root filesystem's layers"))?;
    drop(open);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(failed("mount the root filesystem's layers"))
}

/// Beneath a layer that is alone, and so of no importance but that it is there.
fn empty() -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::os(what, errno.raw_os_error())
}

pub(super) fn namespace(maps: &Maps) -> Result<OwnedFd> {
    userns::with_maps(maps).map_err(|failure| match failure {
        Failure::Host { what, errno } => Error::os(what, errno.raw_os_error()),
        other => Error::new("make a user namespace for id-maps", format!("{other:?}")),
    })
}

pub(super) fn mapped(path: &CString, space: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let failed = |doing: &str| {
        let what = format!("{doing} layer {}", path.to_string_lossy());
        move |errno: Errno| Error::os(what, errno.raw_os_error())
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).map_err(failed("open"))?;
    if let Some(space) = space {
        idmap(tree.as_fd(), space, false).map_err(failed("id-map"))?;
    }
    Ok(tree)
}

fn beneath(base: BorrowedFd<'_>, path: &CString) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(base, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Whoever prepared the layers shifted their owners; a directory that is the host's own would be nobody's inside.
fn owned(layers: &Layers) -> Result<()> {
    let Some(first) = layers.owner else { return Ok(()) };
    let upper =
        layers.upper.as_ref().map(|upper| [upper.base.to_bytes(), b"/", upper.upper.to_bytes()].concat());
    let paths = layers.lowers.iter().map(|lower| lower.to_bytes()).chain(upper.as_deref());
    for path in paths.map(|path| Path::new(OsStr::from_bytes(path))) {
        let what = || format!("layer {}", path.display());
        let stat = rustix::fs::lstat(path).map_err(|errno| Error::os(what(), errno.raw_os_error()))?;
        if !is_theirs(first, stat.st_uid) || !is_theirs(first, stat.st_gid) {
            let why = format!("it belongs to {}:{}, not to the store's ids", stat.st_uid, stat.st_gid);
            return Err(Error::new(what(), why).hint(format!("the store's ids begin at {first}")));
        }
    }
    Ok(())
}

/// A container's ids, and the mounter's one above them.
fn is_theirs(first: u32, id: u32) -> bool {
    id.checked_sub(first).is_some_and(|id| id <= Range::SIZE)
}

/// Makes our own work directory, where it is not there, and has it be `owner`'s where that is not as it is made; who
/// prepared the upper layer removes it with its own.
pub(super) fn make_work(upper: &Upper, owner: Option<u32>) -> Result<()> {
    let failed = |errno: Errno| Error::os("make a work directory", errno.raw_os_error());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = rustix::fs::open(&upper.base, flags, Mode::empty()).map_err(failed)?;
    if let Some(bytes) = upper.quota {
        super::quota::limit(base.as_fd(), upper, bytes)?;
    }
    let work = Path::new(OsStr::from_bytes(upper.work.to_bytes()));
    let (Some(parent), Some(name)) = (work.parent(), work.file_name()) else {
        return Err(failed(Errno::INVAL));
    };
    let parent = match parent.as_os_str().as_bytes() {
        b"" => base,
        path => beneath(base.as_fd(), &c_string(path)?).map_err(failed)?,
    };
    match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let Some(owner) = owner else { return Ok(()) };
    let made = beneath(parent.as_fd(), &c_string(name.as_bytes())?).map_err(failed)?;
    let stat = rustix::fs::fstat(&made).map_err(failed)?;
    if is_theirs(owner, stat.st_uid) && is_theirs(owner, stat.st_gid) {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
    rustix::fs::chownat(&made, c"", Some(user), Some(group), AtFlags::EMPTY_PATH).map_err(failed)
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_nul| Error::new("the upper layer", "a NUL byte in its name"))
}

/// These maps, and the host's root as the id after the last.
pub(super) fn with_mounter(maps: &Maps) -> Maps {
    let add = |maps: &[IdMap]| {
        let next = maps.iter().map(|map| map.inside.saturating_add(map.count)).max().unwrap_or(0);
        maps.iter().copied().chain([IdMap { inside: next, outside: 0, count: 1 }]).collect()
    };
    Maps { uids: add(&maps.uids), gids: add(&maps.gids) }
}

/// Has the engine's own mount of the same layers forget what it has looked up: what the container writes to its upper
/// layer is not told to that mount, and copying, comparing and committing go through it.
///
/// Not more than a courtesy to the engine, and so no error: the container itself sees its files in any case.
pub fn refresh(record: &Record) {
    let ours = record.store.as_ref().is_some_and(|store| store.root);
    if record.ids.is_none() || ours || !is_overlay(&record.rootfs).unwrap_or(false) {
        return;
    }
    // A remount that changes nothing shrinks the cache (`reconfigure_super` of the kernel).
    let flags =
        FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_NO_AUTOMOUNT | FsPickFlags::FSPICK_SYMLINK_NOFOLLOW;
    let done = fspick(CWD, &record.rootfs, flags).and_then(fsconfig_reconfigure);
    if let Err(errno) = done {
        log::debug(format_args!("refresh {}: {errno}", record.rootfs.display()));
    }
}
