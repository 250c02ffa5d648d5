//! From a container's create to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Adopted, Ask, HexId};

use super::network::{Attachment, EndpointAsked, Network};
use super::publish::Plan;
use super::usual::{self, BRIDGE, is_predefined};
use super::{ENDPOINTS, NETWORK, addresses, denials, publish, shown};
use crate::containers::{Config, Container, HostConfig};
use crate::{Engine, Failure, Kind, Result};

/// So many ports of the host's choice may be in use by others of the host.
const ATTEMPTS: u32 = 16;
/// The first wait for an address that somebody is about to leave.
const LOOK: Duration = Duration::from_millis(5);
/// How the broker begins to tell of a port that somebody else of the host has.
const LISTEN: &str = "listen ";
/// How it tells of an address.
const LEAVING: &str = "an address, or the endpoint, is in use";

/// What a container is to be connected to, by what was asked at create: the network that its mode names, and others.
///
/// # Errors
/// It makes no sense, in Docker's words.
pub fn attach(
    config: &Config,
    host_config: &HostConfig,
    mut asked: BTreeMap<String, EndpointAsked>,
) -> Result<Vec<Attachment>> {
    let mode = host_config.network_mode.as_str();
    if let Some(usual) = asked.remove("default") {
        asked.entry(BRIDGE.to_owned()).or_insert(usual);
    }
    if mode.starts_with("container:") || matches!(mode, "none" | "host") {
        let own = asked.remove(mode).unwrap_or_default();
        if !asked.is_empty() {
            let message =
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes";
            return Err(Failure::invalid(message));
        }
        let alone = Attachment::new(mode, own);
        return Ok(if mode.starts_with("container:") { Vec::new() } else { vec![alone] });
    }
    let mut all = Vec::new();
    // Whoever asks for networks without a mode is on those alone.
    if mode != BRIDGE || asked.contains_key(BRIDGE) || asked.is_empty() {
        let mut first = asked.remove(mode).unwrap_or_default();
        if first.mac_address.is_empty() {
            first.mac_address.clone_from(&config.mac_address);
        }
        if mode != BRIDGE && first.links.is_none() {
            first.links.clone_from(&host_config.links);
        }
        all.push(Attachment::new(mode, first));
    }
    all.extend(asked.into_iter().map(|(name, asked)| Attachment::new(&name, asked)));
    all.iter().try_for_each(check)?;
    Ok(all)
}

