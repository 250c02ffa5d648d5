//! Quotas of projects: the project of a directory (ioctl_xfs_fsgetxattr(2)), and its limits (quotactl(2)).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::{answer, ioctl};

const GET_ATTRIBUTES: libc::c_ulong = 0x801c_581f;
const SET_ATTRIBUTES: libc::c_ulong = 0x401c_5820;
const PROJECTS: u32 = 2;

/// What is asked of a filesystem's quotas.
#[derive(Debug, Clone, Copy)]
pub enum Question {
    /// `Q_XGETQSTAT`: `struct fs_quota_stat`, whose flags are the third and fourth byte.
    State = 0x5805,
    /// `Q_GETQUOTA`: `struct if_dqblk`, words of 64 bits: limits and use of space, of files, times, and what is valid.
    Get = 0x80_0007,
    /// `Q_SETQUOTA`: the same.
    Set = 0x80_0008,
}

/// The attributes of a file: `struct fsxattr` of linux/fs.h as words; the flags are the first, the project the fourth.
///
/// # Errors
/// The kernel's: `ENOTTY` or `EOPNOTSUPP` of a filesystem that has none.
pub fn attributes(file: BorrowedFd<'_>) -> Result<[u32; 7], Errno> {
    let mut attributes = [0; 7];
    ioctl(file, GET_ATTRIBUTES, (&raw mut attributes).expose_provenance()).map(|()| attributes)
}

/// Sets the attributes of a file.
///
/// # Errors
/// As for [`attributes`].
pub fn set_attributes(file: BorrowedFd<'_>, mut attributes: [u32; 7]) -> Result<(), Errno> {
    ioctl(file, SET_ATTRIBUTES, (&raw mut attributes).expose_provenance())
}

/// Asks the filesystem that `file` is on about a project's quota (Linux 5.14).
///
/// # Errors
/// quotactl(2): `ESRCH` or `ENOSYS` where there are no quotas, `ENOENT` of a project that was never heard of.
pub fn ask(
    file: BorrowedFd<'_>,
    question: Question,
    project: u32,
    block: &mut [u64; 10],
) -> Result<(), Errno> {
    let (command, block) = (((question as u32) << 8) | PROJECTS, block.as_mut_ptr());
    // SAFETY: the kernel reads or writes one of the structures named above at `block`, 80 bytes at most, which is ours.
    let value = unsafe { libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, block) };
    answer(value).map(drop)
}

/// Whether limits of projects are enforced on the filesystem that `file` is on.
pub fn is_enforced(file: BorrowedFd<'_>) -> bool {
    let mut state = [0; 10];
    // FS_QUOTA_PDQ_ENFD of linux/dqblk_xfs.h.
    ask(file, Question::State, 0, &mut state).is_ok() && (state[0].to_le() >> 16) & (1 << 5) != 0
}
