//! A container, as the daemon may ask for it.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxDevice, LinuxResources, LinuxSeccomp, Process};
use serde::{Deserialize, Serialize};

use super::{Endpoint, HexId, PolicyName, Tenant};

/// Everything that may be asked of a container. The broker writes the runtime's configuration from it, field by field:
/// hooks, paths of namespaces and places of the store cannot be expressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// Whose it is: its control group lies beneath the tenant's.
    pub tenant: Tenant,
    /// The policy, by name; the host's ceiling holds whatever this says. None is the host's default.
    pub policy: Option<PolicyName>,
    /// The root filesystem.
    pub root: Root,
    /// The process: arguments, environment, user, capabilities, limits (OCI runtime specification, config.md).
    pub process: Process,
    /// In the UTS namespace.
    pub hostname: Option<String>,
    /// In the UTS namespace.
    pub domainname: Option<String>,
    /// What is shared with whom.
    pub namespaces: Namespaces,
    /// What its own network namespace is connected to before its first instruction.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Names are answered in it, at 127.0.0.11.
    #[serde(default)]
    pub resolver: bool,
    /// Beyond those that every container has, in the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// Devices beyond the usual ones.
    pub devices: Vec<LinuxDevice>,
    /// Limits of its control group, and rules for devices.
    pub resources: LinuxResources,
    /// Kernel parameters of its namespaces.
    pub sysctl: BTreeMap<String, String>,
    /// A profile of its own; without one and with `unconfined` not set, the policy's.
    pub seccomp: Option<LinuxSeccomp>,
    /// No profile is asked for. The policy may still apply one.
    pub unconfined: bool,
    /// Paths that cannot be read; none is the usual list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written; none is the usual list.
    pub readonly_paths: Option<Vec<String>>,
    /// Our init as the first process (`docker run --init`).
    pub init: bool,
    /// Labels meant for the runtime; `io.casemate.*` are read by it, and can only tighten.
    pub annotations: BTreeMap<String, String>,
}

/// A root filesystem, by layers of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Root {
    /// Layers of the image, the lowest first, at most 120. The container's own is on top of them.
    pub layers: Vec<HexId>,
    /// Nothing may be written to it.
    pub read_only: bool,
}

/// What a container shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    /// Network; an own one has a loopback device and nothing else.
    pub network: NamespaceOf,
    /// Processes.
    pub pid: NamespaceOf,
    /// System V IPC and message queues.
    pub ipc: NamespaceOf,
    /// Host names.
    pub uts: NamespaceOf,
    /// Control groups.
    pub cgroup: NamespaceOf,
    /// `host` asks for the host's ids (`--userns=host`); the policy decides.
    pub user: NamespaceOf,
}

/// Whose namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NamespaceOf {
    /// Its own.
    Own,
    /// The host's: the policy must admit it.
    Host,
    /// That of another running container of the same tenant.
    Container(HexId),
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// An absolute path in the container.
    pub destination: String,
    /// What is mounted.
    pub kind: MountKind,
    /// Nothing may be written to it.
    pub read_only: bool,
}

/// What may be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountKind {
    /// A place of the host. Its path is judged by the policy and resolved by the runtime; the broker never opens it,
    /// except to make a missing directory where `create` is set and the policy admits the place.
    Bind(Bind),
    /// A volume of the store, or a directory beneath it.
    Volume {
        /// The volume's place.
        volume: HexId,
        /// Beneath it; relative, never upwards.
        subpath: Option<String>,
    },
    /// Memory, with mount(8) options such as `size=64m`, `mode=1777`, `noexec`.
    Tmpfs {
        /// The options.
        options: Vec<String>,
    },
}

/// A bind mount of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bind {
    /// An absolute path of the host.
    pub source: String,
    /// Make a directory there when nothing is (`docker run -v`).
    pub create: bool,
    /// With what is mounted beneath it.
    pub recursive: bool,
    /// How mounts travel.
    pub propagation: Propagation,
}

/// mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the host to the container.
    Slave,
    /// Both ways.
    Shared,
}

/// Small files that every container has, written by the broker beside its layer and mounted by it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Files {
    /// `/etc/hosts`
    pub hosts: Option<String>,
    /// `/etc/hostname`
    pub hostname: Option<String>,
    /// `/etc/resolv.conf`
    pub resolv_conf: Option<String>,
}

/// What becomes of the standard streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Streams {
    /// A pseudo-terminal stands for all three.
    pub tty: bool,
    /// Rows and columns of it at the start.
    pub size: Option<(u16, u16)>,
    /// The standard input is open; otherwise it is /dev/null.
    pub stdin: bool,
    /// Close it when the first writer has closed it (`StdinOnce`).
    pub stdin_once: bool,
    /// Where lines are kept.
    pub log: super::LogOrder,
}

/// A container's files as a helper sees them: those of a running one through its own namespaces, those of a stopped one
/// assembled as its next start would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum View {
    /// Layers alone, read-only, the lowest first.
    Layers(Vec<HexId>),
    /// A container with its volumes.
    Container {
        /// Which.
        id: HexId,
        /// What its root is made of.
        root: Root,
        /// What is mounted over it: volumes only are, while it does not run.
        mounts: Vec<Mount>,
    },
    /// A container's own layer, at `/changes`, beside the layers beneath it, which are the root of the view. The own
    /// layer is seen as it lies on the disk, with overlayfs's whiteouts.
    Changes {
        /// Which.
        id: HexId,
        /// The layers beneath, which tell what was changed from what was added.
        layers: Vec<HexId>,
    },
    /// A volume alone, at `/`.
    Volume(HexId),
    /// Nothing of anybody's.
    Empty,
}
