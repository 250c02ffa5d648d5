//! What is mounted in a container, once it is known what was meant.

use casemate_spec::wire::HexId;
use serde::{Deserialize, Serialize};

use crate::files::volumes::Backing;

/// One mount, as inspect shows it and as it is asked of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What is mounted.
    pub kind: PointKind,
    /// An absolute path in the container.
    pub destination: String,
    /// Nothing may be written to it.
    pub read_only: bool,
    /// The options as they were written, for people.
    pub mode: String,
    /// It was asked for by `Mounts` or is a volume's or a bind: inspect lists it. `Tmpfs` is not listed.
    pub listed: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PointKind {
    /// A place of the host.
    Bind {
        /// Its path.
        source: String,
        /// Make a directory there when nothing is.
        create: bool,
        /// With what is mounted beneath it.
        recursive: bool,
        /// As it was asked: `rprivate` unless it was.
        propagation: String,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// Its place in the store.
        place: HexId,
        /// It has no name but a random one, and goes with the container.
        anonymous: bool,
        /// A directory beneath it.
        subpath: Option<String>,
        /// What stands behind it.
        #[serde(default)]
        backing: Backing,
    },
    /// Memory.
    Tmpfs {
        /// mount(8) options.
        options: Vec<String>,
    },
}
