//! Mounts: made detached, changed, and only then attached, to a descriptor.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::resolve::{directory, file, kind, look, look_plain};
use super::{Life, Tree};
use crate::plan::{At, From, Mount};
use crate::sys::mount::{Change, change};

/// `MS_SLAVE`, `MOUNT_ATTR_*`: linux/mount.h.
const MS_SLAVE: u64 = 1 << 19;
const ATTR_RDONLY: u64 = 1;

/// Cuts the new mount namespace loose from the host's, and attaches the root tree over its own place.
pub(super) fn attach_root(life: &Life<'_>, path: &CStr) -> Result<(), Errno> {
    let everything = Change { propagation: MS_SLAVE, recursive: true, ..Change::default() };
    let host = super::pivoted::open_root()?;
    change(host.as_fd(), everything)?;
    let tree = life.tree(0).ok_or(Errno::NOENT)?;
    // Neither may a shared mount propagate out, nor may pivot_root(2) meet one.
    change(tree.fd.as_fd(), everything)?;
    // The place only matters to hooks, which look for the root by path; where this process may not walk to it,
    // the namespace's root serves as well.
    let place =
        match rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::ACCESS) => host,
            other => other?,
        };
    attach(tree.fd.as_fd(), place.as_fd())?;
    // The tree's own descriptor is the root from now on: nothing is looked up by the host's path again.
    let root = rustix::io::fcntl_dupfd_cloexec(&tree.fd, 0)?;
    life.root.set(root).map_err(|_set_before| Errno::EXIST)
}

/// Carries out one mount step.
pub(super) fn mount(life: &Life<'_>, root: BorrowedFd<'_>, step: &Mount) -> Result<(), Errno> {
    match &step.from {
        From::Existing => remount(root, step),
        From::Tree(index) => {
            let tree = life.tree(*index).ok_or(Errno::NOENT)?;
            match life.plan.sources.get(*index).and_then(|source| source.instance.as_ref()) {
                Some(kind) => place(root, tree.fd.as_fd(), step, is_kernel_view(kind)),
                None => bind(root, tree, step),
            }
        }
        From::New { kind, options, fallback } => match instance(kind, options.iter().map(pair)) {
            Ok(fresh) => place(root, fresh.as_fd(), step, is_kernel_view(kind)),
            Err(Errno::PERM | Errno::BUSY | Errno::INVAL) if fallback.is_some() => {
                let tree = fallback.and_then(|index| life.tree(index)).ok_or(Errno::PERM)?;
                bind(root, tree, step)
            }
            Err(errno) => Err(errno),
        },
    }
}

fn pair((key, value): &(CString, Option<CString>)) -> (&CStr, Option<&CStr>) {
    (key, value.as_deref())
}

/// A new filesystem instance, detached.
pub(super) fn instance<'o>(
    kind: &CStr,
    options: impl Iterator<Item = (&'o CStr, Option<&'o CStr>)>,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), key)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// procfs and sysfs are masked and made read-only by path afterwards: the path must not be somebody's symbolic link.
fn is_kernel_view(kind: &CStr) -> bool {
    matches!(kind.to_bytes(), b"proc" | b"sysfs")
}

fn bind(root: BorrowedFd<'_>, tree: &Tree, step: &Mount) -> Result<(), Errno> {
    let target = if tree.directory { directory(root, &step.at)? } else { file(root, &step.at)? };
    not_over_proc(target.as_fd(), &step.at)?;
    for one in &step.changes {
        change(tree.fd.as_fd(), *one)?;
    }
    attach(tree.fd.as_fd(), target.as_fd())
}

/// The plan says by path what may lie over procfs; a symbolic link of the image's must not add to that.
fn not_over_proc(target: BorrowedFd<'_>, at: &At) -> Result<(), Errno> {
    let path = at.path().to_bytes();
    let named = path == b"proc" || path.starts_with(b"proc/");
    if named || !crate::procfs::is_procfs(target)? { Ok(()) } else { Err(Errno::XDEV) }
}