/// Whether what is asked of an attachment makes sense.
///
/// # Errors
/// In Docker's words.
pub fn check(one: &Attachment) -> Result<()> {
    let wrong = |what: &str| Err(Failure::invalid(format!("invalid endpoint settings:\n{what}")));
    let wanted = [one.wanted(true)?, one.wanted(false)?];
    let named = |list: &Option<Vec<String>>| list.iter().flatten().next().is_some();
    if matches!(one.name.as_str(), "none" | "host") {
        return wrong("container cannot be connected to host or none besides other networks");
    }
    if is_predefined(&one.name) {
        if wanted.iter().flatten().next().is_some() {
            return wrong("user specified IP address is supported on user defined networks only");
        }
        if named(&one.asked.aliases) {
            return wrong("network-scoped aliases are only supported for user-defined networks");
        }
    }
    if !one.asked.mac_address.is_empty() {
        addresses::parse_mac(&one.asked.mac_address)?;
    }
    let plain = |name: &&String| {
        name.is_empty() || name.len() > 253 || name.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    match one.asked.aliases.iter().flatten().find(plain) {
        Some(bad) => wrong(&format!("invalid alias {bad:?}")),
        None => Ok(()),
    }
}

/// Before a start, or a further attempt at it: gives a container what it has on its networks.
///
/// # Errors
/// A network is gone, or an address or port is somebody else's.
pub async fn up(engine: &Arc<Engine>, container: &Container, attempt: u32) -> Result<()> {
    let within = |failure: Failure| failure.within("failed to set up container networking");
    let before = engine.networks.of_container(&container.id);
    publish::check(engine, container)?;
    if before.iter().any(|one| one.name == BRIDGE) {
        usual::ensure(engine, &container.tenant).await.map_err(within)?;
    }
    let plan = Plan { attempt, ..Plan::of(engine, container)? };
    let mut after = before.clone();
    {
        let mut known = engine.networks.known();
        known.connect(&container.tenant, &container.name(), &plan, &mut after).map_err(within)?;
        known.attachments.insert(container.id.clone(), after.clone());
    }
    if after.iter().all(|one| one.endpoint.is_none()) {
        return Ok(());
    }
    if let Err(failure) = keep(engine, container, &after) {
        engine.networks.known().attachments.insert(container.id.clone(), before);
        return Err(failure);
    }
    engine.networks.resolver.settle().await;
    engine.networks.denials.ready().await;
    told(engine, container, &after, "connect");
    Ok(())
}

/// After its end, or a start that failed: what it had is free again.
pub async fn down(engine: &Arc<Engine>, container: &Container) {
    denials::end(engine, &container.id);
    let (before, after) = {
        let mut known = engine.networks.known();
        let Some(all) = known.attachments.get_mut(&container.id) else { return };
        let before = all.clone();
        all.iter_mut().for_each(|one| one.endpoint = None);
        (before, all.clone())
    };
    if before == after {
        return;
    }
    if let Err(failure) = keep(engine, container, &after) {
        eprintln!(
            "casemated: container {}: the end of its connections is not kept: {failure}",
            container.id.short()
        );
    }
    engine.networks.resolver.settle().await;
    told(engine, container, &before, "disconnect");
}

/// Writes down what a container has while it runs: when the host goes down it has nothing, so that no disk is waited for.
fn keep(engine: &Engine, container: &Container, attachments: &[Attachment]) -> Result<()> {
    engine.db.write_lightly(|batch| batch.put(ENDPOINTS, container.id.as_str(), &attachments))
}

fn told(engine: &Engine, container: &Container, attachments: &[Attachment], action: &str) {
    for endpoint in attachments.iter().filter_map(|one| one.endpoint.as_ref()) {
        let network = engine.networks.known().networks.get(&endpoint.network).cloned();
        if let Some(network) = network {
            shown::tell(engine, &network, action, Some(&container.id));
        }
    }
}

/// Whether a start is worth another attempt, and after which wait: somebody else of the host has a port that was the host's
/// to choose, or whoever had the address before is not quite gone.
pub fn again(container: &Container, failure: &Failure, attempt: u32) -> Option<Duration> {
    if attempt >= ATTEMPTS || failure.kind != Kind::Conflict {
        return None;
    }
    if failure.message.contains(LEAVING) {
        return Some(LOOK * (attempt + 1));
    }
    let wanted = super::published(&container.config, &container.host_config()).unwrap_or_default();
    let free = wanted.iter().any(|port| port.host.is_none_or(|(low, high)| low < high));
    (free && failure.message.starts_with(LISTEN)).then_some(Duration::ZERO)
}

/// A start that failed for somebody else's port, in Docker's words.
pub fn explained(engine: &Engine, container: &Container, failure: Failure) -> Failure {
    let Some(port) = failure.message.strip_prefix(LISTEN).filter(|_| failure.kind == Kind::Conflict) else {
        return failure;
    };
    let endpoints = engine.networks.endpoints(&container.id);
    let id = endpoints.iter().find(|one| !one.ports.is_empty()).map(|one| one.id.to_string());
    // The kernel's words, in the case that Docker has them in.
    let port = port.replace("Address already in use", "address already in use");
    Failure::failed(format!(
        "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({}): \
         failed to bind host port: {LISTEN}{port}",
        container.name(),
        id.unwrap_or_default()
    ))
}

/// After a start of the daemon: what was being made is nobody's, every network is there again, and what a container had
/// that does not run is free. Before that, what containers were refused while there was no daemon is heard.
///
/// # Errors
/// The metadata cannot be written, or the broker is gone.
pub async fn reconcile(engine: &Arc<Engine>, running: &[Adopted]) -> Result<()> {
    let has_endpoint = |all: &Vec<Attachment>| all.iter().any(|one| one.endpoint.is_some());
    let connected = engine.networks.known().attachments.values().any(has_endpoint);
    if connected {
        engine.networks.denials.ready().await;
        denials::catch_up(engine);
    }
    let networks: Vec<Arc<Network>> = engine.networks.known().networks.values().cloned().collect();
    for network in networks {
        let done = if network.pending {
            engine.networks.known().networks.remove(&network.id);
            let dropped = engine.broker.done(Ask::DropNetwork { network: network.id.clone() }, &[]).await;
            engine.db.remove(NETWORK, network.id.as_str())?;
            dropped
        } else if let Some(wire) = network.wire() {
            engine.broker.done(Ask::MakeNetwork { network: wire }, &[]).await
        } else {
            Ok(())
        };
        match done {
            Err(failure) if failure.kind == Kind::Unavailable => return Err(failure),
            // Its containers will say so when they are started.
            Err(failure) => eprintln!("casemated: network {}: {failure}", network.name),
            Ok(()) => {}
        }
    }
    let is_there = |id: &HexId| running.iter().any(|one| one.exec.is_none() && one.id == *id);
    let mut known = engine.networks.known();
    known.attachments.retain(|id, _| engine.containers.by_id(id).is_some());
    for (id, all) in &mut known.attachments {
        if !is_there(id) {
            all.iter_mut().for_each(|one| one.endpoint = None);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(mode: &str, asked: &[&str]) -> Result<Vec<String>> {
        let host_config = HostConfig { network_mode: mode.to_owned(), ..HostConfig::default() };
        let asked = asked.iter().map(|name| ((*name).to_owned(), EndpointAsked::default())).collect();
        let all = attach(&Config::default(), &host_config, asked)?;
        Ok(all.into_iter().map(|one| one.name).collect())
    }

    #[test]
    fn modes_and_endpoints_go_together_as_dockers_do() {
        assert_eq!(names("bridge", &[]), Ok(vec!["bridge".to_owned()]));
        assert_eq!(names("bridge", &["default"]), Ok(vec!["bridge".to_owned()]));
        assert_eq!(names("bridge", &["mine"]), Ok(vec!["mine".to_owned()]));
        assert_eq!(names("web", &["back", "web"]), Ok(vec!["web".to_owned(), "back".to_owned()]));
        assert_eq!(names("none", &["none"]), Ok(vec!["none".to_owned()]));
        assert_eq!(names("container:x", &[]), Ok(vec![]));
        for (mode, asked) in [("none", "web"), ("host", "web"), ("container:x", "web"), ("web", "host")] {
            assert_eq!(names(mode, &[asked]).expect_err(asked).kind, Kind::Invalid, "{mode} {asked}");
        }
    }

    #[test]
    fn addresses_and_aliases_are_for_networks_of_ones_own() {
        let one = |name: &str, asked: serde_json::Value| {
            check(&Attachment::new(name, serde_json::from_value(asked).expect("settings")))
        };
        let ip = json!({ "IPAMConfig": { "IPv4Address": "10.0.0.5" } });
        assert!(one("mine", ip.clone()).is_ok() && one("bridge", ip).is_err());
        assert!(one("bridge", json!({ "Aliases": ["a"] })).is_err());
        assert!(
            one("bridge", json!({ "Aliases": [], "IPAMConfig": {}, "MacAddress": "02:42:ac:11:00:99" }))
                .is_ok()
        );
        for bad in [
            json!({ "IPAMConfig": { "IPv4Address": "fd00::1" } }),
            json!({ "IPAMConfig": { "IPv6Address": "x" } }),
            json!({ "MacAddress": "01:00:00:00:00:00" }),
            json!({ "Aliases": ["a b"] }),
        ] {
            assert!(one("mine", bad.clone()).is_err(), "{bad}");
        }
    }
}
