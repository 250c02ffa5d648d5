//! Which cgroup hierarchies this host has, where they are mounted, and where we stand in them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use casemate_spec::{Error, Result};

/// The one named hierarchy that every container joins: systemd finds its services by it.
const SYSTEMD: &str = "name=systemd";

/// Every hierarchy we join, found once from `/proc/self/mountinfo` and `/proc/self/cgroup` (cgroups(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<Hierarchy>,
}

/// One hierarchy: where it is mounted, which part of it, and our own place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Controllers of v1 as `/proc/self/cgroup` names them; empty for v2.
    pub(super) controllers: Vec<String>,
    /// The mount point.
    pub(super) mount: PathBuf,
    /// Which cgroup of the hierarchy is mounted there; more than `/` in a container without a cgroup namespace.
    pub(super) root: PathBuf,
    /// Our own cgroup in the hierarchy.
    pub(super) own: PathBuf,
}

impl Layout {
    /// Reads the host's hierarchies.
    ///
    /// # Errors
    /// When `/proc` cannot be read or says something that is not cgroups(7).
    pub fn discover() -> Result<Self> {
        let read = |path: &str| std::fs::read(path).map_err(|e| Error::io(format!("read {path}"), &e));
        Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
    }

    /// The layout that the two files' texts describe.
    pub(super) fn parse(mountinfo: &[u8], cgroup: &[u8]) -> Result<Self> {
        let mounts: Vec<Mount> = mountinfo.split(|b| *b == b'\n').filter_map(Mount::parse).collect();
        let mut layout = Self { v1: Vec::new(), unified: None };
        for line in cgroup.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let mut fields = line.splitn(3, |b| *b == b':');
            let (Some(_number), Some(names), Some(own)) = (fields.next(), fields.next(), fields.next())
            else {
                return Err(Error::new("/proc/self/cgroup", "a line without three fields"));
            };
            let names = String::from_utf8_lossy(names);
            let own = path_of(own);
            if names.is_empty() {
                layout.unified = choose(mounts.iter().filter(|m| m.unified), Vec::new(), own);
                continue;
            }
            let controllers: Vec<String> = names.split(',').map(str::to_owned).collect();
            if controllers.iter().any(|name| name.starts_with("name=") && name != SYSTEMD) {
                continue;
            }
            let holds_all = |m: &&Mount| !m.unified && controllers.iter().all(|c| m.options.contains(c));
            if let Some(found) = choose(mounts.iter().filter(holds_all), controllers.clone(), own) {
                layout.v1.push(found);
            }
        }
        Ok(layout)
    }

    /// Whether cgroup v2 is all there is.
    pub fn is_pure_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }
}

impl Hierarchy {
    /// Our own cgroup as a path below the mount point.
    pub(super) fn own_below_mount(&self) -> Result<PathBuf> {
        self.below_mount(&self.own)
    }

    /// A cgroup, named as `/proc/PID/cgroup` names it, as a path below the mount point.
    pub(super) fn below_mount(&self, cgroup: &Path) -> Result<PathBuf> {
        below(&self.root, cgroup).ok_or_else(|| {
            let why = format!(
                "cgroup {} is outside of what is mounted ({})",
                cgroup.display(),
                self.root.display()
            );
            Error::new(format!("cgroup mount {}", self.mount.display()), why)
                .hint("use an absolute cgroupsPath, or mount the hierarchy from within this cgroup namespace")
        })
    }
}

/// `cgroup` as seen from `root`, both being absolute names in one hierarchy.
pub(super) fn below(root: &Path, cgroup: &Path) -> Option<PathBuf> {
    let rest = cgroup.strip_prefix(root).ok()?;
    // A name with ".." lies outside of the cgroup namespace that reads it: nothing can be said about it.
    let plain = |c| matches!(c, std::path::Component::Normal(_));
    rest.components().all(plain).then(|| rest.to_owned())
}

/// Of several mounts of one hierarchy, the one that shows our own cgroup, preferably at the conventional place.
fn choose<'a>(
    mounts: impl Iterator<Item = &'a Mount>,
    controllers: Vec<String>,
    own: PathBuf,
) -> Option<Hierarchy> {
    let mount =
        mounts.min_by_key(|m| (below(&m.root, &own).is_none(), !m.point.starts_with("/sys/fs/cgroup")))?;
    Some(Hierarchy { controllers, mount: mount.point.clone(), root: mount.root.clone(), own })
}

/// A cgroup line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount {
    unified: bool,
    root: PathBuf,
    point: PathBuf,
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        // A host may have thousands of mounts: look for the type before taking a line apart.
        let dash = line.windows(9).position(|w| w == b" - cgroup")?;
        let (before, after) = line.split_at_checked(dash)?;
        let mut before = before.split(|b| *b == b' ').skip(3);
        let (root, point) = (unescape(before.next()?), unescape(before.next()?));
        let mut after = after.get(3..)?.split(|b| *b == b' ');
        let unified = match after.next()? {
            b"cgroup" => false,
            b"cgroup2" => true,
            _ => return None,
        };
        let options = String::from_utf8_lossy(after.nth(1)?).split(',').map(str::to_owned).collect();
        Some(Self { unified, root: path_of(&root), point: path_of(&point), options })
    }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out).into_vec()
}
