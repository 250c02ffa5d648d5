//! A policy's rules, resolved: every one has a value, and "as asked" is one of them.

use std::collections::BTreeMap;

use oci_spec::runtime::{Capability, LinuxNamespaceType};

use crate::confinement::{Fallback, Missing};
use crate::schema::{AbsolutePath, Allow, Cpus, Device, FsType, Parameters, Place, Rlimit, Size, SystemCall};
use crate::seccomp::Profile;

/// All of them. The default asks for nothing: the bundle to the letter.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Rules {
    pub no_new_privs: bool,
    pub user_namespace: UserNamespaceRule,
    pub capabilities: Allow<Capability>,
    pub namespaces: NamespacesRule,
    /// Each is loaded; the kernel takes the strictest answer.
    pub seccomp: Vec<FilterRule>,
    pub landlock: LandlockRule,
    pub rootfs: RootfsRule,
    pub paths: PathsRule,
    pub devices: DevicesRule,
    pub mounts: MountsRule,
    pub limits: LimitsRule,
    /// The most of each; what is 0 here is set without being asked.
    pub rlimits: BTreeMap<Rlimit, u64>,
    pub sysctl: Allow<Parameters>,
}

/// Whose ids the container's are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserNamespaceRule {
    pub own: bool,
    pub fallback: Fallback,
    /// A mapping of the bundle's own may hold the host's id 0.
    pub map_host_root: bool,
}

impl Default for UserNamespaceRule {
    fn default() -> Self {
        Self { own: false, fallback: Fallback::Host, map_host_root: true }
    }
}

/// What is the container's own.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct NamespacesRule {
    pub shared_with_host: Allow<LinuxNamespaceType>,
    /// Given to a container that does not ask.
    pub add: Vec<LinuxNamespaceType>,
}

/// One list of what may be asked of the kernel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FilterRule {
    pub profile: Profile,
    /// Let pass beyond the profile.
    pub allow: Vec<SystemCall>,
}

/// What processes may do to files, ports and processes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LandlockRule {
    pub enforce: bool,
    /// Writable at most, beneath what is writable anyhow.
    pub writable: Allow<AbsolutePath>,
    pub write_xor_execute: bool,
    pub bind_tcp: Option<Vec<u16>>,
    pub connect_tcp: Option<Vec<u16>>,
    pub scope_abstract_sockets: bool,
    pub scope_signals: bool,
    pub missing: Missing,
}

impl Default for LandlockRule {
    fn default() -> Self {
        Self {
            enforce: false,
            writable: Allow::Any,
            write_xor_execute: false,
            bind_tcp: None,
            connect_tcp: None,
            scope_abstract_sockets: false,
            scope_signals: false,
            missing: Missing::Report,
        }
    }
}

/// The root file system, and what is writable in spite of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RootfsRule {
    pub read_only: bool,
    pub tmpfs: Vec<AbsolutePath>,
    pub tmpfs_size: Size,
    pub tmpfs_exec: bool,
}

impl Default for RootfsRule {
    fn default() -> Self {
        Self { read_only: false, tmpfs: Vec::new(), tmpfs_size: Size(64 << 20), tmpfs_exec: false }
    }
}

/// What of `/proc` and `/sys` is hidden or cannot be written.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PathsRule {
    pub masked: Vec<AbsolutePath>,
    pub read_only: Vec<AbsolutePath>,
}

/// Devices of the host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DevicesRule {
    pub allow: Allow<Device>,
    /// Network interfaces of the host may be moved in.
    pub network: bool,
}

impl Default for DevicesRule {
    fn default() -> Self {
        Self { allow: Allow::Any, network: true }
    }
}

/// How mount events may travel; what comes later admits what comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reach {
    Private,
    Slave,
    Shared,
}

/// What may be mounted, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MountsRule {
    /// Places of the host that no bind mount may show.
    pub deny_sources: Vec<Place>,
    /// Exceptions from that.
    pub allow_sources: Vec<Place>,
    /// Places of the host that a bind mount may show, and not change.
    pub read_only_sources: Vec<Place>,
    /// File systems that may be made.
    pub types: Allow<FsType>,
    /// File systems that are read-only whatever was asked.
    pub read_only_types: Vec<FsType>,
    pub propagation: Reach,
    /// Set-user-ID bits and device nodes do nothing on bind mounts and tmpfs.
    pub nosuid_nodev: bool,
    /// Programs on writable bind mounts and tmpfs do not run.
    pub writable_noexec: bool,
}

impl Default for MountsRule {
    fn default() -> Self {
        Self {
            deny_sources: Vec::new(),
            allow_sources: Vec::new(),
            read_only_sources: Vec::new(),
            types: Allow::Any,
            read_only_types: Vec::new(),
            propagation: Reach::Shared,
            nosuid_nodev: false,
            writable_noexec: false,
        }
    }
}

/// Limits of the control group. The first of a pair holds when nothing is asked, the second whatever is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LimitsRule {
    pub memory: Option<Size>,
    pub memory_max: Option<Size>,
    /// Memory may be swapped out beyond the limit.
    pub swap: bool,
    pub pids: Option<u64>,
    pub pids_max: Option<u64>,
    pub cpus: Option<Cpus>,
    pub cpus_max: Option<Cpus>,
    /// The container may be kept from being killed for memory, and scheduled in real time.
    pub unbounded: bool,
}

impl Default for LimitsRule {
    fn default() -> Self {
        Self {
            memory: None,
            memory_max: None,
            swap: true,
            pids: None,
            pids_max: None,
            cpus: None,
            cpus_max: None,
            unbounded: true,
        }
    }
}
