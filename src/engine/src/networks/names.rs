//! By which names containers find each other: what stands in their `/etc/hosts`, and what the resolver is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use casemate_spec::wire::{self, Client, HexId, Names};

use super::egress::is_link_local;
use super::network::Attachment;
use super::{Known, publish, usual};
use crate::containers::Container;
use crate::{Engine, Failure, Result};

/// DNS.
const PORT: u16 = 53;

/// What is said of one thing; a later word takes the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A network's own name.
    Network(HexId),
    /// A name on a network.
    Name(HexId, String),
    /// An address on a network.
    Reverse(HexId, IpAddr),
    /// Who asks.
    Client(HexId),
}

impl Key {
    /// The word by which it is taken back.
    pub fn taken_back(&self) -> Names {
        match self.clone() {
            Self::Network(network) => Names::Network { network, name: None },
            Self::Name(network, name) => Names::Name { network, name, addresses: Vec::new() },
            Self::Reverse(network, address) => Names::Reverse { network, address, name: None },
            Self::Client(container) => Names::Gone { container },
        }
    }
}

/// How a container's names are answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolving {
    /// At 127.0.0.11, by the resolver.
    pub ours: bool,
    /// By these servers.
    pub servers: Vec<IpAddr>,
}

/// A container's further names on a network of its own: all but its own name.
pub fn further(container: &Container, attachment: &Attachment) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let aliases = attachment.asked.aliases.iter().flatten().cloned();
    let host = Some(container.config.hostname.clone()).filter(|name| !name.is_empty());
    for name in
        std::iter::once(container.name()).chain(aliases).chain([container.id.short().to_owned()]).chain(host)
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Lines of a container's `/etc/hosts`: its own addresses, and its links on the usual bridge.
///
/// # Errors
/// What it is linked to does not run.
pub fn hosts(engine: &Engine, container: &Container) -> Result<Vec<(IpAddr, String)>> {
    let all = engine.networks.of_container(&container.id);
    let mut lines = Vec::new();
    for (other, alias) in links(container) {
        let found = engine.containers.find_of(&container.tenant, &other)?;
        let theirs = engine.networks.of_container(&found.id);
        let theirs = theirs.iter().find(|one| one.name == usual::BRIDGE);
        let Some((address, _)) = theirs.and_then(|one| one.address(true)) else {
            let message = format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                found.name(),
                container.name()
            );
            return Err(Failure::conflict(message));
        };
        let mut names = vec![alias, found.config.hostname.clone(), found.name()];
        names.dedup();
        lines.push((address, names.join(" ")));
    }
    let (host, domain) = (&container.config.hostname, &container.config.domainname);
    let name = if domain.is_empty() { host.clone() } else { format!("{host}.{domain} {host}") };
    for endpoint in all.iter().filter_map(|one| one.endpoint.as_ref()) {
        lines.extend(endpoint.addresses.iter().map(|(address, _)| (*address, name.clone())));
    }
    Ok(lines)
}

/// The addresses by which a container reaches the host.
pub fn gateways(engine: &Engine, container: &Container) -> Vec<IpAddr> {
    let all = engine.networks.of_container(&container.id);
    all.iter().filter_map(|one| one.endpoint.as_ref()).flat_map(|endpoint| endpoint.routes.clone()).collect()
}

/// `container:alias` on the usual bridge: those of networks of one's own are the resolver's.
pub fn links(container: &Container) -> Vec<(String, String)> {
    let host_config = container.host_config();
    if host_config.network_mode != usual::BRIDGE {
        return Vec::new();
    }
    host_config.links.iter().flatten().map(|link| split(link)).collect()
}

/// `container[:alias]`, with or without Docker's slashes.
pub fn split(link: &str) -> (String, String) {
    let (other, alias) = link.split_once(':').unwrap_or((link, link));
    let last = alias.rsplit('/').next().unwrap_or(alias);
    (other.trim_start_matches('/').to_owned(), last.to_owned())
}

/// Who answers a container's questions for names.
pub fn resolvers(engine: &Engine, container: &Container) -> Resolving {
    resolving(engine, container, &crate::containers::nameservers())
}

fn resolving(engine: &Engine, container: &Container, of_host: &[IpAddr]) -> Resolving {
    let mode = container.host_config().network_mode.clone();
    let all = engine.networks.of_container(&container.id);
    let servers = servers(engine, container, of_host);
    let connected = all.iter().any(|one| one.endpoint.is_some());
    if mode == "host" || !connected {
        return Resolving { ours: false, servers };
    }
    let named = {
        let known = engine.networks.known();
        all.iter().any(|one| {
            let network = one.endpoint.as_ref().and_then(|endpoint| known.networks.get(&endpoint.network));
            network.is_some_and(|network| network.has_names())
        })
    };
    let limited = publish::egress(engine, container).is_ok_and(|rules| rules.is_some());
    // A server on the host's loopback answers the host alone, and the resolver asks from there.
    let reached: Vec<IpAddr> = servers.iter().copied().filter(|server| !server.is_loopback()).collect();
    Resolving { ours: named || limited || reached.is_empty(), servers: reached }
}

