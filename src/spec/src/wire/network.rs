//! Networks: bridges of the host, and what connects a container to them.
//!
//! The daemon chooses addresses and names; the broker holds what it chose to a tenant's own networks and to the host's
//! ceiling; `casemate-net` does it. Names of interfaces are derived from ids, so that none can be asked for.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{HexId, Tenant};

/// A network of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Its id. The bridge is named [`Network::bridge`].
    pub id: HexId,
    /// Whose. No packet goes from one tenant's network to another's.
    pub tenant: Tenant,
    /// What it is on the host.
    pub kind: NetworkKind,
    /// At most one of IPv4 and one of IPv6. They overlap no other network and no route of the host.
    pub subnets: Vec<Subnet>,
    /// Nothing leaves it, and nothing is published from it.
    pub internal: bool,
    /// Containers on it reach each other (`com.docker.network.bridge.enable_icc`).
    pub icc: bool,
    /// Addresses are hidden behind the host's when they leave it (`com.docker.network.bridge.enable_ip_masquerade`).
    pub masquerade: bool,
    /// Bytes of a packet; none is the kernel's 1500.
    pub mtu: Option<u16>,
}

/// What a network is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkKind {
    /// A bridge of ours.
    Bridge,
    /// macvlan(4) upon an interface of the host that the operator's configuration lists: no rule of ours sees its packets.
    Macvlan {
        /// The host's interface.
        parent: String,
    },
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subnet {
    /// The first address of it.
    pub address: IpAddr,
    /// Bits that all have in common.
    pub prefix: u8,
    /// The bridge's own address, none on a network that has no way out.
    pub gateway: Option<IpAddr>,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Its id. The host's end of the pair is named after it.
    pub id: HexId,
    /// Which network; its bridge is there.
    pub network: HexId,
    /// The number in the interface's name: `eth0`.
    pub number: u16,
    /// Locally administered, unicast.
    pub mac: [u8; 6],
    /// One of each of the network's subnets, with its prefix. Packets from any other address are dropped.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The way out, of this endpoint alone among a container's: none where the network is internal.
    pub routes: Vec<IpAddr>,
    /// What is published of it.
    pub ports: Vec<Published>,
    /// Where it may connect to; none is everywhere.
    pub egress: Option<Egress>,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Published {
    /// How.
    pub protocol: Protocol,
    /// The host's address, which may be unspecified, and port.
    pub host: SocketAddr,
    /// The container's port.
    pub port: u16,
}

/// IP protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
}

/// Where a container may open connections to, beyond its own networks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Egress {
    /// Addresses and ports; whatever is in none of them is refused and logged.
    pub allow: Vec<Allowed>,
}

/// One line of an allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowed {
    /// The first address of a range.
    pub address: IpAddr,
    /// Bits that all have in common.
    pub prefix: u8,
    /// Both protocols, where there is none.
    pub protocol: Option<Protocol>,
    /// First and last port; none is every port.
    pub ports: Option<(u16, u16)>,
}

/// What `casemate-net` is told, as JSON on its standard input. It answers with its exit status and, where something is
/// wrong, a line on its standard error in the form of every program of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetOrder {
    /// Make the bridge, its addresses and its rules; one that is there is made to be so.
    Make(Network),
    /// Remove it with its rules; one that is not there is as good.
    Drop(HexId),
    /// Connect the network namespace of a process that runs. All or nothing.
    Attach {
        /// The process, by the host's number.
        pid: i32,
        /// What is connected.
        endpoints: Vec<Endpoint>,
        /// Their networks.
        networks: Vec<Network>,
        /// Whose names are answered in it: the resolver's sockets are opened there and handed to it.
        resolver: Option<HexId>,
    },
    /// Remove what was attached; what is not there is as good.
    Detach {
        /// What.
        endpoints: Vec<Endpoint>,
    },
    /// Make everything be as it is said here, in one transaction for the rules: after a start of the host, of the broker,
    /// or after somebody has flushed our table.
    Repair {
        /// All networks.
        networks: Vec<Network>,
        /// All endpoints of what runs.
        endpoints: Vec<Endpoint>,
    },
    /// Let an endpoint reach what a name stands for, for so many seconds.
    Admit {
        /// The endpoint's addresses.
        from: Vec<IpAddr>,
        /// What is allowed.
        allowed: Vec<Allowed>,
        /// Seconds.
        seconds: u32,
    },
}

impl Network {
    /// The bridge's name: Docker's scheme with a prefix of ours.
    pub fn bridge(&self) -> String {
        interface("cmb", &self.id)
    }
}

impl Endpoint {
    /// The name of the host's end.
    pub fn host_interface(&self) -> String {
        interface("cmv", &self.id)
    }

    /// The name of the container's end.
    pub fn interface(&self) -> String {
        format!("eth{}", self.number)
    }
}

/// At most 15 bytes: IFNAMSIZ.
fn interface(prefix: &str, id: &HexId) -> String {
    id.as_str().chars().take(12).fold(prefix.to_owned(), |mut name, digit| {
        name.push(digit);
        name
    })
}
