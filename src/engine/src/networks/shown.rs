//! What clients are shown of networks, in the API's form.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_spec::wire::{HexId, Protocol};
use serde_json::{Map, Value, json};

use super::network::{Attachment, Network};
use super::{addresses, names, ports as wanted, usual};
use crate::clock::rfc3339;
use crate::containers::Container;
use crate::filters::Filters;
use crate::{Caller, Engine, Failure, Result};

/// The filters of `docker network ls`.
pub const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// A tenant's networks that are meant.
///
/// # Errors
/// A filter is none, or the tenant's bridge cannot be made.
pub async fn list(engine: &Engine, caller: &Caller, filters: &Filters) -> Result<Vec<Arc<Network>>> {
    if let Some(bad) =
        filters.values("type").iter().find(|kind| !matches!(kind.as_str(), "builtin" | "custom"))
    {
        return Err(Failure::invalid(format!("invalid filter 'type={bad}'")));
    }
    let dangling = filters.truth("dangling")?;
    let mut all = usual::all(engine, &caller.tenant).await;
    all.retain(|one| {
        let kind = if one.is_predefined() { "builtin" } else { "custom" };
        filters.any("name", |name| one.name.contains(name))
            && filters.any("id", |id| one.id.as_str().contains(id))
            && filters.any("driver", |driver| one.driver_name() == driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |wanted| wanted == kind)
            && filters.labels(&one.labels)
            && dangling.is_none_or(|dangling| {
                let used = engine.networks.known().on(&one.id).next().is_some();
                !one.is_predefined() && dangling != used
            })
    });
    Ok(all)
}

/// A network; `whole` with its containers.
pub fn network(engine: &Engine, network: &Network, whole: bool) -> Value {
    let config: Vec<Value> = network.subnets.iter().map(subnet).collect();
    let containers = if whole { containers(engine, network) } else { Map::new() };
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created),
        "Scope": "local",
        "Driver": network.driver_name(),
        "EnableIPv4": network.subnet(true).is_some() || !network.is_made(),
        "EnableIPv6": network.subnet(false).is_some(),
        "IPAM": {
            "Driver": "default",
            "Options": if network.is_predefined() { Value::Null } else { json!(network.ipam_options) },
            "Config": if network.is_made() { json!(config) } else { Value::Null },
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    })
}

fn subnet(subnet: &super::Subnet) -> Value {
    let mut shown = json!({ "Subnet": subnet.range });
    if let Some(range) = &subnet.ip_range {
        shown["IPRange"] = json!(range);
    }
    if let Some(gateway) = subnet.gateway {
        shown["Gateway"] = json!(gateway);
    }
    if !subnet.auxiliary.is_empty() {
        shown["AuxiliaryAddresses"] = json!(subnet.auxiliary);
    }
    shown
}

fn containers(engine: &Engine, network: &Network) -> Map<String, Value> {
    if !network.is_made() {
        let inside = engine.containers.of(&network.tenant).into_iter();
        let inside = inside.filter(|one| one.is_running() && one.host_config().network_mode == network.name);
        return inside.map(|one| (one.id.to_string(), member(&one.name(), None))).collect();
    }
    let known = engine.networks.known();
    let on = known.on(&network.id).map(|(id, one)| {
        let name = engine.containers.by_id(id).map(|container| container.name()).unwrap_or_default();
        (id.to_string(), member(&name, Some(one)))
    });
    on.collect()
}

fn member(name: &str, attachment: Option<&Attachment>) -> Value {
    let endpoint = attachment.and_then(|one| one.endpoint.as_ref());
    let address = |four| {
        let found = attachment.and_then(|one| one.address(four));
        found.map(|(address, prefix)| format!("{address}/{prefix}")).unwrap_or_default()
    };
    json!({
        "Name": name,
        "EndpointID": endpoint.map(|one| one.id.to_string()).unwrap_or_default(),
        "MacAddress": endpoint.map(|one| addresses::mac_text(one.mac)).unwrap_or_default(),
        "IPv4Address": address(true),
        "IPv6Address": address(false),
    })
}

/// `NetworkSettings.Networks` of a container.
pub fn container(engine: &Engine, container: &Container) -> Value {
    let all = engine.networks.of_container(&container.id);
    let shown = all.iter().map(|one| (one.name.clone(), attachment(engine, container, one)));
    Value::Object(shown.collect())
}

