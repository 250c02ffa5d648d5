//! Containers: connected as a whole or not at all, and disconnected.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use casemate_spec::wire::{Endpoint, HexId, Network, NetworkKind, Protocol};
use casemate_spec::{Error, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::arguments::Arguments;
use crate::flows::Flows;
use crate::link::{End, Links};
use crate::netlink::Socket;
use crate::resolver;
use crate::rules::sets::Element;
use crate::rules::{self, Rules};
use crate::settings;

/// Where a network namespace is, when no process is named.
const GIVEN: &str = "/proc/self/fd/3";
const MTU: u16 = 1500;

/// The network namespace that is to be connected.
///
/// # Errors
/// There is none.
pub fn target(pid: i32) -> Result<OwnedFd> {
    open(Path::new(&if pid > 0 { format!("/proc/{pid}/ns/net") } else { GIVEN.to_owned() }))
}

/// A network namespace by its file.
///
/// # Errors
/// There is none.
pub fn open(path: &Path) -> Result<OwnedFd> {
    File::open(path).map(OwnedFd::from).map_err(|error| Error::io(path.display().to_string(), &error))
}

/// One endpoint with its network.
#[derive(Debug, Clone, Copy)]
struct Connection<'a> {
    endpoint: &'a Endpoint,
    network: &'a Network,
}

/// Connects a network namespace.
///
/// # Errors
/// The kernel's; exit status 3 where a port is taken. Nothing is left then.
pub fn attach(
    target: &OwnedFd,
    endpoints: &[Endpoint],
    networks: &[Network],
    resolver: Option<(&HexId, &OwnedFd)>,
    arguments: &Arguments,
) -> Result<()> {
    let connections = pairs(endpoints, networks)?;
    let links = Links::open()?;
    let rules = Rules::open(&arguments.table)?;
    let flows = Flows::open()?;
    let rest = || {
        // What is known is not asked about: what whoever had the address was allowed is none of this one's.
        flows.forget(endpoints.iter().filter(|endpoint| endpoint.egress.is_some()))?;
        flows.redirect(endpoints, &links)?;
        for connection in connections.iter().filter(|connection| connection.is_ours()) {
            links.up_for(&connection.endpoint.host_interface(), rules.name())?;
        }
        container_side(&connections, target, resolver)?;
        for connection in connections.iter().filter(|connection| connection.is_ours()) {
            links.settle(&connection.endpoint.host_interface())?;
            links.settle(&connection.network.bridge())?;
        }
        Ok(())
    };
    if let Err(error) = host_side(&connections, &links, target) {
        undo(remove_links(&connections, &links, Some(target)));
        return Err(error);
    }
    // Who may send what, before anything can be sent.
    if let Err(error) = rules.add(&elements(&connections)) {
        // None of it was added, so that what is there is somebody else's.
        undo(remove_links(&connections, &links, Some(target)));
        return Err(error);
    }
    rest().inspect_err(|_| {
        undo(
            remove_links(&connections, &links, Some(target))
                .and_then(|()| remove_rules(&connections, &rules)),
        );
    })
}

impl Connection<'_> {
    fn is_ours(&self) -> bool {
        self.network.kind == NetworkKind::Bridge
    }
}

fn pairs<'a>(endpoints: &'a [Endpoint], networks: &'a [Network]) -> Result<Vec<Connection<'a>>> {
    let by_id: BTreeMap<&HexId, &Network> = networks.iter().map(|network| (&network.id, network)).collect();
    let unknown = |endpoint: &Endpoint| {
        Error::new(format!("network {}", endpoint.network.short()), "it is not in the order").exit(2)
    };
    endpoints
        .iter()
        .map(|endpoint| {
            let network = by_id.get(&endpoint.network).ok_or_else(|| unknown(endpoint))?;
            Ok(Connection { endpoint, network })
        })
        .collect()
}

