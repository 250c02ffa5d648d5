//! Pivoted: inside the root, the old one gone.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chroot, fchdir, pivot_root};

use super::Life;
use super::mounts::{Masks, read_only};
use super::resolve::open_proc;
use super::stripped::Stripped;
use crate::plan::{Enter, Furnish};
use crate::report::{Fault, Stage};
use crate::sys::mount::{Change, change};

/// The third stage.
pub(super) struct Pivoted<'a, 'l> {
    life: &'l Life<'a>,
}

impl<'a, 'l> Pivoted<'a, 'l> {
    /// A process that enters a running container finds the root as it is.
    pub(super) fn visiting(life: &'l Life<'a>) -> Self {
        Self { life }
    }

    /// Enters the root and finishes it.
    pub(super) fn enter(life: &'l Life<'a>) -> Result<Self, Fault> {
        // Opened while the host's /dev can still be seen, and used beneath the new root.
        let mut masks = None;
        if life.plan.furnish.iter().any(|step| matches!(step, Furnish::MaskedPath(_))) {
            masks = Some(Masks::open().map_err(|errno| Stage::Furnish.fault(errno))?);
        }
        let enter = |errno| Stage::Enter.fault(errno);
        change_root(life).map_err(enter)?;
        if life.plan.process.terminal.is_some() && life.slave.get().is_none() {
            let root = life.root.get().ok_or_else(|| enter(Errno::NOENT))?;
            super::console::open(life, root.as_fd(), None).map_err(|errno| Stage::Terminal.fault(errno))?;
        }
        for (index, step) in life.plan.furnish.iter().enumerate() {
            furnish(life, step, &mut masks).map_err(|errno| Stage::Furnish.fault_at(index, errno))?;
        }
        // Last: the null device that masks files is a mount of the old root's.
        if life.plan.enter == Enter::Pivot {
            unmount(c".", UnmountFlags::DETACH).map_err(enter)?;
            rustix::process::chdir(c"/").map_err(enter)?;
        }
        Ok(Self { life })
    }

    /// Goes on to become the process that was asked for.
    pub(super) fn strip(self) -> Result<Stripped<'a, 'l>, Fault> {
        Stripped::strip(self.life)
    }
}

fn change_root(life: &Life<'_>) -> Result<(), Errno> {
    let root = life.root.get();
    match life.plan.enter {
        Enter::Stay => life.root.set(open_root()?).map_err(|_set_before| Errno::EXIST),
        Enter::Chroot(_root) => {
            let tree = life.tree(0).ok_or(Errno::NOENT)?;
            fchdir(&tree.fd)?;
            chroot(c".")?;
            let root = rustix::io::fcntl_dupfd_cloexec(&tree.fd, 0)?;
            life.root.set(root).map_err(|_set_before| Errno::EXIST)
        }
        Enter::Pivot => {
            let old = open_root()?;
            fchdir(root.ok_or(Errno::NOENT)?)?;
            // New and old root at one place, pivot_root(2): the old one lies over the new and is detached in the end.
            pivot_root(c".", c".")?;
            // Standing in the old root is what lets `.` name it for unmounting.
            fchdir(&old)
        }
        Enter::Move => {
            let root = root.ok_or(Errno::NOENT)?;
            fchdir(root)?;
            move_mount(root, c"", rustix::fs::CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            chroot(c".")?;
            rustix::process::chdir(c"/")
        }
    }
}

/// Where this process's paths begin.
pub(super) fn open_root() -> Result<OwnedFd, Errno> {
    rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn furnish(life: &Life<'_>, step: &Furnish, masks: &mut Option<Masks>) -> Result<(), Errno> {
    let root = life.root.get().ok_or(Errno::NOENT)?.as_fd();
    match step {
        Furnish::Hostname(name) => rustix::system::sethostname(name.as_bytes()),
        Furnish::Domainname(name) => rustix::system::setdomainname(name.as_bytes()),
        Furnish::Sysctl { path, .. } if life.plan.is_set_early(path) => Ok(()),
        Furnish::Sysctl { path, value } => set_parameter(life.proc(), path, value),
        Furnish::ReadonlyPath(at) => read_only(root, at),
        Furnish::MaskedPath(at) => masks.as_mut().ok_or(Errno::NODEV)?.mask(root, at),
        Furnish::Propagation(propagation, recursive) => {
            change(root, Change { propagation: *propagation, recursive: *recursive, ..Change::default() })
        }
        Furnish::ReadonlyRoot => change(root, Change { set: 1, ..Change::default() }),
    }
}

/// Sets a kernel parameter of this process's namespaces.
pub(super) fn set_parameter(proc: BorrowedFd<'_>, path: &CStr, value: &CStr) -> Result<(), Errno> {
    let file = open_proc(proc, path, OFlags::WRONLY)?;
    let written = rustix::io::write(&file, value.to_bytes())?;
    if written == value.count_bytes() { Ok(()) } else { Err(Errno::INVAL) }
}