/// Servers that a container's questions go to: its own, the operator's, or the host's.
fn servers(engine: &Engine, container: &Container, of_host: &[IpAddr]) -> Vec<IpAddr> {
    let host_config = container.host_config();
    let read = |list: &[String]| list.iter().filter_map(|text| text.parse().ok()).collect::<Vec<IpAddr>>();
    match &host_config.dns {
        Some(asked) if !asked.is_empty() => read(asked),
        _ if !engine.settings.dns.is_empty() => read(&engine.settings.dns),
        _ => of_host.to_vec(),
    }
}

/// What the resolver asks for a container: from the host, so that nothing may be asked there that the container itself
/// could not reach, but for the host's own servers.
fn upstream(engine: &Engine, known: &Known, container: &Container, of_host: &[IpAddr]) -> Vec<SocketAddr> {
    let asked = container.host_config().dns.iter().flatten().next().is_some();
    let others = known.networks.values().filter(|network| network.tenant != container.tenant);
    let others: Vec<_> =
        others.flat_map(|network| network.subnets.iter().map(|subnet| subnet.range)).collect();
    let admitted = |server: &IpAddr| {
        let beside = server.is_loopback() || server.is_unspecified() || is_link_local(*server);
        let elsewhere = !(asked && beside);
        elsewhere && !others.iter().any(|range| range.contains(*server))
    };
    servers(engine, container, of_host)
        .into_iter()
        .filter(admitted)
        .map(|server| SocketAddr::new(server, PORT))
        .collect()
}

/// Everything that the resolver is to know.
pub fn wanted(engine: &Engine) -> BTreeMap<Key, Names> {
    let host = crate::containers::nameservers();
    let mut containers = engine.containers.all();
    containers.retain(|container| !engine.networks.endpoints(&container.id).is_empty());
    let ours: BTreeSet<HexId> = containers
        .iter()
        .filter(|container| resolving(engine, container, &host).ours)
        .map(|container| container.id.clone())
        .collect();
    let known = engine.networks.known();
    let mut all = BTreeMap::new();
    for container in &containers {
        let attachments = known.attachments.get(&container.id).map(Vec::as_slice).unwrap_or_default();
        let mut client = Client::default();
        let mut outside = false;
        for attachment in attachments {
            let Some(endpoint) = &attachment.endpoint else { continue };
            let Some(network) = known.networks.get(&endpoint.network) else { continue };
            outside |= !network.internal;
            if !network.has_names() {
                continue;
            }
            client.networks.push(network.id.clone());
            name(&mut all, network, container, attachment, endpoint);
            link(engine, &known, &mut client, container, attachment, endpoint);
        }
        if ours.contains(&container.id) {
            if outside {
                client.upstream = upstream(engine, &known, container, &host);
            }
            let rules = publish::egress(engine, container).ok().flatten();
            client.allow = rules.map(|rules| rules.names);
            let word = Names::Client { container: container.id.clone(), client };
            all.insert(Key::Client(container.id.clone()), word);
        }
    }
    all
}

fn name(
    all: &mut BTreeMap<Key, Names>,
    network: &super::Network,
    container: &Container,
    attachment: &Attachment,
    endpoint: &wire::Endpoint,
) {
    let id = &network.id;
    let lower = network.name.to_lowercase();
    all.entry(Key::Network(id.clone()))
        .or_insert_with(|| Names::Network { network: id.clone(), name: Some(lower.clone()) });
    let own = endpoint.addresses.iter().map(|(address, _)| *address);
    for name in further(container, attachment) {
        let name = name.trim_end_matches('.').to_lowercase();
        let word = all.entry(Key::Name(id.clone(), name.clone())).or_insert_with(|| Names::Name {
            network: id.clone(),
            name,
            addresses: Vec::new(),
        });
        if let Names::Name { addresses, .. } = word {
            addresses.extend(own.clone());
        }
    }
    for address in own {
        let name = Some(format!("{}.{lower}", container.name().to_lowercase()));
        all.insert(Key::Reverse(id.clone(), address), Names::Reverse { network: id.clone(), address, name });
    }
}

/// Links of a network's: names that only this container has.
fn link(
    engine: &Engine,
    known: &Known,
    client: &mut Client,
    container: &Container,
    attachment: &Attachment,
    endpoint: &wire::Endpoint,
) {
    for text in attachment.asked.links.iter().flatten() {
        let (other, alias) = split(text);
        let Ok(other) = engine.containers.find_of(&container.tenant, &other) else { continue };
        let theirs = known.attachments.get(&other.id).into_iter().flatten();
        let theirs =
            theirs.filter_map(|one| one.endpoint.as_ref()).find(|one| one.network == endpoint.network);
        if let Some(theirs) = theirs {
            let addresses = theirs.addresses.iter().map(|(address, _)| *address).collect();
            client.own.insert(alias.to_lowercase(), addresses);
        }
    }
}
