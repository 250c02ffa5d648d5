//! Where containers may open connections to: lists of a tenant's, which a container's label can only shorten.

use std::net::{IpAddr, Ipv6Addr};

use casemate_spec::wire::{Allowed, AllowedName, Protocol};

use super::range::{Range, within};
use crate::{Failure, Result};

/// The label by which a container asks for less than its tenant has.
pub const LABEL: &str = "io.casemate.egress";
/// The same service of one cloud, under IPv6.
const CLOUD: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254);
/// A longer list is none that anybody wrote.
const MOST: usize = 256;

/// What is allowed; nothing else is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Addresses and ports.
    pub addresses: Vec<Allowed>,
    /// Names and ports.
    pub names: Vec<AllowedName>,
}

impl Rules {
    /// Reads a list: `10.0.0.0/8`, `10.0.0.5:443/tcp`, `[fd00::/64]:80-90`, `example.org:443`, `*.example.org`.
    ///
    /// # Errors
    /// The first entry that is none.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut rules = Self::default();
        for (count, entry) in entries.into_iter().enumerate() {
            let refuse = || {
                Failure::invalid(format!(
                    "invalid egress rule {entry:?}: expected ADDRESS[/PREFIX] or NAME, with [:PORT[-PORT]] and [/tcp|/udp]"
                ))
            };
            if count == MOST {
                return Err(Failure::invalid(format!("more than {MOST} egress rules")));
            }
            rules.add(entry).ok_or_else(refuse)?;
        }
        Ok(rules)
    }

    /// The label's form: a list with commas or spaces; `none` is an empty one.
    ///
    /// # Errors
    /// As for [`Rules::parse`].
    pub fn of_label(text: &str) -> Result<Self> {
        match text.trim() {
            "none" => Ok(Self::default()),
            "" => Err(Failure::invalid(format!("label {LABEL} is empty: \"none\" allows nothing"))),
            list => Self::parse(list.split([',', ' ']).filter(|entry| !entry.is_empty())),
        }
    }

    fn add(&mut self, entry: &str) -> Option<()> {
        let (rest, protocol) = match entry.strip_suffix("/tcp") {
            Some(rest) => (rest, Some(Protocol::Tcp)),
            None => match entry.strip_suffix("/udp") {
                Some(rest) => (rest, Some(Protocol::Udp)),
                None => (entry, None),
            },
        };
        let (whom, ports) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((whom, "")) => (whom, None),
            Some((whom, behind)) => (whom, Some(behind.strip_prefix(':')?)),
            // Without brackets, several colons are an address of IPv6.
            None if rest.matches(':').count() == 1 => {
                rest.split_once(':').map(|(whom, ports)| (whom, Some(ports)))?
            }
            None => (rest, None),
        };
        let ports = ports.map(ports_of).map_or(Some(None), |ports| ports.map(Some))?;
        if let Some((_, range)) = within(whom) {
            let (address, prefix) = (range.first(), range.prefix());
            self.addresses.push(Allowed { address, prefix, protocol, ports });
            return Some(());
        }
        // A name says nothing of protocols: what it stands for is opened for both.
        (protocol.is_none() && name(whom)).then(|| {
            let name = whom.trim_end_matches('.').to_ascii_lowercase();
            self.names.push(AllowedName { name, ports });
        })
    }

    /// What both allow.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let pairs = self.addresses.iter().flat_map(|a| other.addresses.iter().map(move |b| (a, b)));
        let names = self.names.iter().flat_map(|a| other.names.iter().map(move |b| (a, b)));
        Self {
            addresses: pairs.filter_map(|(a, b)| address_both(a, b)).collect(),
            names: names.filter_map(|(a, b)| name_both(a, b)).collect(),
        }
    }
}

fn ports_of(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let (low, high) = (digits(low).then(|| low.parse().ok())??, digits(high).then(|| high.parse().ok())??);
    (0 < low && low <= high).then_some((low, high))
}

/// Whether a text is a name of the DNS with two labels at least, `*` the first of them perhaps. What looks like an address
/// and is none is no name either.
fn name(text: &str) -> bool {
    let plain = text.strip_prefix("*.").unwrap_or(text).trim_end_matches('.');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
    };
    let last = plain.rsplit('.').next().unwrap_or_default();
    plain.len() <= 253 && plain.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

fn both_ports(a: Option<(u16, u16)>, b: Option<(u16, u16)>) -> Option<Option<(u16, u16)>> {
    match (a, b) {
        (None, other) | (other, None) => Some(other),
        (Some(a), Some(b)) => {
            let (low, high) = (a.0.max(b.0), a.1.min(b.1));
            (low <= high).then_some(Some((low, high)))
        }
    }
}

