//! The networks that every tenant has: bridge, host and none.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_spec::wire::{HexId, Tenant};

use super::create::{NetworkAsked, make};
use super::network::{Driver, Network};
use crate::{Engine, Failure, Kind, Result};

/// The tenant's own bridge.
pub const BRIDGE: &str = "bridge";

/// By Docker's names.
pub fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// A tenant's network, by name, id or the beginning of its id. Its bridge is made when it is first looked for.
///
/// # Errors
/// There is none, or the bridge cannot be made.
pub async fn find(engine: &Engine, tenant: &Tenant, name_or_id: &str) -> Result<Arc<Network>> {
    if matches!(name_or_id, BRIDGE | "default") {
        return ensure(engine, tenant).await;
    }
    for network in [none(engine, tenant), host(engine, tenant)] {
        let begins = name_or_id.len() >= 4 && network.id.as_str().starts_with(name_or_id);
        if network.name == name_or_id || begins {
            return Ok(Arc::new(network));
        }
    }
    engine.networks.known().find(tenant, name_or_id)
}

/// A tenant's networks. A bridge that cannot be made, on such a host or because no range is left, is not among them; the
/// others are there all the same.
pub async fn all(engine: &Engine, tenant: &Tenant) -> Vec<Arc<Network>> {
    if let Err(failure) = ensure(engine, tenant).await
        && failure.kind != Kind::Unsupported
    {
        eprintln!("casemated: network bridge of tenant {tenant}: {failure}");
    }
    let mut all = vec![Arc::new(host(engine, tenant)), Arc::new(none(engine, tenant))];
    let known = engine.networks.known();
    all.extend(known.networks.values().filter(|one| one.tenant == *tenant && !one.pending).cloned());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The tenant's bridge.
///
/// # Errors
/// It cannot be made.
pub async fn ensure(engine: &Engine, tenant: &Tenant) -> Result<Arc<Network>> {
    if let Ok(found) = engine.networks.known().find(tenant, BRIDGE) {
        return Ok(found);
    }
    let _making = engine.networks.making.lock().await;
    if let Ok(found) = engine.networks.known().find(tenant, BRIDGE) {
        return Ok(found);
    }
    let options = [
        ("com.docker.network.bridge.default_bridge", "true"),
        ("com.docker.network.bridge.enable_icc", "true"),
        ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ("com.docker.network.driver.mtu", "1500"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let asked =
        NetworkAsked { name: BRIDGE.to_owned(), options: BTreeMap::from(options), ..NetworkAsked::default() };
    make(engine, tenant, asked, true).await
}

fn none(engine: &Engine, tenant: &Tenant) -> Network {
    predefined(engine, tenant, "none", Driver::Null)
}

fn host(engine: &Engine, tenant: &Tenant) -> Network {
    predefined(engine, tenant, "host", Driver::Host)
}

/// The id of one that the host has nothing of: the digest of its name, so that it is the same everywhere.
fn id(name: &str) -> HexId {
    crate::images::sha256(format!("network {name}").as_bytes())
}

fn predefined(engine: &Engine, tenant: &Tenant, name: &str, driver: Driver) -> Network {
    Network {
        id: id(name),
        tenant: tenant.clone(),
        name: name.to_owned(),
        created: engine.since,
        driver,
        subnets: Vec::new(),
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
        usual: false,
        pending: false,
    }
}

/// Refuses what is done to a network of one's own with one that everybody has.
///
/// # Errors
/// In Docker's words.
pub fn refuse(network: &Network) -> Result<()> {
    if !network.is_predefined() {
        return Ok(());
    }
    let message = format!("{} is a pre-defined network and cannot be removed", network.name);
    Err(Failure::new(Kind::Forbidden, message))
}
