//! Device nodes for a container with ids of its own: its root may not make any, and the host's belong to nobody inside.
//! They are made by the host's root, with the mode and owner that were asked for, on a small file system that is attached
//! nowhere, and bound from there.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use casemate_core::plan::{Device, House, Maps, Node, Plan};
use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};

use super::outside::host_id;

/// Makes the plan's devices; each comes with the index of the source that it takes the place of. None where this caller
/// may not make nodes, or the kernel not bind them: the host's are bound then.
///
/// # Errors
/// The kernel's.
pub(super) fn make(plan: &Plan, maps: &Maps) -> Result<Vec<(usize, OwnedFd)>> {
    let failed = |errno: Errno| Error::os("make device nodes", errno.raw_os_error());
    let devices: Vec<(usize, &Device)> = plan.house.iter().filter_map(bound).collect();
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    fsconfig_set_string(context.as_fd(), c"mode", c"0700").map_err(failed)?;
    fsconfig_create(context.as_fd()).map_err(failed)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let place = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed)?;
    let mut made = Vec::new();
    for (source, device) in devices {
        let name = CString::new(source.to_string()).map_err(|_nul| failed(Errno::INVAL))?;
        match node(&place, &name, device, maps) {
            Err(Errno::PERM) => return Ok(Vec::new()),
            other => other
                .map_err(|errno| Error::os(format!("make device {}", device.at), errno.raw_os_error()))?,
        }
        let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        match open_tree(&place, &name, tree) {
            // Before Linux 6.15 nothing is cloned from a mount that is attached nowhere.
            Err(Errno::INVAL) => return Ok(Vec::new()),
            opened => made.push((source, opened.map_err(failed)?)),
        }
    }
    Ok(made)
}

fn bound(step: &House) -> Option<(usize, &Device)> {
    match step {
        House::Device(device) => device.bind.map(|source| (source, device)),
        _ => None,
    }
}

fn node(place: &OwnedFd, name: &CString, device: &Device, maps: &Maps) -> std::result::Result<(), Errno> {
    let kind = match device.node {
        Node::Character => FileType::CharacterDevice,
        Node::Block => FileType::BlockDevice,
        Node::Fifo => FileType::Fifo,
    };
    let (major, minor) = device.number;
    let mode = Mode::from_raw_mode(device.mode);
    mknodat(place, name, kind, mode, makedev(major, minor))?;
    // Not subject to the caller's mask.
    rustix::fs::chmodat(place, name, mode, AtFlags::empty())?;
    // An id that the container does not have is left to the host's root, who is nobody inside.
    let owner = Uid::from_raw(host_id(&maps.uids, device.owner.0).unwrap_or(0));
    let group = Gid::from_raw(host_id(&maps.gids, device.owner.1).unwrap_or(0));
    chownat(place, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}
