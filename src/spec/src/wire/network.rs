//! Networks: bridges of the host, and what connects a container to them.
//!
//! The daemon chooses addresses and names; the broker holds what it chose to a tenant's own networks and to the host's
//! ceiling; `casemate-net` does it. Names of interfaces are derived from ids, so that none can be asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{HexId, Tenant};

/// Why rules refuse a container's connection: it is the word behind the table's name in the prefix of what they log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// The list of what the container may reach does not have it.
    NotListed,
    /// It goes to where clouds keep the credentials of the host.
    LinkLocal,
    /// It goes into another network of the host's, and to nothing that is published there.
    OtherNetwork,
}

impl Denial {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NotListed, Self::LinkLocal, Self::OtherNetwork];

    /// As it is logged.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotListed => "not-listed",
            Self::LinkLocal => "link-local",
            Self::OtherNetwork => "other-network",
        }
    }

    /// The group of nfnetlink_log(7) that hears of what the rules of a table refuse. A group has one listener on the host,
    /// so that each instance has its own, by the digits in its table's name; in the upper half, since whoever else logs
    /// counts from 0.
    pub fn group(table: &str) -> u16 {
        const USUAL: u16 = 0x3378;
        let digits = table.rsplit('-').next().and_then(|digits| digits.get(..4));
        let own = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        0x8000 | own.unwrap_or(USUAL)
    }
}

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
    /// What is published of it. The host's port is a number by now: whoever asks has chosen it.
    pub ports: Vec<Published>,
    /// Where it may connect to; none is everywhere.
    pub egress: Option<Egress>,
    /// Link-local addresses can be reached, where clouds keep the credentials of the host (169.254.0.0/16, fe80::/10,
    /// fd00:ec2::254): only where that was asked for and a policy admits it.
    pub link_local: bool,
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
/// wrong, a line on its standard error in the form of every program of ours: 1 where it failed, 2 where the order makes no
/// sense, 3 where somebody else has what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetOrder {
    /// Make the bridge, its addresses and its rules; one that is there is made to be so.
    Make {
        /// Which.
        network: Network,
        /// The tenant's other networks, whose published ports can be reached from it, and its from them.
        kin: Vec<HexId>,
    },
    /// Remove it with its rules; one that is not there is as good.
    Drop {
        /// Which.
        network: Network,
        /// The tenant's other networks.
        kin: Vec<HexId>,
    },
    /// Connect the network namespace of a process that runs. All or nothing.
    Attach {
        /// The process, by the host's number; 0 is the one that a hook is told of, or descriptor 3 is the namespace.
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
        /// Their networks.
        networks: Vec<Network>,
        /// Descriptor 3 is the network namespace, which stays: interfaces with no end on the host are removed in it.
        inside: bool,
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
    /// Have the netlink socket that is standard output told of every connection that egress rules refuse
    /// ([`Denial::group`]). It goes on being told for as long as it is open.
    Listen,
}

impl Network {
    /// The bridge's name: Docker's scheme with a prefix of ours.
    pub fn bridge(&self) -> String {
        Self::bridge_of(&self.id)
    }

    /// The name of a network's bridge.
    pub fn bridge_of(id: &HexId) -> String {
        interface("cmb", id)
    }
}

impl Subnet {
    /// The first address that has the prefix: the same as `address` in a subnet that is well-formed.
    pub fn first(&self) -> IpAddr {
        of_bits(bits(self.address) & self.mask(), self.address)
    }

    /// The last.
    pub fn last(&self) -> IpAddr {
        of_bits(bits(self.address) | !self.mask(), self.address)
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && bits(address) & self.mask() == bits(self.address) & self.mask()
    }

    /// Whether an address is in it that a host may have: neither that of the network itself nor IPv4's broadcast.
    pub fn has_host(&self, address: IpAddr) -> bool {
        let broadcast = self.address.is_ipv4() && address == self.last();
        self.contains(address) && address != self.first() && !broadcast
    }

