//! Published ports: what was asked, and which of the host's that is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use casemate_spec::wire::{Protocol, Published};

use crate::containers::{Config, HostConfig, PortBinding};
use crate::{Failure, Result};

/// Where the kernel's own range of ports for connections cannot be read.
const EPHEMERAL: (u16, u16) = (32768, 60999);
/// A container that publishes more ports is a mistake.
const MOST: usize = 4096;

/// A port that is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// How.
    pub protocol: Protocol,
    /// The container's.
    pub port: u16,
    /// The host's address; none is the usual one.
    pub address: Option<IpAddr>,
    /// The host's, one of these; none is any that is free.
    pub host: Option<(u16, u16)>,
}

/// `80/tcp`, `80`
///
/// # Errors
/// It is no port.
pub fn port(text: &str) -> Result<(u16, Protocol)> {
    let refuse = || Failure::invalid(format!("invalid port specification: {text:?}"));
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => return Err(Failure::unsupported("sctp cannot be published: tcp and udp can")),
        _ => return Err(refuse()),
    };
    number.parse().ok().filter(|number| *number > 0).map(|number| (number, protocol)).ok_or_else(refuse)
}

/// `127.0.0.1`, `[::]`
fn address(text: &str) -> Result<IpAddr> {
    let wrong = |_| Failure::invalid(format!("invalid IP address in port binding: {text:?}"));
    answered(text.trim_start_matches('[').trim_end_matches(']').parse().map_err(wrong)?)
}

/// A connection to ::1 would have to come back from a bridge, and the kernel takes no packet for it from there.
fn answered(address: IpAddr) -> Result<IpAddr> {
    if address == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        return Err(Failure::invalid(
            "a port cannot be published on [::1]: publish it on 127.0.0.1, or on an address of the host's",
        ));
    }
    Ok(address)
}

/// `8000-8010`
fn range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let (low, high) = (Some(low).filter(|low| digits(low))?, Some(high).filter(|high| digits(high))?);
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some((low, high))
}

/// What a container's configuration publishes.
///
/// # Errors
/// Something in it is no port, or no address.
pub fn wanted(config: &Config, host_config: &HostConfig) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    let empty = [PortBinding::default()];
    for (name, bindings) in host_config.port_bindings.iter().flatten() {
        let (port, protocol) = port(name)?;
        // A port without any binding is one with a port of the host's choice.
        let bindings = bindings.as_deref().filter(|bindings| !bindings.is_empty()).unwrap_or(&empty);
        for binding in bindings {
            let address = match binding.host_ip.as_str() {
                "" => None,
                text => Some(address(text)?),
            };
            let host = match binding.host_port.as_str() {
                "" | "0" => None,
                text => Some(
                    range(text)
                        .filter(|(low, _)| *low > 0)
                        .ok_or_else(|| Failure::invalid(format!("invalid port specification: {text:?}")))?,
                ),
            };
            all.push(Wanted { protocol, port, address, host });
        }
    }
    if host_config.publish_all_ports {
        for name in config.exposed_ports.iter().flat_map(std::collections::BTreeMap::keys) {
            let (port, protocol) = port(name)?;
            if !all.iter().any(|one: &Wanted| (one.port, one.protocol) == (port, protocol)) {
                all.push(Wanted { protocol, port, address: None, host: None });
            }
        }
    }
    if all.len() > MOST {
        return Err(Failure::invalid(format!("more than {MOST} ports are published")));
    }
    Ok(all)
}

/// The ports of the host that are somebody's, and where the next one of the host's choice is looked for.
#[derive(Debug, Default)]
pub struct Taken {
    /// Whoever's.
    pub ports: Vec<(Protocol, SocketAddr)>,
    /// The next to be tried.
    pub next: u16,
    /// How often a program of the host turned out to have what was chosen: ranges are passed through from there.
    pub attempt: u32,
}

impl Taken {
    fn has(&self, protocol: Protocol, wanted: SocketAddr) -> bool {
        let meets = |other: &SocketAddr| {
            other.port() == wanted.port()
                && other.is_ipv4() == wanted.is_ipv4()
                && (other.ip() == wanted.ip() || other.ip().is_unspecified() || wanted.ip().is_unspecified())
        };
        self.ports.iter().any(|(kind, other)| *kind == protocol && meets(other))
    }

    /// Publishes on these addresses of the host, all with the same port.
    ///
    /// # Errors
    /// In Docker's words: the port is somebody's, or none is free.
    pub fn publish(&mut self, one: &Wanted, addresses: &[IpAddr]) -> Result<Vec<Published>> {
        let (low, high) = one.host.unwrap_or_else(ephemeral);
        let count = u32::from(high - low) + 1;
        let passed = u16::try_from(self.attempt % count).unwrap_or(0);
        let begin = if one.host.is_some() { low + passed } else { self.next.clamp(low, high) };
        let free =
            |port: &u16| !addresses.iter().any(|ip| self.has(one.protocol, SocketAddr::new(*ip, *port)));
        let nth = |step: u32| u16::try_from(u32::from(low) + (u32::from(begin - low) + step) % count).ok();
        let Some(port) = (0..count).filter_map(nth).find(free) else {
            let first = addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            let what = match one.host {
                Some((low, high)) if low == high => "port is already allocated",
                _ => "all ports are allocated",
            };
            return Err(Failure::failed(format!("Bind for {} failed: {what}", SocketAddr::new(first, low))));
        };
        if one.host.is_none() {
            self.next = if port == high { low } else { port + 1 };
        }
        let hosts: Vec<SocketAddr> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        self.ports.extend(hosts.iter().map(|host| (one.protocol, *host)));
        Ok(hosts.into_iter().map(|host| Published { protocol: one.protocol, host, port: one.port }).collect())
    }
}

