//! The sets and maps in which all facts about networks and containers stand: rules are few, and never change.

use std::net::IpAddr;

use super::batch::{BRIDGE, INET};
use super::expression::{ELEMENT, VALUE};
use crate::link::octets;
use crate::netlink::Writer;

/// A field of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// An interface's name.
    Interface,
    /// A MAC address.
    Mac,
    /// An IPv4 address.
    Four,
    /// An IPv6 address.
    Six,
    /// An IP protocol's number.
    Protocol,
    /// A port.
    Port,
    /// First and last port as one.
    Range,
}

/// A set, or a map where it has data.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// Of which table.
    pub family: u8,
    /// Its name.
    pub name: &'static str,
    /// What its keys are made of.
    pub key: &'static [Field],
    /// What stands with a key.
    pub data: &'static [Field],
    /// Keys are ranges in some of their fields.
    pub ranges: bool,
    /// Elements go by themselves, after a time.
    pub fades: bool,
    /// Elements are put there by packets.
    pub grows: bool,
}

const fn set(family: u8, name: &'static str, key: &'static [Field]) -> Set {
    Set { family, name, key, data: &[], ranges: false, fades: false, grows: false }
}

const fn ranges(name: &'static str, key: &'static [Field]) -> Set {
    Set { ranges: true, ..set(INET, name, key) }
}

const fn map(name: &'static str, key: &'static [Field], data: &'static [Field]) -> Set {
    Set { data, ..set(INET, name, key) }
}

use Field::{Four, Interface, Mac, Port, Protocol, Range, Six};

/// Our bridges.
pub static BRIDGES: Set = set(INET, "bridges", &[Interface]);
/// Those that nothing leaves.
pub static INTERNAL: Set = set(INET, "internal", &[Interface]);
/// Those whose addresses are hidden behind the host's.
pub static HIDDEN: Set = set(INET, "hidden", &[Interface]);
/// Each bridge, twice: from itself to itself.
pub static LOOPS: Set = set(INET, "loops", &[Interface, Interface]);
/// The same of those whose containers may talk to each other.
pub static TALKS: Set = set(INET, "talks", &[Interface, Interface]);
/// From bridge to bridge of one tenant, itself among them.
pub static KIN: Set = set(INET, "kin", &[Interface, Interface]);
/// A bridge's own addresses.
pub static GATEWAYS4: Set = set(INET, "gateways4", &[Four]);
/// A bridge's own addresses.
pub static GATEWAYS6: Set = set(INET, "gateways6", &[Six]);
/// The addresses on a bridge.
pub static SUBNETS4: Set = ranges("subnets4", &[Interface, Four]);
/// The addresses on a bridge.
pub static SUBNETS6: Set = ranges("subnets6", &[Interface, Six]);
/// Ports published on any address of the host.
pub static ANY4: Set = map("any4", &[Protocol, Port], &[Four, Port]);
/// Ports published on any address of the host.
pub static ANY6: Set = map("any6", &[Protocol, Port], &[Six, Port]);
/// Ports published on one address.
pub static AT4: Set = map("at4", &[Four, Protocol, Port], &[Four, Port]);
/// Ports published on one address.
pub static AT6: Set = map("at6", &[Six, Protocol, Port], &[Six, Port]);
/// Each container that publishes something, twice: from itself to itself.
pub static SELVES4: Set = set(INET, "selves4", &[Four, Four]);
/// The same.
pub static SELVES6: Set = set(INET, "selves6", &[Six, Six]);
/// Who may reach link-local addresses.
pub static NEAR4: Set = set(INET, "near4", &[Interface, Four]);
/// Who may reach link-local addresses.
pub static NEAR6: Set = set(INET, "near6", &[Interface, Six]);
/// Whose egress is limited.
pub static LIMITED4: Set = set(INET, "limited4", &[Interface, Four]);
/// Whose egress is limited.
pub static LIMITED6: Set = set(INET, "limited6", &[Interface, Six]);
/// Protocol and ports of which there is some allowance, each with rules of its own.
pub static CLASSES: Set = set(INET, "classes", &[Protocol, Range]);
/// Who may reach which addresses, by which protocol and ports.
pub static ALLOWED4: Set = ranges("allowed4", &[Four, Four, Protocol, Range]);
/// Who may reach which addresses, by which protocol and ports.
pub static ALLOWED6: Set = ranges("allowed6", &[Six, Six, Protocol, Range]);
/// The same for a while.
pub static ADMITTED4: Set = Set { fades: true, ..set(INET, "admitted4", &[Four, Four, Protocol, Range]) };
/// The same for a while.
pub static ADMITTED6: Set = Set { fades: true, ..set(INET, "admitted6", &[Six, Six, Protocol, Range]) };
/// Of whose refused packets the log was told lately, each with how many more it may be told of.
pub static REFUSED4: Set = Set { fades: true, grows: true, ..set(INET, "refused4", &[Interface, Four]) };
/// Of whose refused packets the log was told lately, each with how many more it may be told of.
pub static REFUSED6: Set = Set { fades: true, grows: true, ..set(INET, "refused6", &[Interface, Six]) };
/// Our ports of bridges.
pub static PORTS: Set = set(BRIDGE, "ports", &[Interface]);
/// Who may send through a port.
pub static MACS: Set = set(BRIDGE, "macs", &[Interface, Mac]);
/// Who may send through a port.
pub static SENDERS4: Set = set(BRIDGE, "senders4", &[Interface, Mac, Four]);
/// Who may send through a port.
pub static SENDERS6: Set = set(BRIDGE, "senders6", &[Interface, Mac, Six]);

