//! What judging needs to know of the host. Gathered by the caller: this crate does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use casemate_spec::Host;
use serde::{Deserialize, Serialize};

/// The host, as far as a policy depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// What the specification's own rules depend on.
    pub host: Host,
    /// The kernel's Landlock ABI (landlock(7)); 0 where there is none.
    pub landlock_abi: u32,
    /// The kernel's release, as far as features go by it: (6, 18).
    pub kernel: (u32, u32),
    /// The caller is root of a user namespace only, or not root at all: no range of host ids is to be had.
    pub in_user_namespace: bool,
    /// There, the operator's store has a range that was mapped for it: one for all of its containers.
    pub store_range: bool,
    /// Why no range of host ids is to be had for this container, where that is known: its root lies on a file system
    /// without id-mapped mounts, say.
    pub no_range: Option<String>,
    /// Why the container can have no limits that nobody asked for: its caller may make no control group, say. What the
    /// configuration asks for is enforced or fails all the same.
    pub no_limits: Option<String>,
    /// Where sources of bind mounts, as the configuration writes them, lead once symbolic links are followed; those
    /// that lead where they say may be left out.
    pub sources: BTreeMap<PathBuf, PathBuf>,
    /// CPUs the caller may run on; 0 where that is not known.
    pub cpus: u32,
    /// What the operator's store gives the container, whatever its configuration says.
    pub store: FromStore,
}

/// What of a configuration was put there by the operator, from a store of layers and volumes: rules about the host's
/// files do not ask about it. Places of the container, as they will be walked; each is that of one mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromStore {
    /// The root filesystem; `root.path` is an empty directory then.
    pub root: bool,
    /// Mounts of type `overlay` that are assembled from its layers.
    pub overlays: BTreeSet<String>,
    /// Bind mounts of its directories and files.
    pub binds: BTreeSet<String>,
    /// Places of the host that belong to the store: no other bind mount may show them, or what holds them.
    #[serde(default)]
    pub hidden: BTreeSet<String>,
}

impl FromStore {
    pub(crate) fn gives(&self, destination: &str) -> bool {
        self.overlays.contains(destination) || self.binds.contains(destination)
    }
}