/// The addresses of the host on which a port is published: those of the families that the container has.
///
/// # Errors
/// It has none of the family that is asked for.
pub fn addresses(asked: Option<IpAddr>, usual: IpAddr, four: bool, six: bool) -> Result<Vec<IpAddr>> {
    let has = |address: &IpAddr| if address.is_ipv4() { four } else { six };
    if let Some(asked) = asked {
        return match has(&asked) {
            true => Ok(vec![asked]),
            false => Err(Failure::invalid(format!(
                "a port cannot be published on {asked}: the container has no address of that family"
            ))),
        };
    }
    // What is published everywhere is so in both families. [::1] leads to none.
    answered(usual)?;
    let everywhere = usual == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let twin = everywhere.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let all: Vec<IpAddr> = std::iter::once(usual).chain(twin).filter(has).collect();
    if all.is_empty() {
        return Err(Failure::invalid(format!(
            "a port cannot be published on {usual}: the container has no address of that family: name one, as in -p [::]:8080:80"
        )));
    }
    Ok(all)
}

/// The range from which the kernel takes ports for connections, as Docker does.
fn ephemeral() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let numbers: Vec<u16> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [low, high] if 0 < low && low <= high => (low, high),
        _ => EPHEMERAL,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn read(bindings: serde_json::Value) -> Result<Vec<Wanted>> {
        let host_config = serde_json::from_value(json!({ "PortBindings": bindings })).expect("bindings");
        wanted(&Config::default(), &host_config)
    }

    #[test]
    fn bindings_are_read() {
        let tcp = |port, address: Option<&str>, host| Wanted {
            protocol: Protocol::Tcp,
            port,
            address: address.map(|address| address.parse().expect("an address")),
            host,
        };
        let all = read(json!({ "80": [{ "HostPort": "8080" }], "81/tcp": null, "82/tcp": [
            { "HostIp": "127.0.0.1", "HostPort": "8000-8010" }, { "HostIp": "[::]", "HostPort": "" }] }));
        let expected = [
            tcp(80, None, Some((8080, 8080))),
            tcp(81, None, None),
            tcp(82, Some("127.0.0.1"), Some((8000, 8010))),
            tcp(82, Some("::"), None),
        ];
        assert_eq!(all.expect("read"), expected);
        assert_eq!(read(json!({ "53/UDP": [{}] })).expect("read")[0].protocol, Protocol::Udp);
        for bad in [
            json!({ "0": [] }),
            json!({ "x/tcp": [] }),
            json!({ "80/icmp": [] }),
            json!({ "80/sctp": [] }),
            json!({ "70000": [] }),
            json!({ "80": [{ "HostPort": "9-8" }] }),
            json!({ "80": [{ "HostPort": "+9" }] }),
            json!({ "80": [{ "HostPort": "70000" }] }),
            json!({ "80": [{ "HostIp": "localhost" }] }),
            json!({ "80": [{ "HostIp": "::1" }] }),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_somebodys_alone() {
        let mut taken = Taken::default();
        let one = |host| Wanted { protocol: Protocol::Tcp, port: 80, address: None, host };
        let here = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        taken.publish(&one(Some((8080, 8080))), &here).expect("free");
        let failure = taken.publish(&one(Some((8080, 8080))), &[ALL]).expect_err("taken");
        assert_eq!(failure.message, "Bind for 0.0.0.0:8080 failed: port is already allocated");
        let udp = Wanted { protocol: Protocol::Udp, ..one(Some((8080, 8080))) };
        assert!(taken.publish(&udp, &[ALL]).is_ok(), "another protocol");
        assert!(taken.publish(&one(Some((8080, 8080))), &[Ipv6Addr::UNSPECIFIED.into()]).is_ok());
        let next = taken.publish(&one(Some((8080, 8082))), &[ALL]).expect("free");
        assert_eq!(next[0].host, "0.0.0.0:8081".parse().expect("an address"));
        // Somebody of the host has the second, which shows when it is tried.
        let mut later = Taken { attempt: 1, ..Taken::default() };
        let next = later.publish(&one(Some((8081, 8082))), &[ALL]).expect("free");
        assert_eq!(next[0].host.port(), 8082);
    }

    #[test]
    fn ports_are_published_in_the_families_that_there_are() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(addresses(None, ALL, true, false), Ok(vec![ALL]));
        assert_eq!(addresses(None, ALL, true, true), Ok(vec![ALL, Ipv6Addr::UNSPECIFIED.into()]));
        assert_eq!(addresses(None, here, true, true), Ok(vec![here]));
        assert!(addresses(None, here, false, true).is_err());
        assert!(addresses(None, Ipv6Addr::LOCALHOST.into(), true, true).is_err(), "by the configuration");
        assert_eq!(addresses(Some(here), ALL, true, true), Ok(vec![here]));
        assert!(addresses(Some(Ipv6Addr::UNSPECIFIED.into()), ALL, true, false).is_err());
    }

    proptest! {
        #[test]
        fn ports_of_the_hosts_choice_are_never_the_same(next in any::<u16>(), count in 1_usize..300) {
            let mut taken = Taken { next, ..Taken::default() };
            let one = Wanted { protocol: Protocol::Tcp, port: 80, address: None, host: None };
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..count {
                let published = taken.publish(&one, &[ALL, Ipv6Addr::UNSPECIFIED.into()]).expect("one is free");
                prop_assert_eq!(published[0].host.port(), published[1].host.port());
                prop_assert!(seen.insert(published[0].host.port()));
            }
        }
    }
}
