//! Networks: whose they are, which addresses and ports containers have on them, and by which names they find each other.
//!
//! What a container has on its networks is kept in its endpoints and nowhere else: which addresses and ports are free
//! follows from them, after a crash as before.

mod addresses;
mod connect;
mod create;
mod denials;
mod egress;
mod endpoints;
mod names;
mod network;
mod pools;
mod ports;
mod publish;
mod range;
mod remove;
mod resolver;
mod share;
mod shown;
mod start;
mod subnets;
mod usual;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{HexId, Tenant};

pub use addresses::parse_mac;
pub use connect::{connect, disconnect};
pub use create::{IpamAsked, NetworkAsked, SubnetAsked, create};
pub use denials::{follow as hear_denials, read as denied};
pub use egress::{LABEL as EGRESS_LABEL, Rules};
pub use names::{Resolving, gateways, hosts, resolvers, split as split_link};
pub use network::{AddressesAsked, Attachment, Driver, EndpointAsked, Network, Subnet};
pub use pools::Pool;
pub use ports::wanted as published;
pub use publish::{check, warnings};
pub use range::Range;
pub use remove::{PRUNE_FILTERS, prune, remove};
pub use resolver::follow;
pub use shown::{FILTERS, attached, container, list, network, ports, settings};
pub use start::{again, attach, down, explained, reconcile, up};
pub use usual::{all, ensure, find};

use crate::db::{Batch, Db};
use crate::{Failure, Result};

/// The kind of the documents of networks.
const NETWORK: &str = "network";
/// The kind of the documents of containers' endpoints.
const ENDPOINTS: &str = "endpoints";

/// The networks of all tenants.
#[derive(Debug, Default)]
pub struct Networks {
    known: Mutex<Known>,
    /// Held while one is made or removed: ranges are chosen one after the other.
    making: tokio::sync::Mutex<()>,
    resolver: resolver::Resolver,
    denials: denials::Denials,
}

#[derive(Debug, Default)]
struct Known {
    networks: BTreeMap<HexId, Arc<Network>>,
    /// By container; the first is the one that its mode names.
    attachments: BTreeMap<HexId, Vec<Attachment>>,
    /// Where the next port of the host's choice is looked for.
    next_port: u16,
}

impl Networks {
    /// Reads what is known of them.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn load(db: &Db) -> Result<Self> {
        let mut known = Known::default();
        for (_, network) in db.all::<Network>(NETWORK)? {
            known.networks.insert(network.id.clone(), Arc::new(network));
        }
        for (id, attachments) in db.all(ENDPOINTS)? {
            known.attachments.insert(id.parse()?, attachments);
        }
        Ok(Self { known: Mutex::new(known), ..Self::default() })
    }

    /// What a container is connected to, or will be when it runs.
    pub fn of_container(&self, id: &HexId) -> Vec<Attachment> {
        self.known().attachments.get(id).cloned().unwrap_or_default()
    }

    /// A tenant's own network that is known already, by name, id or the beginning of its id.
    pub fn known_to(&self, tenant: &Tenant, name_or_id: &str) -> Option<Arc<Network>> {
        self.known().find(tenant, name_or_id).ok()
    }

    /// A container has another name.
    pub fn renamed(&self) {
        self.resolver.wake();
    }

    /// Keeps what a container is to be connected to.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub fn keep(&self, batch: &Batch<'_>, id: &HexId, attachments: Vec<Attachment>) -> Result<()> {
        batch.put(ENDPOINTS, id.as_str(), &attachments)?;
        self.known().attachments.insert(id.clone(), attachments);
        Ok(())
    }

    /// The endpoints that a container's network namespace is to have.
    pub fn endpoints(&self, id: &HexId) -> Vec<casemate_spec::wire::Endpoint> {
        let known = self.known();
        known.attachments.get(id).into_iter().flatten().filter_map(|one| one.endpoint.clone()).collect()
    }

    /// Forgets a container.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub fn forget(&self, batch: &Batch<'_>, id: &HexId) -> Result<()> {
        batch.remove(ENDPOINTS, id.as_str())
    }

    /// A container is forgotten.
    pub fn forgotten(&self, id: &HexId) {
        self.known().attachments.remove(id);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// By name, id, or the beginning of an id where only one of the tenant's begins so.
    fn find(&self, tenant: &Tenant, name_or_id: &str) -> Result<Arc<Network>> {
        let missing = || Failure::not_found(format!("network {name_or_id} not found"));
        let own = || self.networks.values().filter(|one| one.tenant == *tenant && !one.pending);
        if let Some(found) = own().find(|one| one.id.as_str() == name_or_id || one.name == name_or_id) {
            return Ok(Arc::clone(found));
        }
        let mut begun = own().filter(|one| !name_or_id.is_empty() && one.id.as_str().starts_with(name_or_id));
        match (begun.next(), begun.next()) {
            (Some(one), None) => Ok(Arc::clone(one)),
            (None, _) => Err(missing()),
            _ => {
                let message = format!("network {name_or_id} is ambiguous (several ids begin so)");
                Err(Failure::invalid(message))
            }
        }
    }

    /// Who may send from an address on a bridge.
    fn sender(&self, bridge: &str, address: IpAddr) -> Option<HexId> {
        let of = |one: &Attachment| {
            one.endpoint.as_ref().is_some_and(|endpoint| {
                endpoint.sources().any(|source| source == address)
                    && casemate_spec::wire::Network::bridge_of(&endpoint.network) == bridge
            })
        };
        self.attachments.iter().find(|(_, all)| all.iter().any(of)).map(|(id, _)| id.clone())
    }

    /// Everybody who is on a network, while they run.
    fn on<'a>(&'a self, network: &'a HexId) -> impl Iterator<Item = (&'a HexId, &'a Attachment)> {
        let each = self.attachments.iter().flat_map(|(id, all)| all.iter().map(move |one| (id, one)));
        each.filter(move |(_, one)| {
            one.endpoint.as_ref().is_some_and(|endpoint| endpoint.network == *network)
        })
    }

    /// The addresses on a network that are somebody's.
    fn taken(&self, network: &HexId) -> BTreeSet<IpAddr> {
        let endpoints = self.on(network).filter_map(|(_, one)| one.endpoint.as_ref());
        endpoints.flat_map(|endpoint| endpoint.addresses.iter().map(|(address, _)| *address)).collect()
    }

    /// The ports of the host that are somebody's.
    fn ports(&self) -> ports::Taken {
        let all = self.attachments.values().flatten().filter_map(|one| one.endpoint.as_ref());
        let ports = all.flat_map(|endpoint| endpoint.ports.iter().map(|port| (port.protocol, port.host)));
        ports::Taken { ports: ports.collect(), next: self.next_port, ..ports::Taken::default() }
    }
}
