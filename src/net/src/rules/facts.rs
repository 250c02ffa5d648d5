//! What is true of a network, of a container on it, and for a while: as elements of sets.

use std::net::{IpAddr, SocketAddr};

use casemate_spec::wire::{Allowed, Endpoint, HexId, Network, NetworkKind, Protocol, Published, Subnet};

use super::class;
use super::sets::{
    ADMITTED4, ADMITTED6, ALLOWED4, ALLOWED6, ANY4, ANY6, AT4, AT6, BRIDGES, CLASSES, Element, GATEWAYS4,
    GATEWAYS6, HIDDEN, INTERNAL, KIN, LIMITED4, LIMITED6, LOOPS, MACS, NEAR4, NEAR6, PORTS, SELVES4, SELVES6,
    SENDERS4, SENDERS6, SUBNETS4, SUBNETS6, Set, TALKS, Value,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A set for each of IP's versions.
fn of(address: IpAddr, four: &'static Set, six: &'static Set) -> &'static Set {
    if address.is_ipv4() { four } else { six }
}

/// Of a network: nothing where no rule of ours sees its packets.
pub fn of_network(network: &Network) -> Vec<Element> {
    if network.kind != NetworkKind::Bridge {
        return Vec::new();
    }
    let bridge = network.bridge();
    let name = || Value::interface(&bridge);
    let what = format!("network {}", network.id.short());
    let element = |set, key: &[Value]| Element::new(set, what.clone(), key);
    let mut list = vec![
        element(&BRIDGES, &[name()]),
        element(&LOOPS, &[name(), name()]),
        element(&KIN, &[name(), name()]),
    ];
    let marks = [(network.internal, &INTERNAL), (network.masquerade && !network.internal, &HIDDEN)];
    list.extend(marks.into_iter().filter(|(has, _)| *has).map(|(_, set)| element(set, &[name()])));
    if network.icc {
        list.push(element(&TALKS, &[name(), name()]));
    }
    for subnet in &network.subnets {
        let set = of(subnet.address, &SUBNETS4, &SUBNETS6);
        list.push(element(set, &[name(), Value::addresses(subnet.first(), subnet.last())]));
        if let Some(gateway) = subnet.gateway {
            list.push(element(of(gateway, &GATEWAYS4, &GATEWAYS6), &[Value::address(gateway)]));
        }
    }
    list
}

/// That networks are one tenant's.
pub fn of_kin<'a>(network: &Network, kin: impl IntoIterator<Item = &'a HexId>) -> Vec<Element> {
    let what = format!("network {}", network.id.short());
    let ours = Value::interface(&network.bridge());
    let mut list = Vec::new();
    for other in kin.into_iter().filter(|other| **other != network.id) {
        let theirs = Value::interface(&Network::bridge_of(other));
        list.push(Element::new(&KIN, what.clone(), &[ours.clone(), theirs.clone()]));
        list.push(Element::new(&KIN, what.clone(), &[theirs, ours.clone()]));
    }
    list
}

/// Of a container on a network.
pub fn of_endpoint(endpoint: &Endpoint, network: &Network) -> Vec<Element> {
    if network.kind != NetworkKind::Bridge {
        return Vec::new();
    }
    let (port, bridge) = (endpoint.host_interface(), network.bridge());
    let what = format!("endpoint {}", endpoint.id.short());
    let element = |set, key: &[Value]| Element::new(set, what.clone(), key);
    let (port, mac) = (|| Value::interface(&port), || Value::mac(endpoint.mac));
    let mut list = vec![element(&PORTS, &[port()]), element(&MACS, &[port(), mac()])];
    for address in endpoint.sources() {
        let set = of(address, &SENDERS4, &SENDERS6);
        list.push(element(set, &[port(), mac(), Value::address(address)]));
        let from = [Value::interface(&bridge), Value::address(address)];
        if endpoint.link_local {
            list.push(element(of(address, &NEAR4, &NEAR6), &from));
        }
        if endpoint.egress.is_some() {
            list.push(element(of(address, &LIMITED4, &LIMITED6), &from));
        }
    }
    if !network.internal {
        list.extend(endpoint.ports.iter().filter_map(|published| of_port(endpoint, *published)));
    }
    if !endpoint.ports.is_empty() {
        let itself = |address: IpAddr| {
            element(of(address, &SELVES4, &SELVES6), &[Value::address(address), Value::address(address)])
        };
        list.extend(endpoint.addresses.iter().map(|(address, _)| itself(*address)));
    }
    let allowed = endpoint.egress.iter().flat_map(|egress| &egress.allow);
    let all: Vec<Line> = allowed.flat_map(lines).collect();
    for from in endpoint.sources() {
        list.extend(merged(from, &all).into_iter().map(|(first, last, protocol, ports)| {
            let [protocol, ports] = class(protocol, ports);
            let to = Value::addresses(first, last);
            element(of(from, &ALLOWED4, &ALLOWED6), &[Value::address(from), to, protocol, ports])
        }));
    }
    list.extend(all.iter().map(|line| element(&CLASSES, &class(line.protocol, line.ports))));
    list
}

