//! What the daemon and `casemate-dns` say to each other, one packet of JSON each over a `SOCK_SEQPACKET` socket; and
//! how `casemate-net` hands it the sockets that it has opened in a container's network namespace.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Allowed, HexId};

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Names {
    /// Forget every network and client; what follows is the whole. Sockets are kept.
    Reset,
    /// The whole has been said: what of the sockets belongs to no client may be closed.
    Complete,
    /// A name on a network, with its addresses; an empty list takes it away. Several containers may have one name.
    Name {
        /// Which network.
        network: HexId,
        /// Lower case, without a final dot.
        name: String,
        /// In the order in which they are rotated.
        addresses: Vec<IpAddr>,
    },
    /// The name that an address has in answers to reverse queries; none takes it away.
    Reverse {
        /// Which network.
        network: HexId,
        /// Which address.
        address: IpAddr,
        /// `web.backend`, container and network.
        name: Option<String>,
    },
    /// Who asks through the sockets of this container.
    Client {
        /// Which container.
        container: HexId,
        /// Who.
        client: Client,
    },
    /// A container that has gone: its sockets are closed.
    Gone {
        /// Which.
        container: HexId,
    },
    /// The answer to [`Said::Resolved`]: the addresses can be reached, or cannot.
    Admitted {
        /// Which question.
        number: u64,
        /// They can.
        yes: bool,
    },
}

/// A container as the resolver knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Client {
    /// Its networks.
    pub networks: Vec<HexId>,
    /// Names that only it has: links, by name.
    pub own: BTreeMap<String, Vec<IpAddr>>,
    /// Where other names are asked for: none where it is on internal networks alone.
    pub upstream: Vec<SocketAddr>,
    /// Names that may be asked for outside, where its egress is limited; none is all.
    pub allow: Option<Vec<AllowedName>>,
}

/// A name of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedName {
    /// `example.org`, or `*.example.org` for all beneath it.
    pub name: String,
    /// First and last port; none is every port.
    pub ports: Option<(u16, u16)>,
}

/// To the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// A name of a container's allow-list stands for these addresses: they must be reachable before the answer goes out.
    Resolved {
        /// Counted up.
        number: u64,
        /// Who asked.
        container: HexId,
        /// What is to be allowed.
        allowed: Vec<Allowed>,
        /// For so many seconds.
        seconds: u32,
    },
    /// A name that was refused, for the audit log; each at most once in a while.
    Refused {
        /// Who asked.
        container: HexId,
        /// For what.
        name: String,
    },
}

/// With the sockets that were opened in a container's network namespace, over the resolver's other socket: UDP and TCP,
/// in this order, bound to 127.0.0.11.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opened {
    /// Whose.
    pub container: HexId,
}