    /// Whether two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shorter = if self.prefix <= other.prefix { self } else { other };
        let longer = if self.prefix <= other.prefix { other } else { self };
        shorter.contains(longer.address)
    }

    /// Whether an address of it stands for something else than a host: this host, a link, a group, documentation of none.
    pub fn is_special(&self) -> bool {
        let special: [(IpAddr, u8); 7] = [
            (Ipv4Addr::UNSPECIFIED.into(), 8),
            (Ipv4Addr::LOCALHOST.into(), 8),
            (Ipv4Addr::new(169, 254, 0, 0).into(), 16),
            // Groups, and what is reserved above them.
            (Ipv4Addr::new(224, 0, 0, 0).into(), 3),
            (Ipv6Addr::UNSPECIFIED.into(), 8),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10),
            (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
        ];
        special.into_iter().any(|(address, prefix)| self.overlaps(&Self { address, prefix, gateway: None }))
    }

    /// Of 128 bits, IPv4's in the lowest 32.
    fn mask(&self) -> u128 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        let host = u32::from(width - self.prefix.min(width));
        u128::MAX.checked_shl(host).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// What does not fit IPv4 is cut off: the upper bits of a mask are all set.
fn of_bits(bits: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(bits).into(),
    }
}

impl Endpoint {
    /// The name of the host's end.
    pub fn host_interface(&self) -> String {
        interface("cmv", &self.id)
    }

    /// The address that the container's end gives itself (RFC 4291, appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac;
        let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
    }

    /// Every address that its packets may come from.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(|(address, _)| *address).chain([self.link_local().into()])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        let (address, prefix) = (address.parse().expect("an address"), prefix.parse().expect("a number"));
        Subnet { address, prefix, gateway: None }
    }

    #[test]
    fn subnets_have_first_last_and_hosts() {
        let four = subnet("10.1.2.0/23");
        assert_eq!(
            (four.first(), four.last()),
            (subnet("10.1.2.0/0").address, subnet("10.1.3.255/0").address)
        );
        for (address, contains, host) in [
            ("10.1.2.0", true, false),
            ("10.1.2.1", true, true),
            ("10.1.3.255", true, false),
            ("10.1.4.0", false, false),
            ("::a01:201", false, false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!((four.contains(address), four.has_host(address)), (contains, host), "{address}");
        }
        let six = subnet("fd00:1::/64");
        assert_eq!(six.last(), "fd00:1::ffff:ffff:ffff:ffff".parse::<IpAddr>().expect("an address"));
        assert!(six.has_host("fd00:1::ffff:ffff:ffff:ffff".parse().expect("an address")));
        assert!(subnet("0.0.0.0/0").contains("255.1.1.1".parse().expect("an address")));
    }

    #[test]
    fn the_address_of_an_interface_is_what_the_kernel_gives_it() {
        let endpoint = Endpoint {
            id: HexId::from_bytes([1; 32]),
            network: HexId::from_bytes([2; 32]),
            number: 0,
            mac: [0x02, 0x42, 0xac, 0x11, 0x00, 0x02],
            addresses: vec![(subnet("172.17.0.2/16").address, 16)],
            routes: Vec::new(),
            ports: Vec::new(),
            egress: None,
            link_local: false,
        };
        let sources: Vec<String> = endpoint.sources().map(|address| address.to_string()).collect();
        assert_eq!(sources, ["172.17.0.2", "fe80::42:acff:fe11:2"]);
    }

    #[test]
    fn every_instance_has_a_group_of_its_own() {
        assert_eq!(Denial::group("casemate-12ab000000000000"), 0x92ab);
        assert_eq!(Denial::group("casemate-f2ab000000000000"), 0xf2ab);
        assert_eq!(Denial::group("casemate"), Denial::group("casemate-é"));
    }

    #[test]
    fn what_overlaps_does_so_both_ways() {
        for (one, other, overlap) in [
            ("10.0.0.0/8", "10.1.2.0/24", true),
            ("10.1.2.0/24", "10.1.3.0/24", false),
            ("10.1.2.0/24", "10.1.2.0/24", true),
            ("::/0", "10.0.0.0/8", false),
            ("fd00::/16", "fd00:1::/64", true),
        ] {
            let (one, other) = (subnet(one), subnet(other));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (overlap, overlap), "{one:?} {other:?}");
        }
        for special in
            ["127.0.0.0/24", "169.254.169.0/24", "224.1.0.0/16", "240.0.0.0/8", "fe80::/64", "ff02::/64"]
        {
            assert!(subnet(special).is_special(), "{special}");
        }
        assert!(!subnet("172.17.0.0/16").is_special() && !subnet("2001:db8::/64").is_special());
    }
}
