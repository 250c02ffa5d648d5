//! What is known of a network, and of who is on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use casemate_spec::wire::{self, HexId, NetworkKind, Tenant};
use serde::{Deserialize, Serialize};

use super::range::Range;
use crate::containers::shape::{document, zero};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: HexId,
    /// Whose.
    pub tenant: Tenant,
    /// Its name, unique within its tenant.
    pub name: String,
    /// When it was made, in nanoseconds since 1970.
    pub created: u64,
    /// What it is.
    pub driver: Driver,
    /// At most one of each family.
    pub subnets: Vec<Subnet>,
    /// Nothing leaves it.
    pub internal: bool,
    /// For people: everything can be attached.
    pub attachable: bool,
    /// What its driver was told.
    pub options: BTreeMap<String, String>,
    /// What was said of its addresses.
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The tenant's `bridge`.
    pub usual: bool,
    /// It is being made: after a crash it is nobody's.
    pub pending: bool,
}

/// What a network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of ours.
    Bridge,
    /// macvlan upon an interface of the host.
    Macvlan {
        /// Which.
        parent: String,
    },
    /// The host's own.
    Host,
    /// None.
    Null,
}

/// Addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// All of them.
    pub range: Range,
    /// Those that are given to containers that ask for none.
    pub ip_range: Option<Range>,
    /// Nobody's: the gateway's, or what would be.
    pub reserved: Option<IpAddr>,
    /// The way out.
    pub gateway: Option<IpAddr>,
    /// Somebody else's, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// A client has chosen it.
    pub asked: bool,
}

document! {
    /// How a container is to be on a network (`EndpointSettings` of the API).
    EndpointAsked {
        /// Addresses.
        #[serde(rename = "IPAMConfig")]
        ipam_config: Option<AddressesAsked>,
        /// `container[:name]`
        links: Option<Vec<String>>,
        /// Further names.
        aliases: Option<Vec<String>>,
        /// Of its interface.
        mac_address: String,
        /// The driver's.
        driver_opts: Option<BTreeMap<String, String>>,
        /// The highest is the way out.
        gw_priority: i64,
    }
}

document! {
    /// Addresses that a container wants.
    AddressesAsked {
        /// IPv4.
        #[serde(rename = "IPv4Address", skip_serializing_if = "zero")]
        ipv4_address: String,
        /// IPv6.
        #[serde(rename = "IPv6Address", skip_serializing_if = "zero")]
        ipv6_address: String,
        /// Not given here.
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Option::is_none")]
        link_local_ips: Option<Vec<String>>,
    }
}

/// A container on a network, running or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's name, by which it was asked for.
    pub name: String,
    /// Which that is; nothing until it is first needed.
    pub network: Option<HexId>,
    /// What was asked.
    pub asked: EndpointAsked,
    /// While it runs.
    pub endpoint: Option<wire::Endpoint>,
}

impl Network {
    /// A truth among the driver's options.
    fn option(&self, name: &str, usual: bool) -> bool {
        self.options.get(name).map_or(usual, |text| text != "false" && text != "0")
    }

    /// The address on which ports of its containers are published where none is named.
    pub fn binding(&self) -> Option<IpAddr> {
        self.options.get("com.docker.network.bridge.host_binding_ipv4")?.parse().ok()
    }

    /// Whether the host has something of it.
    pub fn is_made(&self) -> bool {
        matches!(self.driver, Driver::Bridge | Driver::Macvlan { .. })
    }

    /// Whether every tenant has it.
    pub fn is_predefined(&self) -> bool {
        self.usual || !self.is_made()
    }

    /// Whether containers on it find each other by name.
    pub fn has_names(&self) -> bool {
        self.is_made() && !self.usual
    }

    /// The subnet of a family.
    pub fn subnet(&self, four: bool) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.range.is_ipv4() == four)
    }

    /// The way out, of a family.
    pub fn gateway(&self, four: bool) -> Option<IpAddr> {
        self.subnet(four)?.gateway
    }

    /// Docker's word for its driver.
    pub fn driver_name(&self) -> &'static str {
        match self.driver {
            Driver::Bridge => "bridge",
            Driver::Macvlan { .. } => "macvlan",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }

    /// Bytes of a packet, where that was said.
    pub fn mtu(&self) -> Option<u16> {
        self.options.get("com.docker.network.driver.mtu")?.parse().ok().filter(|mtu| *mtu > 0)
    }

    /// As it is asked of the broker; nothing of what the host has anyway.
    pub fn wire(&self) -> Option<wire::Network> {
        let kind = match &self.driver {
            Driver::Bridge => NetworkKind::Bridge,
            Driver::Macvlan { parent } => NetworkKind::Macvlan { parent: parent.clone() },
            Driver::Host | Driver::Null => return None,
        };
        let subnet = |subnet: &Subnet| wire::Subnet {
            address: subnet.range.first(),
            prefix: subnet.range.prefix(),
            gateway: subnet.gateway,
        };
        Some(wire::Network {
            id: self.id.clone(),
            tenant: self.tenant.clone(),
            kind,
            subnets: self.subnets.iter().map(subnet).collect(),
            internal: self.internal,
            icc: self.option("com.docker.network.bridge.enable_icc", true),
            masquerade: self.option("com.docker.network.bridge.enable_ip_masquerade", true),
            mtu: self.mtu(),
        })
    }
}

impl Attachment {
    /// Not connected yet.
    pub fn new(name: &str, asked: EndpointAsked) -> Self {
        Self { name: name.to_owned(), network: None, asked, endpoint: None }
    }

    /// The address of a family that is asked for.
    ///
    /// # Errors
    /// It is none.
    pub fn wanted(&self, four: bool) -> crate::Result<Option<IpAddr>> {
        let Some(asked) = &self.asked.ipam_config else { return Ok(None) };
        let text = if four { &asked.ipv4_address } else { &asked.ipv6_address };
        if text.is_empty() {
            return Ok(None);
        }
        let read = text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == four);
        let family = if four { "IPv4" } else { "IPv6" };
        read.map(Some).ok_or_else(|| {
            crate::Failure::invalid(format!("invalid endpoint settings:\ninvalid {family} address: {text}"))
        })
    }

    /// The address that it has, of a family, with its prefix.
    pub fn address(&self, four: bool) -> Option<(IpAddr, u8)> {
        let addresses = &self.endpoint.as_ref()?.addresses;
        addresses.iter().copied().find(|(address, _)| address.is_ipv4() == four)
    }
}
