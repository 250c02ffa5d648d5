//! `docker cp`: places of a container by the paths that people give.

use std::io::Write;

use casemate_spec::wire::PathStat;
use casemate_spec::{Error, Result};
use rustix::fs::{FileType, OFlags, Statx, readlinkat};
use rustix::io::Errno;

use crate::archive::Writer;
use crate::pack::{self, Form};
use crate::place::{Place, clamp, join, show, split};
use crate::walk::{self, Mounts};

/// The most links on one way (`path_resolution(7)` has 40; Docker has 255).
const LINKS: usize = 255;

/// A place as it was asked for.
pub struct Asked {
    /// Relative, without dots.
    path: Vec<u8>,
    /// A slash or `/.` at the end: a link there is followed, and must lead to a directory.
    within: bool,
    /// The last name of it, `/` for the root, `.` where it ends so.
    name: Vec<u8>,
}

impl Asked {
    /// Reads a path as Docker does: from the root, `..` never above it.
    pub fn new(path: &str) -> Self {
        let clean = clamp(path.as_bytes());
        let is_dot = path.ends_with("/.") || path == ".";
        let name = match split(&clean).1 {
            _ if is_dot => b".".to_vec(),
            b"" => b"/".to_vec(),
            name => name.to_vec(),
        };
        Self { within: is_dot || path.ends_with('/') || clean.is_empty(), path: clean, name }
    }

    /// The place itself, relative to the root.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    fn flags(&self) -> OFlags {
        if self.within { OFlags::PATH | OFlags::DIRECTORY } else { OFlags::PATH | OFlags::NOFOLLOW }
    }
}

/// What is there.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, and what else the kernel says.
pub fn stat(root: &Place, asked: &Asked) -> Result<PathStat> {
    let stat = status(root, asked)?;
    let link_target = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Symlink => String::from_utf8_lossy(&follow(root, &asked.path)).into_owned(),
        _ => String::new(),
    };
    let nanoseconds = stat.stx_mtime.tv_sec.saturating_mul(1_000_000_000);
    Ok(PathStat {
        name: String::from_utf8_lossy(&asked.name).into_owned(),
        size: stat.stx_size,
        mode: stat.stx_mode.into(),
        modified: nanoseconds.saturating_add(stat.stx_mtime.tv_nsec.into()),
        link_target,
    })
}

/// Writes what is there, its own entry first.
///
/// # Errors
/// It cannot be read, or nobody reads the archive.
pub fn out<W: Write>(root: &Place, asked: &Asked, writer: &mut Writer<W>) -> Result<()> {
    let stat = status(root, asked)?;
    if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory {
        let place = root.beneath(&asked.path).map_err(|errno| missing(asked, errno))?;
        return pack::pack(&place, Mounts::Enter, Form::Named(&asked.name), writer);
    }
    let (directory, name) = split(&asked.path);
    let place = root.beneath(directory).map_err(|errno| missing(asked, errno))?;
    pack::pack_one(&place, name, &asked.name, writer)
}

/// The directory that files are copied into, as a path that `root` resolves.
///
/// # Errors
/// It is not there, or no directory.
pub fn destination(root: &Place, path: &str) -> Result<Vec<u8>> {
    let clean = clamp(path.as_bytes());
    match root.directory(&clean) {
        Ok(_) => Ok(clean),
        Err(errno) => Err(Error::os(path, errno.raw_os_error())),
    }
}

fn status(root: &Place, asked: &Asked) -> Result<Statx> {
    let file = root.at(&asked.path, asked.flags());
    file.and_then(|file| walk::status(&file)).map_err(|errno| missing(asked, errno))
}

fn missing(asked: &Asked, errno: Errno) -> Error {
    Error::os(format!("/{}", show(&asked.path)), errno.raw_os_error())
}

/// Where a link leads in the end, from the root; names that are not there are taken as they stand. For people to read:
/// nothing is opened by it.
fn follow(root: &Place, path: &[u8]) -> Vec<u8> {
    let mut ahead: Vec<Vec<u8>> = parts(path);
    let (mut at, mut links) = (Vec::new(), 0);
    while let Some(name) = ahead.pop() {
        match &*name {
            b"" | b"." => continue,
            b".." => {
                at = split(&at).0.to_vec();
                continue;
            }
            _ => {}
        }
        let here = join(&at, &name);
        let link = root
            .at(&here, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|link| readlinkat(&link, c"", Vec::new()));
        match link {
            Ok(link) if links < LINKS => {
                links += 1;
                let link = link.into_bytes();
                if link.starts_with(b"/") {
                    at.clear();
                }
                ahead.extend(parts(&link));
            }
            _ => at = here,
        }
    }
    [b"/", &*at].concat()
}

/// The parts of a path, the last first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_docker_reads_them() {
        let of = |path: &str| {
            let asked = Asked::new(path);
            (
                String::from_utf8(asked.path).expect("text"),
                asked.within,
                String::from_utf8(asked.name).expect("text"),
            )
        };
        let own = |path: &str, within, name: &str| (path.to_owned(), within, name.to_owned());
        assert_eq!(of("/a/b"), own("a/b", false, "b"));
        assert_eq!(of("a/b/"), own("a/b", true, "b"));
        assert_eq!(of("/a/b/."), own("a/b", true, "."));
        assert_eq!(of("/"), own("", true, "/"));
        assert_eq!(of("/."), own("", true, "."));
        assert_eq!(of("/../../x"), own("x", false, "x"));
        assert_eq!(of("/a/../b"), own("b", false, "b"));
        assert_eq!(of(""), own("", true, "/"));
    }
}