/// All of them.
pub static ALL: [&Set; 31] = [
    &BRIDGES, &INTERNAL, &HIDDEN, &LOOPS, &TALKS, &KIN, &GATEWAYS4, &GATEWAYS6, &SUBNETS4, &SUBNETS6, &ANY4,
    &ANY6, &AT4, &AT6, &SELVES4, &SELVES6, &NEAR4, &NEAR6, &LIMITED4, &LIMITED6, &CLASSES, &ALLOWED4,
    &ALLOWED6, &ADMITTED4, &ADMITTED6, &REFUSED4, &REFUSED6, &PORTS, &MACS, &SENDERS4, &SENDERS6,
];

impl Field {
    /// Its bytes in a register, padded.
    const fn width(self) -> u32 {
        match self {
            Self::Interface | Self::Six => 16,
            Self::Mac => 8,
            Self::Four | Self::Protocol | Self::Port | Self::Range => 4,
        }
    }

    /// Its bytes.
    const fn length(self) -> u32 {
        match self {
            Self::Mac => 6,
            Self::Protocol => 1,
            Self::Port => 2,
            other => other.width(),
        }
    }

    /// nft(8)'s number for its type, by which it is shown.
    const fn kind(self) -> u32 {
        match self {
            Self::Interface => 41,
            Self::Mac => 9,
            Self::Four => 7,
            Self::Six => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Range => 19,
        }
    }
}

/// Bytes of fields one after the other: what they take in registers, where there are several.
fn length(fields: &[Field]) -> u32 {
    match fields {
        [one] => one.length(),
        several => several.iter().map(|field| field.width()).sum(),
    }
}

fn kind(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |kind, field| kind << 6 | field.kind())
}

impl Set {
    /// `NFTA_SET_*`
    pub fn describe(&self, number: u32, body: &mut Writer) {
        /// `NFT_SET_*`
        const INTERVAL: u32 = 4;
        const MAP: u32 = 8;
        const TIMEOUT: u32 = 16;
        const EVALUATED: u32 = 32;
        const CONCATENATED: u32 = 128;
        let flag = |has: bool, bit| if has { bit } else { 0 };
        let flags = flag(self.ranges, INTERVAL | CONCATENATED)
            | flag(!self.data.is_empty(), MAP)
            | flag(self.fades, TIMEOUT)
            | flag(self.grows, EVALUATED);
        body.text(2, self.name);
        body.network(3, flags);
        body.network(4, kind(self.key));
        body.network(5, length(self.key));
        if !self.data.is_empty() {
            body.network(6, kind(self.data));
            body.network(7, length(self.data));
        }
        body.network(10, number);
        if self.key == [Interface] {
            // For nft(8): its bytes are as the host has them (NFTNL_UDATA_SET_KEYBYTEORDER).
            let [a, b, c, d] = 1_u32.to_ne_bytes();
            body.attribute(13, &[0, 4, a, b, c, d]);
        }
        if self.ranges {
            body.nest(9, |description| {
                description.nest(2, |fields| {
                    for field in self.key {
                        fields.nest(ELEMENT, |one| one.network(1, field.length()));
                    }
                });
            });
        }
    }
}

