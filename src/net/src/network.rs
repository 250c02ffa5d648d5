//! Networks: made, removed, and all of them repaired.

use std::collections::{BTreeMap, BTreeSet};

use casemate_spec::wire::{Endpoint, HexId, Network, NetworkKind};
use casemate_spec::{Error, Result};

use crate::arguments::Arguments;
use crate::flows::Flows;
use crate::link::Links;
use crate::rules::sets::Element;
use crate::rules::{self, Rules};
use crate::settings;

/// Ethernet's usual.
const MTU: u16 = 1500;

/// Makes a network, or has one that is there be so.
///
/// # Errors
/// The kernel's; exit status 3 where its addresses are in use.
pub fn make(network: &Network, kin: &[HexId], arguments: &Arguments) -> Result<()> {
    let links = Links::open()?;
    let rules = Rules::open(&arguments.table)?;
    settings::forward(&[network])?;
    let NetworkKind::Macvlan { parent } = &network.kind else { return bridge(network, kin, &links, &rules) };
    links.index(parent).map(drop).ok_or_else(|| Error::new(parent, "there is no such interface").exit(2))
}

fn bridge(network: &Network, kin: &[HexId], links: &Links, rules: &Rules<'_>) -> Result<()> {
    let name = network.bridge();
    check(network, links)?;
    let there = links.index(&name).is_some();
    let made = build(network, links).and_then(|()| rules.add(&facts(network, kin)));
    let made = made.and_then(|()| links.up_for(&name, rules.name()));
    if made.is_err() && !there {
        // What it failed of is what counts.
        let undone = links.delete(&name).and_then(|()| rules.remove(&facts(network, kin)));
        return made.and(undone);
    }
    made
}

/// Whether a network's addresses are nobody else's.
///
/// # Errors
/// They are: exit status 3.
pub fn check(network: &Network, links: &Links) -> Result<()> {
    for subnet in network.subnets.iter().filter(|_| is_bridge(network)) {
        if let Some(route) = links.overlapping(subnet, &network.bridge())? {
            let what = format!("subnet {}/{}", subnet.address, subnet.prefix);
            let why = format!("the host has a route to {}/{}", route.address, route.prefix);
            return Err(Error::new(what, why).exit(3));
        }
    }
    Ok(())
}

fn facts(network: &Network, kin: &[HexId]) -> Vec<Element> {
    [rules::of_network(network), rules::of_kin(network, kin)].concat()
}

fn build(network: &Network, links: &Links) -> Result<()> {
    let name = network.bridge();
    links.bridge(&name, mac(&network.id), network.mtu.unwrap_or(MTU).into())?;
    settings::of_bridge(&name, network)?;
    for subnet in &network.subnets {
        if let Some(gateway) = subnet.gateway {
            links.address(&name, gateway, subnet.prefix)?;
        }
    }
    Ok(())
}

fn is_bridge(network: &Network) -> bool {
    network.kind == NetworkKind::Bridge
}

/// A bridge's own, so that it does not change with its ports.
fn mac(id: &HexId) -> [u8; 6] {
    let mut mac = [0x02, 0x4e, 0, 0, 0, 0];
    let digits = id.as_str().as_bytes();
    for (byte, pair) in mac.iter_mut().skip(2).zip(digits.chunks(2)) {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(text, 16).unwrap_or_default();
    }
    mac
}

/// Removes a network.
///
/// # Errors
/// The kernel's.
pub fn remove(network: &Network, kin: &[HexId], arguments: &Arguments) -> Result<()> {
    if network.kind != NetworkKind::Bridge {
        return Ok(());
    }
    Links::open()?.delete(&network.bridge())?;
    Rules::open(&arguments.table)?.remove(&facts(network, kin))
}

/// Has everything be as it is said: rules in one transaction, and what is missing of links.
///
/// # Errors
/// The kernel's, of the first that failed; the rest was done all the same.
pub fn repair(networks: &[Network], endpoints: &[Endpoint], arguments: &Arguments) -> Result<()> {
    let links = Links::open()?;
    let rules = Rules::open(&arguments.table)?;
    if networks.is_empty() {
        // Nobody is connected to nothing: what an earlier instance left goes with it.
        return rules.leave();
    }
    let by_id: BTreeMap<&HexId, &Network> = networks.iter().map(|network| (&network.id, network)).collect();
    let of_endpoints = endpoints
        .iter()
        .filter_map(|endpoint| Some(rules::of_endpoint(endpoint, by_id.get(&endpoint.network)?)))
        .flatten();
    let of_networks = networks.iter().filter(|network| is_bridge(network)).flat_map(|network| {
        let kin = networks.iter().filter(|other| other.tenant == network.tenant && is_bridge(other));
        facts(network, &kin.map(|other| other.id.clone()).collect::<Vec<_>>())
    });
    let elements: Vec<_> = of_networks.chain(of_endpoints).collect();
    // Who may send what comes first: a port that is put back into its bridge is under its rules already.
    let mut done = rules.replace(&elements);
    let mut and = |result: Result<()>| {
        if done.is_ok() {
            done = result;
        }
    };
    let known: BTreeSet<String> = endpoints.iter().map(Endpoint::host_interface).collect();
    let bridges: Vec<String> =
        networks.iter().filter(|network| is_bridge(network)).map(Network::bridge).collect();
    match links.ports(&bridges) {
        Ok(ports) => {
            // Nobody watches over what they send.
            for stray in ports.iter().filter(|port| port.starts_with("cmv") && !known.contains(*port)) {
                and(links.delete(stray));
            }
        }
        Err(error) => and(Err(error)),
    }
    and(Flows::open().and_then(|flows| flows.redirect(endpoints, &links)));
    and(settings::forward(&networks.iter().collect::<Vec<_>>()));
    for network in networks.iter().filter(|network| network.kind == NetworkKind::Bridge) {
        and(build(network, &links).and_then(|()| links.up_for(&network.bridge(), rules.name())));
    }
    for endpoint in endpoints {
        let Some(network) = by_id.get(&endpoint.network) else { continue };
        let port = endpoint.host_interface();
        // Where the port itself is gone the container's end is, too: it is connected anew when it starts again.
        if network.kind == NetworkKind::Bridge && links.index(&port).is_some() {
            and(links
                .enslave(&port, &network.bridge())
                .and_then(|()| links.set_port(&port, !network.icc, !endpoint.ports.is_empty()))
                .and_then(|()| links.up_for(&port, rules.name())));
        }
    }
    done
}