fn attachment(engine: &Engine, container: &Container, one: &Attachment) -> Value {
    let network = one.network.as_ref().and_then(|id| engine.networks.known().networks.get(id).cloned());
    let endpoint = one.endpoint.as_ref();
    let text = |four: bool, prefix: bool| -> Value {
        match one.address(four) {
            Some((_, length)) if prefix => length.into(),
            Some((address, _)) => address.to_string().into(),
            None if prefix => 0.into(),
            None => "".into(),
        }
    };
    let gateway = |four: bool| {
        let found = network.as_ref().filter(|_| endpoint.is_some()).and_then(|network| network.gateway(four));
        found.map(|gateway| gateway.to_string()).unwrap_or_default()
    };
    let named = network.as_ref().is_some_and(|network| network.has_names());
    let mut shown = json!(one.asked);
    let live = json!({
        "MacAddress": endpoint.map(|one| addresses::mac_text(one.mac)).unwrap_or_default(),
        "NetworkID": one.network.as_ref().map(ToString::to_string).unwrap_or_default(),
        "EndpointID": endpoint.map(|one| one.id.to_string()).unwrap_or_default(),
        "Gateway": gateway(true),
        "IPAddress": text(true, false),
        "IPPrefixLen": text(true, true),
        "IPv6Gateway": gateway(false),
        "GlobalIPv6Address": text(false, false),
        "GlobalIPv6PrefixLen": text(false, true),
        "DNSNames": named.then(|| names::further(container, one)),
    });
    if let (Value::Object(shown), Value::Object(live)) = (&mut shown, live) {
        shown.extend(live);
    }
    shown
}

/// `NetworkSettings` of a container. Those at the top are of the usual bridge alone, as Docker's are.
pub fn settings(engine: &Engine, container: &Container) -> Value {
    let networks = self::container(engine, container);
    let state = container.state();
    let pid = Some(state.pid).filter(|pid| state.is_running() && *pid > 0);
    let mut shown = json!({
        "Bridge": "",
        "SandboxID": pid.map(|_| container.id.to_string()).unwrap_or_default(),
        "SandboxKey": pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
        "Ports": if pid.is_some() { json!(published(engine, container)) } else { json!({}) },
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
    });
    let nothing = json!({
        "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "",
        "IPPrefixLen": 0, "IPv6Gateway": "", "MacAddress": "",
    });
    let usual = networks.get(usual::BRIDGE).unwrap_or(&nothing);
    for name in nothing.as_object().into_iter().flat_map(Map::keys) {
        shown[name] = usual[name].clone();
    }
    shown["Networks"] = networks;
    shown
}

/// `80/tcp` and where it is published; null for a port that is merely exposed.
fn published(engine: &Engine, container: &Container) -> BTreeMap<String, Option<Vec<Value>>> {
    let mut all: BTreeMap<String, Option<Vec<Value>>> = BTreeMap::new();
    for name in container.config.exposed_ports.iter().flat_map(BTreeMap::keys) {
        if let Ok((port, protocol)) = wanted::port(name) {
            all.insert(format!("{port}/{}", word(protocol)), None);
        }
    }
    for attachment in engine.networks.of_container(&container.id) {
        for port in attachment.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
            let hosts = all.entry(format!("{}/{}", port.port, word(port.protocol))).or_default();
            let host = json!({ "HostIp": port.host.ip(), "HostPort": port.host.port().to_string() });
            hosts.get_or_insert_default().push(host);
        }
    }
    all
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// `Ports` of `docker ps`.
pub fn ports(engine: &Engine, container: &Container) -> Vec<Value> {
    if !container.is_running() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (name, hosts) in published(engine, container) {
        let (port, kind) = name.split_once('/').unwrap_or((&name, "tcp"));
        let private: u16 = port.parse().unwrap_or_default();
        if hosts.is_none() {
            all.push(json!({ "PrivatePort": private, "Type": kind }));
        }
        for host in hosts.into_iter().flatten() {
            let public: u16 =
                host["HostPort"].as_str().and_then(|port| port.parse().ok()).unwrap_or_default();
            all.push(
                json!({ "IP": host["HostIp"], "PrivatePort": private, "PublicPort": public, "Type": kind }),
            );
        }
    }
    all
}

/// Whether a container is on a network, by the network's name or id, running or not.
pub fn attached(engine: &Engine, container: &Container, wanted: &str) -> bool {
    let all = engine.networks.of_container(&container.id);
    let fits = |one: &Attachment| {
        let id = one.network.as_ref().is_some_and(|id| wanted.len() >= 12 && id.as_str().starts_with(wanted));
        one.name == wanted || id
    };
    all.iter().any(fits)
}

/// Tells of something that happened to a network, and to which container.
pub fn tell(engine: &Engine, network: &Network, action: &str, container: Option<&HexId>) {
    let mut attributes = BTreeMap::from([
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), network.driver_name().to_owned()),
    ]);
    if let Some(container) = container {
        attributes.insert("container".to_owned(), container.to_string());
    }
    engine.events.publish(&network.tenant, "network", action, network.id.as_str(), attributes);
}
