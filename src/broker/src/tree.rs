//! Directories and files beneath a handle: names of our own making, and no link is ever followed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// No small file of ours is larger.
const LARGEST: u64 = 16 << 20;

/// Opens a directory beneath another; `path` may have several names.
///
/// # Errors
/// The kernel's.
pub fn open_dir(at: impl AsFd, path: &str) -> Result<OwnedFd> {
    open(at, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens anything beneath a directory.
///
/// # Errors
/// The kernel's: `ELOOP` for a link, `EXDEV` for what leads outward.
pub fn open(at: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // A fifo would have us wait for its other end. A handle alone (O_PATH) takes no such flag, and waits for nothing.
    let patience = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK };
    let flags = flags | patience | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(at, path, flags, Mode::empty(), resolve).map_err(|errno| failed(path, errno))
}

/// Whether there is something of this name.
pub fn exists(at: impl AsFd, name: &str) -> bool {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Makes a directory that is not there yet.
///
/// # Errors
/// The kernel's: `EEXIST`.
pub fn make_dir(at: impl AsFd, name: &str, owner: (u32, u32), mode: u32) -> Result<OwnedFd> {
    rustix::fs::mkdirat(&at, name, Mode::from(0o700)).map_err(|errno| failed(name, errno))?;
    settle(&at, name, owner, mode)
}

/// Makes a directory, or gives one that is there the owner and mode it must have.
///
/// # Errors
/// The kernel's; something else is in its place.
pub fn ensure_dir(at: impl AsFd, name: &str, owner: (u32, u32), mode: u32) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(&at, name, Mode::from(0o700)) {
        Ok(()) | Err(Errno::EXIST) => settle(&at, name, owner, mode),
        Err(errno) => Err(failed(name, errno)),
    }
}

fn settle(at: impl AsFd, name: &str, owner: (u32, u32), mode: u32) -> Result<OwnedFd> {
    let made = open_dir(at, name)?;
    own(&made, name, owner, mode)?;
    Ok(made)
}

fn own(file: &OwnedFd, name: &str, (user, group): (u32, u32), mode: u32) -> Result<()> {
    let now = rustix::fs::fstat(file).map_err(|errno| failed(name, errno))?;
    if (now.st_uid, now.st_gid) != (user, group) {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        rustix::fs::fchown(file, Some(user), Some(group)).map_err(|errno| failed(name, errno))?;
    }
    if now.st_mode & 0o7777 != mode || (now.st_uid, now.st_gid) != (user, group) {
        rustix::fs::fchmod(file, Mode::from(mode)).map_err(|errno| failed(name, errno))?;
    }
    Ok(())
}

/// Writes a file whole or not at all, in place of what is there; on the disk when `lasting`.
///
/// # Errors
/// The kernel's.
pub fn write(
    at: impl AsFd,
    name: &str,
    bytes: &[u8],
    owner: (u32, u32),
    mode: u32,
    lasting: bool,
) -> Result<()> {
    let next = format!(".{name}.next");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::unlinkat(&at, &next, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(&next, errno)),
    }
    let file =
        rustix::fs::openat(&at, &next, flags, Mode::from(0o600)).map_err(|errno| failed(&next, errno))?;
    own(&file, name, owner, mode)?;
    let mut file = File::from(file);
    file.write_all(bytes).map_err(|error| Error::io(name, &error))?;
    if lasting {
        file.sync_all().map_err(|error| Error::io(name, &error))?;
    }
    rustix::fs::renameat(&at, &next, &at, name).map_err(|errno| failed(name, errno))?;
    if lasting { sync(&at) } else { Ok(()) }
}

/// Reads a small file; `None` when there is none, or no regular one.
///
/// # Errors
/// The kernel's; larger than 16 MiB.
pub fn read(at: impl AsFd, name: &str) -> Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        other => other.map_err(|errno| failed(name, errno))?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| failed(name, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(LARGEST + 1).read_to_end(&mut bytes);
    if read.map_err(|error| Error::io(name, &error))? as u64 > LARGEST {
        return Err(Error::new(name, "larger than 16 MiB"));
    }
    Ok(Some(bytes))
}

/// The names in a directory, without those that begin with a dot.
///
/// # Errors
/// The kernel's.
pub fn names(at: impl AsFd) -> Result<Vec<String>> {
    Ok(all_names(at)?.into_iter().filter(|name| !name.starts_with('.')).collect())
}

/// The names in a directory that begin with a dot: what a crash left half made.
///
/// # Errors
/// The kernel's.
pub fn hidden(at: impl AsFd) -> Result<Vec<String>> {
    let hidden = |name: &String| name.starts_with('.') && name != "." && name != "..";
    Ok(all_names(at)?.into_iter().filter(hidden).collect())
}

fn all_names(at: impl AsFd) -> Result<Vec<String>> {
    let failed = |errno| failed("directory", errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(at).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        names.extend(entry.file_name().to_str().ok().map(str::to_owned));
    }
    Ok(names)
}

/// Moves within one filesystem; what is there already stays.
///
/// # Errors
/// The kernel's: `EEXIST`.
pub fn rename(from: impl AsFd, name: &str, to: impl AsFd, new: &str) -> Result<()> {
    rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)
        .map_err(|errno| failed(name, errno))
}

/// Removes a tree of ours: small, and of known depth.
///
/// # Errors
/// The kernel's. What is not there is as good.
pub fn remove(at: impl AsFd, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(&at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed(name, errno)),
    }
    let directory = open_dir(&at, name)?;
    for entry in Dir::read_from(&directory).map_err(|errno| failed(name, errno))? {
        let entry = entry.map_err(|errno| failed(name, errno))?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(inner) => remove(&directory, inner)?,
            Err(_) => return Err(Error::new(name, "a name that is not ours")),
        }
    }
    rustix::fs::unlinkat(&at, name, AtFlags::REMOVEDIR).map_err(|errno| failed(name, errno))
}

/// Makes the entries of a directory last.
///
/// # Errors
/// The kernel's.
pub fn sync(directory: impl AsFd) -> Result<()> {
    rustix::fs::fsync(directory).map_err(|errno| failed("directory", errno))
}

/// An error of the kernel's about a name.
pub fn failed(what: &str, errno: Errno) -> Error {
    Error::os(what, errno.raw_os_error())
}