fn elements(connections: &[Connection<'_>]) -> Vec<Element> {
    let of_networks = connections.iter().flat_map(|connection| rules::of_network(connection.network));
    let of_endpoints =
        connections.iter().flat_map(|connection| rules::of_endpoint(connection.endpoint, connection.network));
    of_networks.chain(of_endpoints).collect()
}

/// The interfaces, of which the container's ends are where they belong from the first moment.
fn host_side(connections: &[Connection<'_>], links: &Links, target: &OwnedFd) -> Result<()> {
    for Connection { endpoint, network } in connections {
        let name = endpoint.interface();
        let there = End { name: &name, mac: Some(endpoint.mac) };
        if let NetworkKind::Macvlan { parent } = &network.kind {
            links.macvlan(parent, there, target.as_fd(), network.mtu.map(u32::from))?;
            continue;
        }
        let port = endpoint.host_interface();
        // What one of us left who was killed.
        if links.index(&port).is_some() {
            links.delete(&port)?;
        }
        let mtu = network.mtu.unwrap_or(MTU).into();
        links.pair(End { name: &port, mac: None }, there, target.as_fd(), &network.bridge(), mtu)?;
        settings::of_port(&port)?;
        let publishes = !endpoint.ports.is_empty();
        if publishes || !network.icc {
            links.set_port(&port, !network.icc, publishes)?;
        }
    }
    Ok(())
}

/// Addresses and ways out. What was opened before stays where it was opened.
fn container_side(
    connections: &[Connection<'_>],
    target: &OwnedFd,
    resolver: Option<(&HexId, &OwnedFd)>,
) -> Result<()> {
    enter(target)?;
    let links = Links::open()?;
    links.up("lo")?;
    for Connection { endpoint, .. } in connections {
        let name = endpoint.interface();
        settings::of_container(&name, endpoint.addresses.iter().any(|(address, _)| address.is_ipv6()))?;
        for (address, prefix) in &endpoint.addresses {
            links.address(&name, *address, *prefix)?;
        }
        links.up(&name)?;
        for gateway in &endpoint.routes {
            links.default_route(&name, *gateway)?;
        }
    }
    for Connection { endpoint, .. } in connections {
        links.settle(&endpoint.interface())?;
    }
    if let Some((container, socket)) = resolver {
        let rules = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
        resolver::open(container, socket, &rules)?;
    }
    Ok(())
}

/// What it failed of is what counts; what cannot be undone is found by the next repair.
fn undo(gone: Result<()>) {
    if let Err(error) = gone {
        use std::io::Write;
        std::io::stderr().write_all(format!("casemate-net: undo: {error}\n").as_bytes()).unwrap_or_default();
    }
}

/// An interface with no end on the host is removed where it is, if that stays: where that goes, it goes along.
fn remove_links(connections: &[Connection<'_>], links: &Links, inside: Option<&OwnedFd>) -> Result<()> {
    for connection in connections.iter().filter(|connection| connection.is_ours()) {
        links.delete(&connection.endpoint.host_interface())?;
    }
    let Some(inside) = inside else { return Ok(()) };
    let mut others = connections.iter().filter(|connection| !connection.is_ours()).peekable();
    if others.peek().is_none() {
        return Ok(());
    }
    enter(inside)?;
    let links = Links::open()?;
    others.try_for_each(|connection| links.delete(&connection.endpoint.interface()))
}

fn remove_rules(connections: &[Connection<'_>], rules: &Rules<'_>) -> Result<()> {
    let own: Vec<Element> = connections
        .iter()
        .flat_map(|connection| rules::of_endpoint(connection.endpoint, connection.network))
        .collect();
    rules.remove(&own)
}

/// Goes into a network namespace.
///
/// # Errors
/// The kernel's.
pub fn enter(target: &OwnedFd) -> Result<()> {
    move_into_link_name_space(target.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::os("network namespace", errno.raw_os_error()))
}

/// Disconnects, and says when it is done. A network namespace that goes anyway takes its interfaces along: what the host
/// has of them is taken down first, and removed behind everybody's back, which takes the kernel 10 ms.
///
/// # Errors
/// The kernel's.
pub fn detach(
    endpoints: &[Endpoint],
    networks: &[Network],
    inside: Option<&OwnedFd>,
    arguments: &Arguments,
) -> Result<()> {
    let connections = pairs(endpoints, networks)?;
    let rules = Rules::open(&arguments.table)?;
    let flows = Flows::open()?;
    let links = Links::open()?;
    // Nobody sends any more when nobody watches any more.
    if inside.is_some() {
        remove_links(&connections, &links, inside)?;
    } else {
        let mut ours = connections.iter().filter(|connection| connection.is_ours());
        ours.try_for_each(|connection| links.down(&connection.endpoint.host_interface()))?;
    }
    remove_rules(&connections, &rules)?;
    // Datagrams to a published port go on coming, and are still led here.
    let hears = |endpoint: &&Endpoint| endpoint.ports.iter().any(|port| port.protocol == Protocol::Udp);
    flows.forget(endpoints.iter().filter(hears))?;
    crate::done()?;
    if inside.is_none() { remove_links(&connections, &links, None) } else { Ok(()) }
}
