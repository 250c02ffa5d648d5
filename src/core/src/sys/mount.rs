//! mount_setattr(2), since Linux 5.12.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::answer;

/// Follows every mount beneath, `AT_RECURSIVE`.
const AT_RECURSIVE: libc::c_int = 0x8000;
/// `MOUNT_ATTR_IDMAP`, linux/mount.h.
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
/// `MOUNT_ATTR__ATIME`: the access-time attributes are one field, cleared as a whole before one is set.
const MOUNT_ATTR_ATIME: u64 = 0x70;

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What to change on a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_PRIVATE`, `MS_SLAVE` or `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// The whole tree beneath too.
    pub recursive: bool,
}

impl Change {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// Changes the attributes of the mount that `mount` is the root of.
///
/// # Errors
/// mount_setattr(2): `ENOSYS` before Linux 5.12, `EPERM` when a locked attribute would be loosened, `EINVAL` when
/// `mount` is not the root of a mount.
pub fn change(mount: BorrowedFd<'_>, change: Change) -> Result<(), Errno> {
    let Change { set, clear, propagation, recursive } = change;
    let times = if set & MOUNT_ATTR_ATIME != 0 { MOUNT_ATTR_ATIME } else { 0 };
    call(mount, &MountAttr { attr_set: set, attr_clr: clear | times, propagation, userns_fd: 0 }, recursive)
}

/// Id-maps a detached mount by the maps of the user namespace `userns` (Linux 5.12, per filesystem).
///
/// # Errors
/// mount_setattr(2): `EINVAL` when the filesystem cannot be id-mapped, `EPERM` without `CAP_SYS_ADMIN` over the
/// filesystem's user namespace.
pub fn idmap(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    let userns = u64::try_from(userns.as_raw_fd()).map_err(|_negative| Errno::BADF)?;
    let attr = MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd: userns, ..MountAttr::default() };
    call(mount, &attr, recursive)
}

fn call(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static C string, `attr` a C-layout structure whose size is passed; the kernel reads both.
    let value = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    answer(value).map(drop)
}
