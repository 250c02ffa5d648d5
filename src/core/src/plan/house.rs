//! Housing: mounts, devices and links, made under the new root before it is entered.

use std::ffi::{CStr, CString};
use std::fmt;

use crate::sys::mount::Change;

/// A mount tree that the parent opens on the host, detached (open_tree(2)), before the birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is on the host.
    pub path: CString,
    /// With the mounts beneath it.
    pub recursive: bool,
    /// Owners are shown through these maps (Linux 5.12), beneath it too when `idmap_recursive`.
    pub idmap: Option<super::Maps>,
    /// The id-map covers the mounts beneath too.
    pub idmap_recursive: bool,
    /// A filesystem that takes no id-map is used without: its files are then nobody's inside.
    pub idmap_optional: bool,
    /// Not a tree that is there, but a new instance of this filesystem: it shows a namespace that the container joins
    /// and does not own, and so cannot mount.
    pub instance: Option<CString>,
    /// Not needed unless a step falls back on it: failing to open it is not an error.
    pub optional: bool,
}

/// A place inside the container, resolved under the root's descriptor only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    path: CString,
    /// What leads to the last component, and that.
    last: Option<(CString, CString)>,
}

impl At {
    /// Cleans `path` (`.`, `..`, doubled slashes) and takes off its last component.
    ///
    /// `None` when it holds a NUL byte.
    pub fn new(path: &str) -> Option<Self> {
        let mut clean: Vec<&str> = Vec::new();
        for component in path.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(clean.pop()),
                name => clean.push(name),
            }
        }
        let text =
            |parts: &[&str]| CString::new(if parts.is_empty() { ".".into() } else { parts.join("/") }).ok();
        let last = match clean.split_last() {
            Some((name, leading)) => Some((text(leading)?, CString::new(*name).ok()?)),
            None => None,
        };
        Some(Self { path: text(&clean)?, last })
    }

    /// Relative to the root; `.` for the root itself.
    pub fn path(&self) -> &CString {
        &self.path
    }

    /// The path to the last component, `.` for the root, and the last component; nothing for the root itself.
    pub fn last(&self) -> Option<(&CStr, &CStr)> {
        self.last.as_ref().map(|(leading, name)| (leading.as_c_str(), name.as_c_str()))
    }

    /// The root itself.
    pub fn is_root(&self) -> bool {
        self.last.is_none()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("/") } else { write!(f, "/{}", self.path().to_string_lossy()) }
    }
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// One of the plan's sources: a bind mount.
    Tree(usize),
    /// A new filesystem instance, fsopen(2).
    New {
        /// Its type, as in `/proc/filesystems`.
        kind: CString,
        /// fsconfig(2) parameters: key with a string, or a flag.
        options: Vec<(CString, Option<CString>)>,
        /// A source to bind when the kernel refuses the instance (`EPERM`, `EBUSY`).
        fallback: Option<usize>,
    },
    /// The mount that is there already: only its attributes change.
    Existing,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub from: From,
    /// Where.
    pub at: At,
    /// Attribute and propagation changes, in order, before it becomes visible.
    pub changes: Vec<Change>,
    /// What the directory held before is copied into the new filesystem (`tmpcopyup`).
    pub copy_up: bool,
    /// As the configuration words it, for people.
    pub shown: String,
}

/// The type of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Character device.
    Character,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub at: At,
    /// What kind.
    pub node: Node,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Owner, as ids inside the container.
    pub owner: (u32, u32),
    /// The host's node to bind instead: a user namespace may not make nodes.
    pub bind: Option<usize>,
}

/// A symbolic link that is made when nothing is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where.
    pub at: At,
    /// What it says.
    pub target: CString,
    /// An existing file is replaced.
    pub replace: bool,
}

/// A step of housing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum House {
    /// The root tree (the plan's first source) is attached over its own place in the new mount namespace.
    Root {
        /// Its place on the host.
        path: CString,
    },
    /// A mount.
    Mount(Mount),
    /// A device node.
    Device(Device),
    /// A symbolic link.
    Link(Link),
    /// The pseudo-terminal, and the place (`/dev/console`) where its slave is bound.
    Console(At),
    /// A directory that must be there.
    Directory(At),
    /// A network device of the host's that is moved in by the parent: only named here.
    NetDevice {
        /// Its name on the host.
        name: String,
        /// Its name inside.
        inside: String,
    },
}
