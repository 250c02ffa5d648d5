//! How much a container may write into its own layer: its files are a project of their own, and the filesystem keeps
//! the project's quota (ext4, XFS; mounted with `prjquota`).
//!
//! The project is the lowest of a range of ours of which no file is left. It is put on the layer and its work directory
//! while both are empty, and everything that is made in them inherits it. So nothing has to be given back: with the last
//! file of the container, its project is free.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_core::sys::quota::{Question, ask, attributes, set_attributes};
use casemate_spec::{Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::plan::Upper;

/// Projects that are ours: whoever gives out others on the same filesystem leaves these alone.
const PROJECTS: std::ops::Range<u32> = 1_073_741_824..1_074_790_400;
/// `FS_XFLAG_PROJINHERIT` of linux/fs.h.
const INHERIT: u32 = 1 << 9;
/// `QIF_LIMITS` of linux/quota.h: limits of space and of files.
const LIMITS: u64 = 5;
/// Quotas count space in blocks of so many bytes.
const BLOCK: u64 = 1024;
/// For each so many bytes a file, a directory or a link: as many as can have content, and no end of empty ones.
const FILE: u64 = 4096;

/// Limits what may be in the two directories together.
pub(super) fn limit(base: BorrowedFd<'_>, upper: &Upper, bytes: u64) -> Result<()> {
    set(base, upper, bytes).map_err(|errno| {
        Error::os(format!("limit the container's own layer to {bytes} bytes"), errno.raw_os_error())
            .hint("project quotas need ext4 or XFS, mounted with prjquota, and Linux 5.14")
    })
}

fn set(base: BorrowedFd<'_>, upper: &Upper, bytes: u64) -> std::result::Result<(), Errno> {
    let (layer, work) = (directory(base, &upper.upper)?, directory(base, &upper.work)?);
    // Of two who look for a project at once, both would find the same.
    let turn = directory(base, c"..")?;
    flock(&turn, FlockOperation::LockExclusive)?;
    let now = attributes(layer.as_fd())?[3];
    let project = if PROJECTS.contains(&now) { now } else { unused(layer.as_fd())? };
    limits(layer.as_fd(), project, bytes)?;
    // The layer last: once it has its project, all is done.
    for dir in [&work, &layer] {
        let [flags, extents, count, _, more @ ..] = attributes(dir.as_fd())?;
        let [a, b, c] = more;
        set_attributes(dir.as_fd(), [flags | INHERIT, extents, count, project, a, b, c])?;
    }
    Ok(())
}

fn limits(dir: BorrowedFd<'_>, project: u32, bytes: u64) -> std::result::Result<(), Errno> {
    // Not 0, which would be none.
    let (space, files) = (bytes.div_ceil(BLOCK).max(1), bytes.div_ceil(FILE).max(16));
    let mut block = [space, space, 0, files, files, 0, 0, 0, LIMITS.to_le(), 0];
    ask(dir, Question::Set, project, &mut block)
}

/// The lowest project without a file.
fn unused(dir: BorrowedFd<'_>) -> std::result::Result<u32, Errno> {
    for project in PROJECTS {
        let mut block = [0; 10];
        match ask(dir, Question::Get, project, &mut block) {
            Ok(()) if block[5] != 0 => {}
            // XFS knows nothing of one that never was.
            Ok(()) | Err(Errno::NOENT) => return Ok(project),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::DQUOT)
}

fn directory(base: BorrowedFd<'_>, name: &CStr) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(base, name, flags, Mode::empty())
}