fn of_port(endpoint: &Endpoint, published: Published) -> Option<Element> {
    let Published { protocol, host, port } = published;
    let to = endpoint.addresses.iter().map(|(address, _)| *address);
    let to = to.into_iter().find(|address| address.is_ipv4() == host.is_ipv4())?;
    let word = if protocol == Protocol::Tcp { "tcp" } else { "udp" };
    let rest = [Value::protocol(number(protocol)), Value::port(host.port())];
    let (set, key) = if host.ip().is_unspecified() {
        (of(to, &ANY4, &ANY6), rest.to_vec())
    } else {
        (of(to, &AT4, &AT6), [vec![Value::address(host.ip())], rest.to_vec()].concat())
    };
    let what = format!("port {}/{word}", SocketAddr::new(host.ip(), host.port()));
    Some(Element::new(set, what, &key).with(&[Value::address(to), Value::port(port)]))
}

/// What `from` may reach for so many seconds.
pub fn admitted(from: &[IpAddr], allowed: &[Allowed], seconds: u32) -> Vec<Element> {
    let mut list = Vec::new();
    for line in allowed.iter().flat_map(lines) {
        list.push(Element::new(&CLASSES, "egress", &class(line.protocol, line.ports)));
        for from in from.iter().filter(|from| from.is_ipv4() == line.range.address.is_ipv4()) {
            let [protocol, ports] = class(line.protocol, line.ports);
            let key = [Value::address(*from), Value::address(line.range.address), protocol, ports];
            let set = of(*from, &ADMITTED4, &ADMITTED6);
            list.push(Element::new(set, "egress", &key).fading(u64::from(seconds) * 1000));
        }
    }
    // One message of an answer may name an address twice.
    let mut kept: Vec<Element> = Vec::new();
    for element in list {
        if !kept.contains(&element) {
            kept.push(element);
        }
    }
    kept
}

/// A line of an allow-list, of one protocol or of all.
#[derive(Debug, Clone, Copy)]
struct Line {
    range: Subnet,
    protocol: u8,
    ports: Option<(u16, u16)>,
}

fn lines(allowed: &Allowed) -> Vec<Line> {
    let range = Subnet { address: allowed.address, prefix: allowed.prefix, gateway: None };
    let protocols = match (allowed.protocol, allowed.ports) {
        (Some(protocol), _) => vec![number(protocol)],
        // Whatever has no ports is among all protocols, and in no range of ports.
        (None, Some(_)) => vec![TCP, UDP],
        (None, None) => vec![0],
    };
    protocols.into_iter().map(|protocol| Line { range, protocol, ports: allowed.ports }).collect()
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}

#[allow(clippy::type_complexity, reason = "it stands here alone")]
fn merged(from: IpAddr, lines: &[Line]) -> Vec<(IpAddr, IpAddr, u8, Option<(u16, u16)>)> {
    let mut list: Vec<_> = lines
        .iter()
        .filter(|line| line.range.address.is_ipv4() == from.is_ipv4())
        .map(|line| (line.protocol, line.ports, line.range.first(), line.range.last()))
        .collect();
    list.sort_unstable();
    let mut merged: Vec<(IpAddr, IpAddr, u8, Option<(u16, u16)>)> = Vec::new();
    for (protocol, ports, first, last) in list {
        // The kernel takes no ranges that overlap; prefixes do so by one being within the other.
        match merged.last_mut() {
            Some(before) if (before.2, before.3) == (protocol, ports) && first <= before.1 => {
                before.1 = before.1.max(last);
            }
            _ => merged.push((first, last, protocol, ports)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, protocol: u8) -> Line {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        let (address, prefix) = (address.parse().expect("an address"), prefix.parse().expect("a number"));
        Line { range: Subnet { address, prefix, gateway: None }, protocol, ports: Some((443, 443)) }
    }

    #[test]
    fn ranges_within_ranges_are_one() {
        let lines =
            [line("10.1.0.0/16", 6), line("10.0.0.0/8", 6), line("10.1.0.0/16", 17), line("fd00::/8", 6)];
        let merged = merged("10.9.9.9".parse().expect("an address"), &lines);
        let shown: Vec<String> =
            merged.iter().map(|(first, last, protocol, _)| format!("{first}-{last} {protocol}")).collect();
        assert_eq!(shown, ["10.0.0.0-10.255.255.255 6", "10.1.0.0-10.1.255.255 17"]);
    }
}