/// Something in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Which.
    pub set: &'static Set,
    /// For people.
    pub what: String,
    key: Vec<u8>,
    last: Vec<u8>,
    data: Vec<u8>,
    milliseconds: u64,
}

/// A value for a field, and the last of a range where it is one.
#[derive(Debug, Clone)]
pub struct Value {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Value {
    fn new(bytes: &[u8], width: u32) -> Self {
        let mut first = bytes.to_vec();
        first.resize(usize::try_from(width).unwrap_or(0), 0);
        Self { last: first.clone(), first }
    }

    /// An interface's name.
    pub fn interface(name: &str) -> Self {
        Self::new(name.as_bytes(), Interface.width())
    }

    /// A MAC address.
    pub fn mac(mac: [u8; 6]) -> Self {
        Self::new(&mac, Mac.width())
    }

    /// An address.
    pub fn address(address: IpAddr) -> Self {
        let bytes = octets(address);
        Self::new(&bytes, if bytes.len() == 4 { 4 } else { 16 })
    }

    /// A range of addresses.
    pub fn addresses(first: IpAddr, last: IpAddr) -> Self {
        Self { last: octets(last), first: octets(first) }
    }

    /// A protocol; 0 is any.
    pub fn protocol(number: u8) -> Self {
        Self::new(&[number], Protocol.width())
    }

    /// A port.
    pub fn port(number: u16) -> Self {
        Self::new(&number.to_be_bytes(), Port.width())
    }

    /// Ports, as one.
    pub fn range((first, last): (u16, u16)) -> Self {
        Self::new(&[first.to_be_bytes(), last.to_be_bytes()].concat(), Range.width())
    }
}

impl Element {
    /// A key, of as many values as the set's keys have fields.
    pub fn new(set: &'static Set, what: impl Into<String>, key: &[Value]) -> Self {
        let join = |part: fn(&Value) -> &[u8]| key.iter().flat_map(|value| part(value).to_vec()).collect();
        Self {
            set,
            what: what.into(),
            key: join(|value| &value.first),
            last: if set.ranges { join(|value| &value.last) } else { Vec::new() },
            data: Vec::new(),
            milliseconds: 0,
        }
    }

    /// The key's bytes.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// With what stands there.
    pub fn with(mut self, data: &[Value]) -> Self {
        self.data = data.iter().flat_map(|value| value.first.clone()).collect();
        self
    }

    /// For so long.
    pub fn fading(mut self, milliseconds: u64) -> Self {
        self.milliseconds = milliseconds;
        self
    }

    /// `NFTA_SET_ELEM_*`, with its data where it is to be put there.
    pub fn write(&self, whole: bool, list: &mut Writer) {
        // A key of one field is as long as the field.
        let cut = |bytes: &[u8]| {
            let length = usize::try_from(length(self.set.key)).unwrap_or(0);
            bytes.get(..length).unwrap_or(bytes).to_vec()
        };
        list.nest(ELEMENT, |element| {
            element.nest(1, |key| key.attribute(VALUE, &cut(&self.key)));
            if !self.last.is_empty() {
                element.nest(10, |key| key.attribute(VALUE, &cut(&self.last)));
            }
            if whole && !self.data.is_empty() {
                element.nest(2, |data| data.attribute(VALUE, &self.data));
            }
            if whole && self.milliseconds > 0 {
                element.attribute(4, &self.milliseconds.to_be_bytes());
            }
        });
    }
}
