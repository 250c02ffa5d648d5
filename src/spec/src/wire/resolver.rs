//! What the daemon and `casemate-dns` say to each other, one packet of JSON each over a `SOCK_SEQPACKET` socket; and
//! how it is handed that socket, and those that `casemate-net` has opened in a container's network namespace.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Allowed, HexId};

/// From the daemon, which begins with [`Names::Reset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Names {
    /// Forget every network and client; what follows is the whole. Sockets are kept.
    Reset,
    /// The whole has been said: sockets that came before it and are no client's are closed.
    Complete,
    /// A network by its own name, so that `web.backend` is found where `web` is; none takes the network away, with
    /// every name and address on it.
    Network {
        /// Which.
        network: HexId,
        /// Lower case.
        name: Option<String>,
    },
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
    /// Where other names are asked for, by the host's own interfaces: none where it is on internal networks alone, and
    /// none that is an address of another tenant's.
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

/// To the resolver's listening socket (its standard input; `dns.sock` in the run directory), one packet a connection, with
/// descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Opened {
    /// With two sockets that were opened in a container's network namespace, UDP and TCP in this order, bound to
    /// 127.0.0.11. They take the place of what the container had before.
    Sockets {
        /// Whose.
        container: HexId,
    },
    /// With one socket, at whose other end a daemon speaks [`Names`] from now on. It takes the place of the daemon before.
    /// Until then, and after that one has gone, names are answered as they were known last.
    Daemon,
}
