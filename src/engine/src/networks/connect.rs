//! `docker network connect` and `disconnect`, of containers that run and of those that do not.

use std::sync::Arc;

use casemate_spec::wire::{Ask, Endpoint};

use super::network::{Attachment, Driver, EndpointAsked, Network};
use super::publish::Plan;
use super::start::check;
use super::{ENDPOINTS, denials, shown, usual};
use crate::containers::{Container, Status};
use crate::{Engine, Failure, Kind, Result, supervision};

/// In Docker's words.
const HOST: &str = "container cannot be disconnected from host network or connected to host network";
/// In Docker's words.
const NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// Connects a container to a network.
///
/// # Errors
/// In Docker's words: it is there already, shares somebody else's, or an address is taken.
pub async fn connect(
    engine: &Arc<Engine>,
    network: &str,
    container: &Arc<Container>,
    asked: EndpointAsked,
) -> Result<()> {
    let (engine, container, name) = (Arc::clone(engine), Arc::clone(container), network.to_owned());
    let work = tokio::spawn(async move {
        let turn = supervision::hold(&engine, &container).await;
        let network = usual::find(&engine, &container.tenant, &name).await?;
        let mut all = engine.networks.of_container(&container.id);
        admit(&container, &network, &all)?;
        let mut added = Attachment::new(&network.name, asked);
        check(&added)?;
        wanted_inside(&added, &network)?;
        added.network = Some(network.id.clone());
        all.push(added);
        change(&engine, &container, all).await?;
        if container.is_running() {
            shown::tell(&engine, &network, "connect", Some(&container.id));
        }
        drop(turn);
        Ok(())
    });
    work.await.map_err(|error| Failure::failed(format!("it broke off: {error}")))?
}

/// Disconnects a container from a network.
///
/// # Errors
/// In Docker's words: it is not on it.
pub async fn disconnect(engine: &Arc<Engine>, network: &str, container: &Arc<Container>) -> Result<()> {
    let (engine, container, asked) = (Arc::clone(engine), Arc::clone(container), network.to_owned());
    let work = tokio::spawn(async move {
        let turn = supervision::hold(&engine, &container).await;
        let mut all = engine.networks.of_container(&container.id);
        // One that is gone may still be in a container's list.
        let network = match usual::find(&engine, &container.tenant, &asked).await {
            Err(_) if all.iter().any(|one| one.name == asked) => None,
            found => Some(found?),
        };
        let name = network.as_ref().map_or(&asked, |network| &network.name).clone();
        if name == "host" {
            return Err(Failure::invalid(HOST));
        }
        if all.iter().all(|one| one.name != name) {
            let message = format!("container {} is not connected to network {name}", container.id);
            return Err(Failure::failed(message));
        }
        all.retain(|one| one.name != name);
        change(&engine, &container, all).await?;
        if let Some(network) = network.filter(|_| container.is_running()) {
            shown::tell(&engine, &network, "disconnect", Some(&container.id));
        }
        drop(turn);
        Ok(())
    });
    work.await.map_err(|error| Failure::failed(format!("it broke off: {error}")))?
}

fn admit(container: &Container, network: &Network, all: &[Attachment]) -> Result<()> {
    if matches!(container.state().status, Status::Removing | Status::Dead) {
        let message = format!(
            "container {} is marked for removal and cannot be connected or disconnected",
            container.id
        );
        return Err(Failure::conflict(message));
    }
    let mode = container.host_config().network_mode.clone();
    if mode.starts_with("container:") {
        let message = "container sharing network namespace with another container or host cannot be connected to any other network";
        return Err(Failure::invalid(message));
    }
    if network.driver == Driver::Host || all.iter().any(|one| one.name == "host") {
        return Err(Failure::invalid(HOST));
    }
    if network.driver == Driver::Null || all.iter().any(|one| one.name == "none") {
        return Err(Failure::invalid(NONE));
    }
    if all.iter().any(|one| one.name == network.name) {
        let message =
            format!("endpoint with name {} already exists in network {}", container.name(), network.name);
        return Err(Failure::new(Kind::Forbidden, message));
    }
    Ok(())
}

/// Whether the addresses that are asked for lie in what the network was asked to be.
///
/// # Errors
/// In Docker's words.
pub(super) fn wanted_inside(attachment: &Attachment, network: &Network) -> Result<()> {
    for four in [true, false] {
        let Some(wanted) = attachment.wanted(four)? else { continue };
        let subnet = network.subnet(four);
        let message = match subnet {
            Some(subnet) if subnet.range.contains(wanted) && subnet.asked => continue,
            Some(subnet) if !subnet.asked => {
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned()
            }
            _ => format!("no configured subnet or ip-range contain the IP address {wanted}"),
        };
        return Err(Failure::invalid(format!("invalid endpoint settings:\n{message}")));
    }
    Ok(())
}

/// Makes a container's connections be these. What runs has them once this comes back.
async fn change(engine: &Arc<Engine>, container: &Arc<Container>, mut after: Vec<Attachment>) -> Result<()> {
    let running = container.is_running();
    let plan = Plan::of(engine, container)?;
    denials::catch_up(engine);
    let before = {
        let mut known = engine.networks.known();
        if running {
            known.connect(&container.tenant, &container.name(), &plan, &mut after)?;
        }
        known.attachments.insert(container.id.clone(), after.clone()).unwrap_or_default()
    };
    let done = async {
        engine.db.put(ENDPOINTS, container.id.as_str(), &after)?;
        if running {
            engine.networks.resolver.settle().await;
            remake(engine, container, &before, &after).await?;
        }
        Ok(())
    };
    let done = done.await;
    if done.is_err() {
        engine.networks.known().attachments.insert(container.id.clone(), before.clone());
        engine.db.put(ENDPOINTS, container.id.as_str(), &before)?;
    }
    engine.networks.resolver.settle().await;
    done
}

/// What is gone or different is disconnected, what is new or different connected. Where the second fails, what was there
/// before is put back.
async fn remake(
    engine: &Engine,
    container: &Container,
    before: &[Attachment],
    after: &[Attachment],
) -> Result<()> {
    let endpoints =
        |all: &[Attachment]| all.iter().filter_map(|one| one.endpoint.clone()).collect::<Vec<_>>();
    let (before, after) = (endpoints(before), endpoints(after));
    let gone: Vec<&Endpoint> = before.iter().filter(|one| !after.contains(one)).collect();
    let new: Vec<Endpoint> = after.iter().filter(|one| !before.contains(one)).cloned().collect();
    let (id, ids) = (container.id.clone(), gone.iter().map(|one| one.id.clone()).collect::<Vec<_>>());
    if !ids.is_empty() {
        engine.broker.done(Ask::DisconnectNetworks { id: id.clone(), endpoints: ids }, &[]).await?;
    }
    if new.is_empty() {
        return Ok(());
    }
    let connected = engine.broker.done(Ask::ConnectNetworks { id: id.clone(), endpoints: new }, &[]).await;
    if connected.is_err() && !gone.is_empty() {
        let back = Ask::ConnectNetworks { id, endpoints: gone.into_iter().cloned().collect() };
        if let Err(failure) = engine.broker.done(back, &[]).await {
            eprintln!("casemated: container {}: its networks are not back: {failure}", container.id.short());
        }
    }
    connected
}