fn address_both(a: &Allowed, b: &Allowed) -> Option<Allowed> {
    let ports = both_ports(a.ports, b.ports)?;
    let protocol = match (a.protocol, b.protocol) {
        (None, other) | (other, None) => other,
        (Some(a), Some(b)) => (a == b).then_some(Some(a))?,
    };
    let (wide, narrow) = if a.prefix <= b.prefix { (a, b) } else { (b, a) };
    let covers = Range::around(wide.address, wide.prefix)?.contains(narrow.address);
    covers.then_some(Allowed { address: narrow.address, prefix: narrow.prefix, protocol, ports })
}

/// Whether a name is a listed one, or beneath it.
pub fn is_of(listed: &str, name: &str) -> bool {
    listed == name || listed.strip_prefix('*').is_some_and(|beneath| name.ends_with(beneath))
}

fn name_both(a: &AllowedName, b: &AllowedName) -> Option<AllowedName> {
    let name = match (is_of(&a.name, &b.name), is_of(&b.name, &a.name)) {
        (true, _) => &b.name,
        (false, true) => &a.name,
        (false, false) => return None,
    };
    Some(AllowedName { name: name.clone(), ports: both_ports(a.ports, b.ports)? })
}

/// Whether an address is one that stands for the link itself: the metadata services of clouds answer there, and give
/// whoever asks the machine's own credentials.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.is_link_local(),
            None => address.is_unicast_link_local() || address == CLOUD,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn rules(list: &[&str]) -> Rules {
        Rules::parse(list.iter().copied()).expect("rules")
    }

    #[test]
    fn rules_are_read() {
        let read = rules(&[
            "10.0.0.0/8",
            "10.0.0.5:443/tcp",
            "[fd00::/64]:80-90",
            "fd00::1",
            "Example.org:443",
            "*.debian.org",
        ]);
        let first = read.addresses[1];
        assert_eq!((first.prefix, first.protocol, first.ports), (32, Some(Protocol::Tcp), Some((443, 443))));
        assert_eq!((read.addresses[2].prefix, read.addresses[2].ports), (64, Some((80, 90))));
        assert_eq!(read.addresses[3].prefix, 128);
        assert_eq!(read.names[0], AllowedName { name: "example.org".to_owned(), ports: Some((443, 443)) });
        assert_eq!(read.names[1].name, "*.debian.org");
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0:80",
            "a b",
            "x:",
            "x:0",
            "x:9-8",
            "*",
            "a.*.b",
            "-a.b",
            "example.org/tcp",
            "256.1.1.1",
            "[::1",
            "a..b",
        ] {
            assert!(Rules::parse([bad]).is_err(), "{bad:?}");
        }
        assert_eq!(Rules::of_label("none"), Ok(Rules::default()));
        assert_eq!(Rules::of_label("10.0.0.1, example.org").map(|rules| rules.names.len()), Ok(1));
        assert!(Rules::of_label(" ").is_err());
    }

    #[test]
    fn a_label_allows_nothing_more() {
        let tenant = rules(&["10.0.0.0/8:443/tcp", "*.example.org:443"]);
        let asked = rules(&["10.1.2.3", "0.0.0.0/0:80", "a.example.org", "example.org", "other.org:443"]);
        let both = tenant.both(&asked);
        assert_eq!(both, rules(&["10.1.2.3:443/tcp", "a.example.org:443"]));
        assert_eq!(asked.both(&tenant), both);
        assert_eq!(tenant.both(&Rules::default()), Rules::default());
    }

    #[test]
    fn link_local_addresses_are_known() {
        for open in [
            "0.0.0.0",
            "1.1.1.1",
            "169.253.255.255",
            "169.255.0.0",
            "::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
        ] {
            assert!(!is_link_local(open.parse().expect("an address")), "{open}");
        }
        for shut in [
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
        ] {
            assert!(is_link_local(shut.parse().expect("an address")), "{shut}");
        }
    }

    proptest! {
        #[test]
        fn what_both_allow_each_allows(a in proptest::collection::vec((any::<u32>(), 0_u8..=32), 1..5), b in proptest::collection::vec((any::<u32>(), 0_u8..=32), 1..5), probe in any::<u32>()) {
            let list = |list: &[(u32, u8)]| {
                let texts: Vec<String> = list.iter().map(|(bits, prefix)| format!("{}/{prefix}", Ipv4Addr::from(*bits))).collect();
                Rules::parse(texts.iter().map(String::as_str)).expect("rules")
            };
            let (a, b) = (list(&a), list(&b));
            let allows = |rules: &Rules| rules.addresses.iter().any(|one| Range::around(one.address, one.prefix).is_some_and(|range| range.contains(Ipv4Addr::from(probe).into())));
            prop_assert_eq!(allows(&a.both(&b)), allows(&a) && allows(&b));
        }
    }
}
