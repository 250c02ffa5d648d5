//! Housed: the root filesystem is set up under its descriptor, and not yet entered.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Uid, chownat, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::Life;
use super::mounts::{attach, mount};
use super::pivoted::Pivoted;
use super::resolve::{directory, file, look, parent};
use crate::channel::Received;
use crate::plan::{Device, House, Link, Node};
use crate::report::{Fault, Record, Stage};

/// How deep `tmpcopyup` follows a tree: each level holds descriptors open.
const COPY_DEPTH: u32 = 64;

/// The second stage.
pub(super) struct Housed<'a, 'l> {
    life: &'l Life<'a>,
}

impl<'a, 'l> Housed<'a, 'l> {
    /// Carries out the plan's housing steps.
    pub(super) fn furnish(life: &'l Life<'a>, attached: bool) -> Result<Self, Fault> {
        if attached {
            let root = life.root.get().ok_or_else(|| Stage::House.fault(Errno::NOENT))?;
            for (index, step) in life.plan.house.iter().enumerate() {
                housing(life, root.as_fd(), step).map_err(|errno| Stage::House.fault_at(index, errno))?;
            }
        }
        Ok(Self { life })
    }

    /// Lets hooks run, and goes on into the root.
    pub(super) fn enter(self) -> Result<Pivoted<'a, 'l>, Fault> {
        let life = self.life;
        if life.plan.pause_for_hooks {
            let fault = |errno| Stage::House.fault(errno);
            life.hands.channel.send(Record::Housed).map_err(fault)?;
            match life.hands.channel.receive().map_err(fault)? {
                Received::Record(Record::Proceed, _) => {}
                Received::Record(..) => return Err(fault(Errno::PROTO)),
                Received::Closed => return Err(fault(Errno::PIPE)),
            }
        }
        let hooks = life.plan.create_hooks.iter().zip(&life.vectors.create_hooks);
        for (index, (hook, vectors)) in hooks.enumerate() {
            let state = life.hands.states.as_ref().map(|(creating, _created)| creating.as_fd());
            super::hook::run(hook, vectors, state).map_err(|(errno, code)| Fault {
                errno: code.map_or(errno.raw_os_error(), |code| -code),
                ..Stage::CreateHook.fault_at(index, errno)
            })?;
        }
        Pivoted::enter(life)
    }
}

fn housing(life: &Life<'_>, root: BorrowedFd<'_>, step: &House) -> Result<(), Errno> {
    match step {
        // Done while born, and by the parent.
        House::Root { .. } | House::NetDevice { .. } => Ok(()),
        House::Mount(step) => mount(life, root, step),
        House::Device(device) => make_device(life, root, device),
        House::Link(link) => make_link(root, link),
        House::Console(at) => super::console::open(life, root, Some(at)),
        House::Directory(at) => directory(root, at).map(drop),
    }
}

fn make_device(life: &Life<'_>, root: BorrowedFd<'_>, device: &Device) -> Result<(), Errno> {
    if let Some(index) = device.bind {
        let tree = life.tree(index).ok_or(Errno::NODEV)?;
        let target = file(root, &device.at)?;
        return attach(tree.fd.as_fd(), target.as_fd());
    }
    let (parent, name) = parent(root, &device.at)?;
    let name = name.ok_or(Errno::ISDIR)?;
    let node = match device.node {
        Node::Character => FileType::CharacterDevice,
        Node::Block => FileType::BlockDevice,
        Node::Fifo => FileType::Fifo,
    };
    let (major, minor) = device.number;
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(&parent, name, node, mode, rustix::fs::makedev(major, minor)) {
        // The image may bring the same node; anything else under that name is refused.
        Err(Errno::EXIST) if same_node(parent.as_fd(), name, node, (major, minor))? => {}
        other => other?,
    }
    // By descriptor: the name may by now be somebody else's.
    let made = openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let (uid, gid) = (Uid::from_raw(device.owner.0), Gid::from_raw(device.owner.1));
    // The mode was given at the making: the child's umask is zero while it is housed.
    chownat(&made, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

fn same_node(
    parent: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    node: FileType,
    number: (u32, u32),
) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let found = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(FileType::from_raw_mode(stat.st_mode) == node && (node == FileType::Fifo || found == number))
}

fn make_link(root: BorrowedFd<'_>, link: &Link) -> Result<(), Errno> {
    let (parent, name) = parent(root, &link.at)?;
    let name = name.ok_or(Errno::ISDIR)?;
    match symlinkat(link.target.as_c_str(), &parent, name) {
        Err(Errno::EXIST) if link.replace => {
            unlinkat(&parent, name, AtFlags::empty())?;
            symlinkat(link.target.as_c_str(), &parent, name)
        }
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Copies what `from` holds into the root of a new filesystem (`tmpcopyup`), owners and modes kept; the root's own
/// mode is the mount's matter.
pub(super) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, c"", AtFlags::EMPTY_PATH)?;
    let source = look(from, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let target = openat(to, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    copy_directory(source.as_fd(), target.as_fd(), COPY_DEPTH)
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    if depth == 0 {
        return Err(Errno::LOOP);
    }
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let below = open_below(from, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let made = open_below(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                own(&made, &stat)?;
                copy_directory(below.as_fd(), made.as_fd(), depth - 1)?;
            }
            FileType::RegularFile => {
                let source = open_below(from, name, OFlags::RDONLY)?;
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(to, name, flags, Mode::from_raw_mode(0o600))?;
                copy_bytes(&source, &made)?;
                own(&made, &stat)?;
            }
            FileType::Symlink => {
                let mut text = [MaybeUninit::uninit(); 4096];
                let (text, _rest) = rustix::fs::readlinkat_raw(from, name, &mut text)?;
                let mut terminated = [0_u8; 4097];
                terminated.get_mut(..text.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(text);
                let target = std::ffi::CStr::from_bytes_until_nul(&terminated)
                    .map_err(|_unterminated| Errno::INVAL)?;
                symlinkat(target, to, name)?;
                own_name(to, name, &stat)?;
            }
            other => {
                mknodat(to, name, other, mode, stat.st_rdev)?;
                own_name(to, name, &stat)?;
            }
        }
    }
    Ok(())
}

fn open_below(directory: BorrowedFd<'_>, name: &std::ffi::CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    while rustix::fs::sendfile(to, from, None, 1 << 20)? > 0 {}
    Ok(())
}

fn own(fd: &OwnedFd, stat: &rustix::fs::Stat) -> Result<(), Errno> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode))
}

fn own_name(to: BorrowedFd<'_>, name: &std::ffi::CStr, stat: &rustix::fs::Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
