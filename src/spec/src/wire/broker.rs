//! The broker's verbs: everything that the daemon may ask to be done with privilege. Each says when it is accepted, and
//! which descriptors go along.

use oci_spec::runtime::{LinuxResources, Process};
use serde::{Deserialize, Serialize};

use super::{Allowed, Container, Endpoint, Files, HexId, Network, Streams, Task, Tenant, View};

/// One question. Answers may come in another order; `number` says which is whose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Chosen by the asker.
    pub number: u64,
    /// What is wanted.
    pub ask: Ask,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reply {
    /// The question's.
    pub number: u64,
    /// What came of it.
    pub answer: Result<Answer, Refusal>,
}

/// The closed table of verbs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Ask {
    /// First of all, and once: nothing else is accepted before. Answer: [`Answer::Hello`]; no descriptor.
    Hello {
        /// [`super::VERSION`]
        version: u32,
    },
    /// What the store holds. Answer: [`Answer::Stored`].
    List,

    /// Unpack an archive into a staging place that does not exist yet. Descriptors: the archive to read, the pipe for
    /// the helper's [`super::TaskReply`]. Answer: [`Answer::Done`] when the helper has ended well.
    Unpack {
        /// The name of the staging place.
        staging: HexId,
    },
    /// Turn a staging place into a layer. Where the layer is there already, the staging place is dropped.
    KeepLayer {
        /// From.
        staging: HexId,
        /// To: the SHA-256 of the uncompressed archive.
        layer: HexId,
    },
    /// Remove a layer; refused while a container's root has it.
    DropLayer {
        /// Which.
        layer: HexId,
    },
    /// Remove a staging place; one that is not there is as good.
    DropStaging {
        /// Which.
        staging: HexId,
    },

    /// A place for a container's own layer, its log and its small files.
    MakeContainer {
        /// Its id, not in use.
        id: HexId,
        /// Whose.
        tenant: Tenant,
        /// The layers that it will stand on; kept from removal until the container goes.
        layers: Vec<HexId>,
        /// The most that its own layer may hold, in bytes, where the filesystem has project quotas.
        quota: Option<u64>,
    },
    /// Remove it; it must not run. One that is not there is as good.
    RemoveContainer {
        /// Which.
        id: HexId,
    },
    /// What would become of it: judged, nothing started. The container's place must exist. Answer: [`Answer::Judged`].
    Check {
        /// Which place.
        id: HexId,
        /// What is asked.
        container: Box<Container>,
    },
    /// Start it; its place must exist and nothing run in it. Answer: [`Answer::Started`] with one descriptor, the
    /// connection to its shim, on which no byte of output has been missed.
    Start {
        /// Which place.
        id: HexId,
        /// What is asked.
        container: Box<Container>,
        /// Its standard streams.
        streams: Streams,
        /// Its small files.
        files: Files,
    },
    /// Another process in a running container. Answer: [`Answer::Started`] with the connection to its shim.
    Exec {
        /// Which container.
        id: HexId,
        /// The new process's name.
        exec: HexId,
        /// What is to run.
        process: Box<Process>,
        /// All capabilities that the container's policy admits.
        privileged: bool,
        /// Its standard streams.
        streams: Streams,
    },
    /// One more connection to a shim that runs. Answer: [`Answer::Connected`] with it; it does not block (`O_NONBLOCK`).
    Connect {
        /// Which container.
        id: HexId,
        /// Which exec of it; none is its first process.
        exec: Option<HexId>,
    },
    /// Send a signal to the first process, to all, or to an exec's. Accepted while it runs.
    Signal {
        /// Which.
        id: HexId,
        /// Which exec of it; none is its first process, or all.
        exec: Option<HexId>,
        /// signal(7)
        signal: i32,
        /// To every process of it.
        all: bool,
    },
    /// Freeze it. Accepted while it runs.
    Pause {
        /// Which.
        id: HexId,
    },
    /// Thaw it. Accepted while it is frozen.
    Resume {
        /// Which.
        id: HexId,
    },
    /// Other limits. Accepted while it runs.
    Update {
        /// Which.
        id: HexId,
        /// The new values; what is not named stays.
        resources: Box<LinuxResources>,
    },
    /// After the first process has ended: give back ids, control groups and the shim's place, and say how it ended.
    /// Answer: [`Answer::Exited`]. One of which nothing is left answers `NotFound`.
    Release {
        /// Which.
        id: HexId,
    },
    /// Statistics of its control groups, one JSON document a line in the form of `runtime events`. Descriptor: the
    /// pipe to write to; its closing ends them. Answer: [`Answer::Done`] when they have ended.
    Stats {
        /// Which.
        id: HexId,
        /// Once, or every so many seconds.
        every: Option<u16>,
    },
    /// The processes of a container as ps(1) shows them. Descriptor: the pipe to write to. Answer: [`Answer::Done`] after
    /// the last of them.
    Processes {
        /// Which.
        id: HexId,
        /// Options of ps(1), each of `[A-Za-z0-9_,=:%.-]`.
        options: Vec<String>,
    },
    /// Work on files, by the confined helper. Descriptors: the data (read or written, as the task says; /dev/null
    /// where it has none), the pipe for its [`super::TaskReply`]. Answer: [`Answer::Done`] once it has ended.
    Help {
        /// What it sees.
        view: View,
        /// What it does.
        task: Task,
    },

    /// A place for a volume.
    MakeVolume {
        /// Its place's name, not in use.
        volume: HexId,
        /// Whose.
        tenant: Tenant,
    },
    /// Remove it; refused while a running container has it mounted. One that is not there is as good.
    RemoveVolume {
        /// Which.
        volume: HexId,
    },
    /// Limits of a tenant's parent control group; made when missing.
    Limit {
        /// Whose.
        tenant: Tenant,
        /// How much.
        limits: Limits,
    },

    /// Make a network of the host, or make it be as it is said here; to be asked for again after a start of the host.
    /// Refused as [`RefusalKind::Conflict`] where a subnet overlaps a route of the host or another network.
    MakeNetwork {
        /// Which.
        network: Network,
    },
    /// Remove it; refused while a container is connected. One that is not there is as good.
    DropNetwork {
        /// Which.
        network: HexId,
    },
    /// Connect a running container to more networks. All or nothing.
    ConnectNetworks {
        /// Which container.
        id: HexId,
        /// To what, and how; their interfaces' numbers are not in use.
        endpoints: Vec<Endpoint>,
    },
    /// Disconnect a running container. What is not there is as good.
    DisconnectNetworks {
        /// Which container.
        id: HexId,
        /// From what: ids of endpoints.
        endpoints: Vec<HexId>,
    },
    /// Let a running container whose egress is limited reach what a name of its allow-list stands for, for a while.
    Admit {
        /// Which container.
        id: HexId,
        /// What.
        allowed: Vec<Allowed>,
        /// For how long.
        seconds: u32,
    },
    /// A new channel to the resolver; the daemon before had another one, which ends. Answer: [`Answer::Connected`] with
    /// it: a `SOCK_SEQPACKET` socket for [`super::Names`] and [`super::Said`]. It ends when the resolver does: then it is
    /// asked for again.
    Resolver,
    /// Where the kernel tells of connections that egress rules refuse. Answer: [`Answer::Connected`] with a socket of
    /// nfnetlink_log(7) that can be read and cannot be configured. All daemons get the same one, so that nothing is missed
    /// between them.
    Denials,
    /// A line for the audit log, about what the daemon itself decided.
    Audit(Audited),
    /// The daemon ends in good order: the broker lets containers run on (`keep`), or has seen them stopped.
    Farewell {
        /// Containers run on.
        keep: bool,
    },
}

