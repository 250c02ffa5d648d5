//! Slow work, in a process of its own: this program started again with `work`, and a descriptor as standard input.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::tree::failed;

/// Does it.
///
/// # Errors
/// The kernel's; no such work.
pub fn work(words: &[OsString]) -> Result<()> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let given = rustix::stdio::stdin();
    match words.as_slice() {
        ["sweep"] => sweep(given),
        ["sync"] => rustix::fs::syncfs(given).map_err(|errno| failed("sync", errno)),
        ["save"] => rustix::fs::fdatasync(given).map_err(|errno| failed("save", errno)),
        ["make", paths @ ..] => paths.iter().try_for_each(|path| make(path)),
        ["look", paths @ ..] => paths.iter().try_for_each(|path| look(path)),
        _ => Err(Error::new("work", "there is none of this name")),
    }
}

/// Empties a directory. No link is followed. Directories are moved to the top before they are emptied, so that neither
/// depth nor descriptors have to be bounded: whoever made these trees meant no good.
fn sweep(trash: impl AsFd) -> Result<()> {
    let mut serial = 0_u64;
    loop {
        let tops = entries(&trash)?;
        if tops.is_empty() {
            return Ok(());
        }
        for (top, is_directory) in tops {
            if !is_directory {
                unlink(&trash, &top, AtFlags::empty())?;
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(&trash, top.as_slice(), flags, Mode::empty())
                .map_err(|errno| failed("trash", errno))?;
            for (name, is_directory) in entries(&directory)? {
                if is_directory {
                    serial += 1;
                    raise(&directory, &name, &trash, serial)?;
                } else {
                    unlink(&directory, &name, AtFlags::empty())?;
                }
            }
            unlink(&trash, &top, AtFlags::REMOVEDIR)?;
        }
    }
}

fn raise(directory: &OwnedFd, name: &[u8], trash: impl AsFd, serial: u64) -> Result<()> {
    // Most are empty by now, or small: a name of its own for this sweep, whatever an earlier one left.
    let to = format!("sweep-{}-{serial}", std::process::id());
    rustix::fs::renameat(directory, name, trash, to).map_err(|errno| failed("trash", errno))
}

fn unlink(at: impl AsFd, name: &[u8], flags: AtFlags) -> Result<()> {
    match rustix::fs::unlinkat(at, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed("trash", errno)),
    }
}

fn entries(directory: impl AsFd) -> Result<Vec<(Vec<u8>, bool)>> {
    let mut list = Vec::new();
    for entry in Dir::read_from(&directory).map_err(|errno| failed("trash", errno))? {
        let entry = entry.map_err(|errno| failed("trash", errno))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let kind = match entry.file_type() {
                FileType::Unknown => rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            list.push((name.to_vec(), kind == FileType::Directory));
        }
    }
    Ok(list)
}

/// Whether something is there.
fn look(path: &str) -> Result<()> {
    std::fs::metadata(path).map(drop).map_err(|error| Error::io(path, &error))
}

/// Makes a directory of the host's, and those above it, where a policy has admitted exactly this path. A link on the way
/// would lead elsewhere.
fn make(path: &str) -> Result<()> {
    let mut at = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("/", errno))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for name in std::path::Path::new(path).iter().skip(1).map(OsStrExt::as_bytes) {
        match rustix::fs::mkdirat(&at, name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(path, errno)),
        }
        at = rustix::fs::openat2(&at, name, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(|errno| {
            failed(path, errno).hint("no link may be on the way to a directory that is made: make it first, or name it directly")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_links_lead_to_stays_and_depth_does_not_matter() {
        let folder = std::env::temp_dir().join(format!("casemate-sweep-{}", std::process::id()));
        let (trash, kept) = (folder.join("trash"), folder.join("kept"));
        std::fs::create_dir_all(&trash).expect("made");
        std::fs::create_dir_all(&kept).expect("made");
        std::fs::write(kept.join("file"), "x").expect("written");
        symlink(&kept, trash.join("link")).expect("linked");
        let mut at: OwnedFd = std::fs::File::open(&trash).expect("opened").into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::from(0o700)).expect("made");
            rustix::fs::symlinkat(&kept, &at, "out").expect("linked");
            at = crate::tree::open_dir(&at, "deep").expect("opened");
        }
        drop(at);
        sweep(std::fs::File::open(&trash).expect("opened")).expect("swept");
        assert_eq!(std::fs::read_dir(&trash).expect("read").count(), 0);
        assert!(kept.join("file").is_file());
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn a_directory_is_made_where_no_link_leads() {
        let folder = std::env::temp_dir().join(format!("casemate-make-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("real")).expect("made");
        symlink(folder.join("real"), folder.join("link")).expect("linked");
        let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
        assert!(make(&path("a/b/c")).is_ok() && folder.join("a/b/c").is_dir());
        assert!(make(&path("link/x")).is_err() && !folder.join("real/x").exists());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
