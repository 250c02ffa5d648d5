//! What is connected: held to its tenant's networks, to addresses that nobody else has, and to itself.

use casemate_spec::Error;
use casemate_spec::wire::{Container, Endpoint, HexId, NamespaceOf, NetOrder, Refusal, RefusalKind, Tenant};

use crate::broker::Broker;
use crate::containers::Attached;
use crate::refusal::refuse;
use crate::tree;

/// The order that the hook finds in a bundle, and the next broker.
pub const ORDER: &str = "net.json";

impl Broker {
    /// Everything that is connected, and what is still being disconnected.
    pub(crate) fn attached(&self) -> impl Iterator<Item = (&HexId, &Endpoint)> {
        self.containers.iter().flat_map(|(id, container)| {
            let now = container.attached.iter().flat_map(|attached| &attached.endpoints);
            now.map(move |endpoint| (id, endpoint))
        })
    }

    /// Whether these may be a container's: nothing has happened when one may not.
    pub(crate) fn admit_endpoints(
        &self,
        id: &HexId,
        tenant: &Tenant,
        endpoints: &[Endpoint],
    ) -> Result<(), Refusal> {
        for endpoint in endpoints {
            self.admit_endpoint(id, tenant, endpoint)?;
        }
        Ok(())
    }

    fn admit_endpoint(&self, id: &HexId, tenant: &Tenant, endpoint: &Endpoint) -> Result<(), Refusal> {
        let name = endpoint.network.short();
        let invalid = |text: &str| Err(refuse(RefusalKind::Invalid, format!("network {name}: {text}")));
        // What is another's is not there.
        let network = self.networks.get(&endpoint.network).filter(|network| network.tenant == *tenant);
        let network =
            network.ok_or_else(|| refuse(RefusalKind::NotFound, format!("network {name}: there is none")))?;
        for (address, prefix) in &endpoint.addresses {
            let fits = network.subnets.iter().any(|subnet| {
                subnet.has_host(*address) && subnet.prefix == *prefix && subnet.gateway != Some(*address)
            });
            if !fits {
                return invalid(&format!("{address}/{prefix} is no address of it"));
            }
        }
        let ways =
            |way| network.subnets.iter().any(|subnet| subnet.gateway == Some(way) || subnet.has_host(way));
        if !endpoint.routes.iter().all(|way| ways(*way)) {
            return invalid("the way out does not begin on it");
        }
        if network.internal && !(endpoint.routes.is_empty() && endpoint.ports.is_empty()) {
            return invalid("it is internal: there is no way out, and nothing is published");
        }
        let leaving =
            self.containers.iter().flat_map(|(id, one)| one.leaving.iter().map(move |end| (id, end)));
        for (owner, other) in self.attached().chain(leaving) {
            let same_network = other.network == endpoint.network;
            let same_address = other.addresses.iter().any(|taken| endpoint.addresses.contains(taken));
            let own = owner == id && (other.number == endpoint.number || same_network);
            if other.id == endpoint.id || own || same_network && (same_address || other.mac == endpoint.mac) {
                let text = format!("network {name}: an address, or the endpoint, is in use");
                return Err(refuse(RefusalKind::Conflict, text));
            }
        }
        Ok(())
    }

    /// Takes up what a container that is about to start asks for, and writes the hook's order. Nothing is held where it
    /// is refused.
    pub(crate) fn admit_networks(&mut self, id: &HexId, asked: &Container) -> Result<(), Refusal> {
        if asked.endpoints.is_empty() && !asked.resolver {
            return Ok(());
        }
        if asked.namespaces.network != NamespaceOf::Own {
            return Err(refuse(RefusalKind::Invalid, "endpoints: the network is somebody else's"));
        }
        self.admit_endpoints(id, &asked.tenant, &asked.endpoints)?;
        let ports = self.reserve(&asked.endpoints)?;
        let attached = Attached { endpoints: asked.endpoints.clone(), resolver: asked.resolver, ports };
        if let Some(container) = self.containers.get_mut(id) {
            container.attached = Some(attached);
        }
        Ok(())
    }

    /// The command line of the hook, where there is something to connect.
    pub(crate) fn hook(&self, asked: &Container) -> Option<Vec<String>> {
        let mut words = self.net_words();
        words.insert(1, "hook".to_owned());
        (!asked.endpoints.is_empty() || asked.resolver).then_some(words)
    }

    /// Writes down what is connected, for the hook and for the next broker.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn write_attached(&self, id: &HexId) -> casemate_spec::Result<()> {
        let Some(attached) = self.containers.get(id).and_then(|container| container.attached.as_ref()) else {
            return Ok(());
        };
        let order = NetOrder::Attach {
            pid: 0,
            endpoints: attached.endpoints.clone(),
            networks: self.networks_of(&attached.endpoints),
            resolver: attached.resolver.then(|| id.clone()),
        };
        self.write_document(id.as_str(), ORDER, &order)
    }

    /// The same for one that runs: it does so whatever became of the file.
    pub(crate) fn keep_attached(&self, id: &HexId) {
        if let Err(error) = self.write_attached(id) {
            crate::say(&error);
        }
    }

    /// What an earlier broker has connected. A port that somebody has taken since is told of, and stays where it leads.
    pub(crate) fn adopt_networks(&mut self, id: &HexId, bundle: &std::os::fd::OwnedFd) {
        let read = tree::read(bundle, ORDER).ok().flatten();
        let order = read.and_then(|bytes| serde_json::from_slice::<NetOrder>(&bytes).ok());
        let Some(NetOrder::Attach { endpoints, resolver, .. }) = order else { return };
        let ports = self.reserve(&endpoints).unwrap_or_else(|refusal| {
            crate::say(&Error::new("ports", refusal.message));
            Vec::new()
        });
        if let Some(container) = self.containers.get_mut(id) {
            container.attached = Some(Attached { endpoints, resolver: resolver.is_some(), ports });
        }
    }

    pub(crate) fn tenant_of(&self, id: &HexId) -> Result<Tenant, Refusal> {
        let unknown =
            || refuse(RefusalKind::NotFound, format!("container {}: it has no place here", id.short()));
        self.containers.get(id).map(|container| container.made.tenant.clone()).ok_or_else(unknown)
    }
}