/// What the whole of a tenant's containers may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu: Option<u64>,
    /// Processes.
    pub pids: Option<u64>,
}

/// What the daemon says for the audit log. The broker adds time, sequence and chain, and bounds every text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audited {
    /// Who: the certificate's identity.
    pub who: String,
    /// Whose: the tenant.
    pub tenant: String,
    /// The operation, such as `container.create`.
    pub action: String,
    /// What it was about.
    pub object: String,
    /// `allowed`, `denied`, or an event's name.
    pub verdict: String,
    /// By which rule, why, or what else is to be known.
    pub reason: String,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Answer {
    /// To [`Ask::Hello`]. Descriptors: the listening socket of the API.
    Hello {
        /// The host.
        host: Host,
        /// What has a shim, or had one and ended.
        running: Vec<Adopted>,
    },
    /// To [`Ask::List`].
    Stored(Stored),
    /// To [`Ask::Check`]: the runtime's report, `runtime check --format json`.
    Judged {
        /// The document.
        report: String,
    },
    /// To [`Ask::Start`] and [`Ask::Exec`].
    Started {
        /// The process, as the host numbers it.
        pid: i32,
    },
    /// To [`Ask::Connect`], [`Ask::Resolver`] and [`Ask::Denials`].
    Connected,
    /// To [`Ask::Release`].
    Exited(Exited),
    /// To everything else.
    Done,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exited {
    /// The exit status; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// The kernel ended something in it for want of memory.
    pub out_of_memory: bool,
    /// The shim was lost, and with it the true status: `code` is 137 then.
    pub lost: bool,
}

/// What the broker knows of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// The host's default policy.
    pub policy: String,
    /// The policies that may be named.
    pub policies: Vec<String>,
    /// The store's filesystem takes project quotas.
    pub quotas: bool,
    /// Not root: what that excludes is refused.
    pub rootless: bool,
    /// Of the store's filesystem: bytes in all, and bytes free.
    pub space: (u64, u64),
    /// What the store's filesystem is, `ext4` for instance.
    pub filesystem: String,
    /// The store's place, for people: `docker info` shows it.
    pub data_root: String,
}

/// A container that was there before the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adopted {
    /// Which.
    pub id: HexId,
    /// Which exec of it; none is its first process.
    pub exec: Option<HexId>,
    /// The process, while it runs.
    pub pid: Option<i32>,
    /// How it ended, when it has; to be released.
    pub exited: Option<Exited>,
    /// It is frozen.
    pub paused: bool,
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stored {
    /// Layers.
    pub layers: Vec<HexId>,
    /// Staging places: what a crash left.
    pub staging: Vec<HexId>,
    /// Places of containers.
    pub containers: Vec<HexId>,
    /// Places of volumes.
    pub volumes: Vec<HexId>,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// What kind of no.
    pub kind: RefusalKind,
    /// For people: `what: why (ERRNO)`, as the runtime or the broker said it.
    pub message: String,
    /// The remedy, when it is known.
    pub hint: Option<String>,
}

/// What an API answers differs by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalKind {
    /// The request makes no sense.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// It is there already, or in a state that does not admit it.
    Conflict,
    /// A policy says no.
    Denied,
    /// The container's own program cannot be started: not found (exit status 127).
    NoProgram,
    /// The container's own program cannot be started: not executable (exit status 126).
    NotExecutable,
    /// This host cannot.
    Unsupported,
    /// It failed.
    Failed,
}
