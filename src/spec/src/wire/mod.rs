//! What the unprivileged daemon, the privileged broker and the shims say to each other.
//!
//! The vocabulary is closed: names are fixed-width ids, never paths; whatever has no word here cannot be asked for. A
//! message is one packet of a `SOCK_SEQPACKET` socket (unix(7)), JSON, with descriptors beside it; one longer than
//! [`INLINE`] travels in a sealed memfd whose descriptor comes first, behind a packet of the single byte [`IN_MEMFD`].

mod audit;
mod bounds;
mod broker;
mod bundle;
mod config;
mod container;
mod forward;
mod name;
mod network;
mod refusal;
mod resolver;
mod shim;
mod task;
mod verb;

pub use audit::Entry;
pub use broker::{
    Adopted, Answer, Ask, Audited, Exited, Host, Limits, Refusal, RefusalKind, Reply, Request, Stored,
};
pub use bundle::{Program, StoreDocument};
pub use config::{MASKED, Places, READ_ONLY, Written, all_capabilities};
pub use container::{
    Bind, Container, Files, Mount, MountKind, NamespaceOf, Namespaces, Propagation, Root, Streams, View,
};
pub use forward::Forward;
pub use name::{HexId, PolicyName, Tenant};
pub use network::{
    Allowed, Denial, Egress, Endpoint, NetOrder, Network, NetworkKind, Protocol, Published, Subnet,
};
pub use resolver::{AllowedName, Client, Names, Opened, Said};
pub use shim::{Frame, LogOrder, Order, Outcome, PACKET};
pub use task::{Change, ChangeKind, PathStat, Task, TaskFailure, TaskOrder, TaskReply, UserEntry};
pub use verb::{Verb, Wants, When};

/// The version of this vocabulary. Both sides come from one build; a difference is an error, not a negotiation.
pub const VERSION: u32 = 1;
/// The longest message inside one packet, in bytes.
pub const INLINE: usize = 64 << 10;
/// The longest message of all, in bytes.
pub const LONGEST: usize = 8 << 20;
/// The packet that says: the message is in the memfd.
pub const IN_MEMFD: u8 = b'F';
/// The most descriptors beside one message.
pub const DESCRIPTORS: usize = 8;

/// Whatever containers own lies on the disk under ids of its own, from this one on: id 0 of an image is this id of the
/// host, so no file of root's is among them, and nothing of the host runs as any of them. Just below the pool of the
/// runtime's ranges.
pub const STORE_IDS: u32 = 0x3fff_0000;
/// How many.
pub const STORE_COUNT: u32 = 65_536;
/// The daemon's user and group, counted from [`STORE_IDS`] on the disk, and as it is in its own user namespace.
pub const DAEMON: u32 = 65_532;
/// The shims' user, counted from [`STORE_IDS`]; their group is the daemon's.
pub const SHIM: u32 = 65_531;
/// The user and the group of whoever sets networks up, counted from [`STORE_IDS`]: no file is theirs.
pub const NET: u32 = 65_529;
