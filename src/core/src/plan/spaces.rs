//! Namespaces: which are new, which are joined, and the id maps of a new user namespace.

use std::ffi::CString;
use std::fmt;

/// A kind of namespace, namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// user_namespaces(7).
    User,
    /// mount_namespaces(7).
    Mount,
    /// pid_namespaces(7).
    Pid,
    /// network_namespaces(7).
    Network,
    /// ipc_namespaces(7).
    Ipc,
    /// uts_namespaces(7).
    Uts,
    /// cgroup_namespaces(7).
    Cgroup,
    /// time_namespaces(7), Linux 5.6.
    Time,
}

impl Space {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Mount, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time];

    /// The `CLONE_NEW*` flag.
    pub fn flag(self) -> u64 {
        self.facts().0
    }

    /// Its file in `/proc/PID/ns`.
    pub fn file(self) -> &'static str {
        self.facts().1
    }

    fn facts(self) -> (u64, &'static str, &'static str) {
        match self {
            Self::User => (0x1000_0000, "user", "user"),
            Self::Mount => (0x0002_0000, "mnt", "mount"),
            Self::Pid => (0x2000_0000, "pid", "pid"),
            Self::Network => (0x4000_0000, "net", "network"),
            Self::Ipc => (0x0800_0000, "ipc", "ipc"),
            Self::Uts => (0x0400_0000, "uts", "uts"),
            Self::Cgroup => (0x0200_0000, "cgroup", "cgroup"),
            Self::Time => (0x0000_0080, "time", "time"),
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().2)
    }
}

/// One line of an id map: `count` ids from `inside` on are the host's from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The id maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// User ids.
    pub uids: Vec<IdMap>,
    /// Group ids.
    pub gids: Vec<IdMap>,
}

impl Maps {
    /// The ids that housing is done under: root where it is mapped, else the first mapped ids.
    pub fn housekeeper(&self) -> Option<(u32, u32)> {
        let first = |maps: &[IdMap]| maps.iter().map(|map| map.inside).min();
        Some((first(&self.uids)?, first(&self.gids)?))
    }
}

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spaces {
    /// Made new.
    pub new: Vec<Space>,
    /// Joined, by path.
    pub join: Vec<(Space, CString)>,
    /// For a new user namespace.
    pub maps: Option<Maps>,
    /// For a new time namespace: lines for `/proc/self/timens_offsets`.
    pub time_offsets: Vec<CString>,
}

impl Spaces {
    /// Whether a namespace of this kind is made new.
    pub fn makes(&self, space: Space) -> bool {
        self.new.contains(&space)
    }

    /// Whether a namespace of this kind is joined by path.
    pub fn joins(&self, space: Space) -> bool {
        self.join.iter().any(|(kind, _path)| *kind == space)
    }

    /// Whether it has a user namespace other than the runtime's.
    pub fn has_user(&self) -> bool {
        self.makes(Space::User) || self.joins(Space::User)
    }

    /// Joining needs rights that a process loses (or gains) with its user namespace, so a process in between joins,
    /// and then gives birth.
    pub fn needs_relay(&self) -> bool {
        self.has_user() && !self.join.is_empty()
    }
}