fn place(root: BorrowedFd<'_>, fresh: BorrowedFd<'_>, step: &Mount, plain: bool) -> Result<(), Errno> {
    let covered = covered_mode(root, step);
    let target = if plain {
        drop(directory(root, &step.at)?);
        look_plain(root, step.at.path(), OFlags::PATH | OFlags::DIRECTORY)?
    } else {
        let target = directory(root, &step.at)?;
        not_over_proc(target.as_fd(), &step.at)?;
        target
    };
    if step.copy_up {
        super::house::copy_up(target.as_fd(), fresh)?;
    }
    if let Some(mode) = covered {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::fchmod(rustix::fs::openat(fresh, c".", flags, Mode::empty())?, mode)?;
    }
    for one in &step.changes {
        change(fresh, *one)?;
    }
    attach(fresh, target.as_fd())
}

/// A tmpfs that was given no mode has that of the directory it covers; engines rely on it for `/tmp`.
fn covered_mode(root: BorrowedFd<'_>, step: &Mount) -> Option<Mode> {
    let From::New { kind, options, .. } = &step.from else { return None };
    if kind.as_c_str() != c"tmpfs" || options.iter().any(|(key, _)| key.as_c_str() == c"mode") {
        return None;
    }
    let covered = look(root, step.at.path(), OFlags::PATH).ok()?;
    let stat = rustix::fs::statat(covered, c"", rustix::fs::AtFlags::EMPTY_PATH).ok()?;
    Some(Mode::from_raw_mode(stat.st_mode))
}

fn remount(root: BorrowedFd<'_>, step: &Mount) -> Result<(), Errno> {
    let target = look(root, step.at.path(), OFlags::PATH)?;
    for one in &step.changes {
        change(target.as_fd(), *one)?;
    }
    Ok(())
}

/// Attaches a detached mount over what `target` refers to.
pub(super) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// A detached copy of what `fd` refers to, with the mounts beneath when `recursive`.
pub(super) fn clone_of(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, c"", flags)
}

/// Makes what is at `at` read-only by a mount of itself; what is not there needs no protection.
pub(super) fn read_only(root: BorrowedFd<'_>, at: &At) -> Result<(), Errno> {
    let target = match look(root, at.path(), OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let itself = clone_of(target.as_fd(), true)?;
    change(itself.as_fd(), Change { set: ATTR_RDONLY, ..Change::default() })?;
    attach(itself.as_fd(), target.as_fd())
}

/// Hides masked paths.
pub(super) struct Masks {
    null: OwnedFd,
    /// Made with the first masked directory, and shared by all.
    empty: Option<OwnedFd>,
}

impl Masks {
    /// Opens the host's null device, proven to be it: what hides a file must not be a file of somebody's choice.
    pub(super) fn open() -> Result<Self, Errno> {
        let null = rustix::fs::openat(
            CWD,
            c"/dev/null",
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if !super::resolve::is_character(null.as_fd(), 1, 3)? {
            return Err(Errno::NODEV);
        }
        Ok(Self { null, empty: None })
    }

    /// Hides what is at `at`; what is not there needs no hiding.
    pub(super) fn mask(&mut self, root: BorrowedFd<'_>, at: &At) -> Result<(), Errno> {
        let target = match look(root, at.path(), OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        if kind(target.as_fd())? != rustix::fs::FileType::Directory {
            return attach(clone_of(self.null.as_fd(), false)?.as_fd(), target.as_fd());
        }
        match &self.empty {
            Some(attached) => attach(clone_of(attached.as_fd(), false)?.as_fd(), target.as_fd()),
            None => {
                let limits = [(c"nr_blocks", Some(c"1")), (c"nr_inodes", Some(c"1"))];
                let empty = instance(c"tmpfs", limits.into_iter())?;
                change(empty.as_fd(), Change { set: ATTR_RDONLY, ..Change::default() })?;
                attach(empty.as_fd(), target.as_fd())?;
                self.empty = Some(empty);
                Ok(())
            }
        }
    }
}
