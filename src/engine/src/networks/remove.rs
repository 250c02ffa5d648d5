//! `docker network rm` and `docker network prune`.

use std::sync::Arc;

use casemate_spec::wire::Ask;

use super::network::Network;
use super::{NETWORK, shown, usual};
use crate::filters::Filters;
use crate::{Caller, Engine, Failure, Kind, Result, clock};

/// The filters of `prune`.
pub const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

/// Removes a network. From the first moment on nobody finds it any more.
///
/// # Errors
/// A container that runs is on it, everybody has it, or the broker refuses.
pub async fn remove(engine: &Arc<Engine>, network: &Arc<Network>) -> Result<()> {
    usual::refuse(network)?;
    let (engine, network) = (Arc::clone(engine), Arc::clone(network));
    let work = tokio::spawn(async move {
        let _making = engine.networks.making.lock().await;
        take(&engine, &network)?;
        let dropped = engine.broker.done(Ask::DropNetwork { network: network.id.clone() }, &[]).await;
        let removed = dropped.and_then(|()| engine.db.remove(NETWORK, network.id.as_str()));
        if removed.is_err() {
            engine.networks.known().networks.insert(network.id.clone(), Arc::clone(&network));
            return removed;
        }
        shown::tell(&engine, &network, "destroy", None);
        Ok(())
    });
    work.await.map_err(|error| Failure::failed(format!("it broke off: {error}")))?
}

/// Takes it out of what is known, unless somebody is on it.
fn take(engine: &Engine, network: &Network) -> Result<()> {
    let mut known = engine.networks.known();
    let on = known.on(&network.id).map(|(id, one)| {
        let name = engine.containers.by_id(id).map(|container| container.name()).unwrap_or_default();
        let endpoint = one.endpoint.as_ref().map(|endpoint| endpoint.id.short().to_owned());
        format!("name:{name:?} id:{:?}", endpoint.unwrap_or_default())
    });
    let on: Vec<String> = on.collect();
    if !on.is_empty() {
        let message = format!(
            "error while removing network: network {} has active endpoints ({})",
            network.name,
            on.join(", ")
        );
        return Err(Failure::new(Kind::Forbidden, message));
    }
    match known.networks.remove(&network.id) {
        Some(_) => Ok(()),
        None => Err(Failure::not_found(format!("network {} not found", network.name))),
    }
}

/// Removes a tenant's networks that nobody is on. Gives their names.
///
/// # Errors
/// A filter is none.
pub async fn prune(engine: &Arc<Engine>, caller: &Caller, filters: &Filters) -> Result<Vec<String>> {
    let until = filters.until(clock::now())?;
    let all: Vec<Arc<Network>> = engine.networks.known().networks.values().cloned().collect();
    let mut names = Vec::new();
    for network in all {
        let old = until.is_none_or(|until| network.created < until);
        let own = network.tenant == caller.tenant && !network.is_predefined() && !network.pending;
        if !own || !old || !filters.labels(&network.labels) || is_wanted(engine, &network) {
            continue;
        }
        // Somebody may have been quicker.
        if remove(engine, &network).await.is_ok() {
            names.push(network.name.clone());
        }
    }
    names.sort();
    let attributes = [("reclaimed".to_owned(), "0".to_owned())].into();
    engine.events.publish(&caller.tenant, "network", "prune", "", attributes);
    Ok(names)
}

/// Whether a container, running or not, is to be on it.
fn is_wanted(engine: &Engine, network: &Network) -> bool {
    let known = engine.networks.known();
    let by_name = |id: &casemate_spec::wire::HexId, name: &str| {
        name == network.name && engine.containers.by_id(id).is_some_and(|one| one.tenant == network.tenant)
    };
    known.attachments.iter().any(|(id, all)| {
        all.iter().any(|one| match &one.network {
            Some(other) => *other == network.id,
            None => by_name(id, &one.name),
        })
    })
}
