//! Networks: whose they are, and what `casemate-net` is told of them. Their documents stay with the instance, so that
//! every broker can have everything be as it should.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use casemate_spec::wire::{
    Allowed, Answer, Endpoint, HexId, NetOrder, Network, NetworkKind, Refusal, RefusalKind,
};
use casemate_spec::{Error, Result};

use crate::broker::{Asker, Broker, Detached, refused};
use crate::bundle::command;
use crate::child::{Ended, Listen, Running};
use crate::containers::Attached;
use crate::packet::in_memory;
use crate::places::ROOT;
use crate::refusal::refuse;
use crate::tree;

/// How long one order may take; the kernel is slow to forget interfaces when many are forgotten at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of one tenant: each two of them are a pair.
const NETWORKS: usize = 256;
/// How long others' changes of our tables are waited for to be over.
const SETTLED: Duration = Duration::from_millis(100);

/// What is done to have the rules be as they should.
#[derive(Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    Idle,
    /// It is being done.
    Busy,
    /// Something has changed meanwhile.
    Again,
}

impl Broker {
    /// Reads the documents.
    ///
    /// # Errors
    /// The place cannot be read.
    pub(crate) fn load_networks(&mut self) -> Result<()> {
        for name in tree::names(&self.places.networks)? {
            let read = tree::read(&self.places.networks, &name)?;
            let network = read.and_then(|bytes| serde_json::from_slice::<Network>(&bytes).ok());
            self.networks.extend(network.map(|network| (network.id.clone(), network)));
        }
        Ok(())
    }

    /// Has everything be as the documents say, and stay so.
    pub(crate) fn begin_networks(&mut self) {
        self.watch = self.there(|| Ok(crate::watch::open())).ok().flatten();
        self.networked = !self.networks.is_empty();
        if self.networked {
            self.repair();
        }
    }

    /// Makes a network, or has one that is there be so.
    pub(crate) fn make_network(&mut self, asker: &Asker, network: Network) -> Result<(), Refusal> {
        self.have_networks()?;
        let conflict = |text: String| Err(refuse(RefusalKind::Conflict, text));
        let known = self.networks.get(&network.id);
        if known.is_some_and(|known| known != &network) {
            return conflict(format!("network {}: it is there, and another", network.id.short()));
        }
        if let NetworkKind::Macvlan { parent } = &network.kind
            && self.arguments.macvlan.get(parent) != Some(&network.tenant)
        {
            // Whether it is another's, or there at all, is not theirs to know.
            let text = format!("interface {parent}: it is none for tenant {} to build upon", network.tenant);
            let mut refusal = refuse(RefusalKind::Denied, text);
            let hint = format!("the operator starts casemate up with --macvlan {parent}={}", network.tenant);
            refusal.hint = Some(hint);
            return Err(refusal);
        }
        let others = || self.networks.values().filter(|other| other.id != network.id);
        if others().filter(|other| other.tenant == network.tenant).count() >= NETWORKS {
            let text = format!("tenant {}: it has {NETWORKS} networks", network.tenant);
            return Err(refuse(RefusalKind::Denied, text));
        }
        // What is built upon an interface of the host has the addresses that are there.
        for other in others().filter(|other| other.kind == NetworkKind::Bridge) {
            let overlaps = |subnet| {
                other.subnets.iter().any(|taken: &casemate_spec::wire::Subnet| taken.overlaps(subnet))
            };
            if let Some(subnet) = network.subnets.iter().find(|subnet| overlaps(subnet)) {
                return conflict(format!("subnet {}/{}: it is in use", subnet.address, subnet.prefix));
            }
        }
        let (is_new, order) =
            (known.is_none(), NetOrder::Make { network: network.clone(), kin: self.kin(&network) });
        let bytes =
            serde_json::to_vec(&network).map_err(|error| refuse(RefusalKind::Failed, error.to_string()))?;
        let id = network.id.clone();
        tree::write(&self.places.networks, id.as_str(), &bytes, ROOT, 0o600, false).map_err(refused)?;
        self.networks.insert(id.clone(), network);
        self.networked = true;
        let asker = asker.clone();
        self.net(&order, None, move |broker, ended| {
            let done = outcome(&ended);
            if done.is_err() && is_new {
                broker.forget_network(&id);
            }
            broker.answer_done(&asker, done);
        })
    }

    /// Removes one.
    pub(crate) fn drop_network(&mut self, asker: &Asker, id: &HexId) -> Result<(), Refusal> {
        let in_use = self.attached().any(|(_, endpoint)| endpoint.network == *id);
        if in_use {
            return Err(refuse(
                RefusalKind::Conflict,
                format!("network {}: containers are on it", id.short()),
            ));
        }
        let Some(network) = self.networks.get(id).cloned() else {
            self.answer_done(asker, Ok(()));
            return Ok(());
        };
        let order = NetOrder::Drop { kin: self.kin(&network), network };
        let (asker, id) = (asker.clone(), id.clone());
        // It is gone from now on: nobody is connected to what is being removed.
        self.forget_network(&id);
        self.net(&order, None, move |broker, ended| broker.answer_done(&asker, outcome(&ended)))
    }

    fn forget_network(&mut self, id: &HexId) {
        self.networks.remove(id);
        if let Err(error) = tree::remove(&self.places.networks, id.as_str()) {
            crate::say(&error);
        }
    }

    /// The tenant's other bridges.
    fn kin(&self, network: &Network) -> Vec<HexId> {
        let ours = |other: &&Network| {
            other.tenant == network.tenant && other.id != network.id && other.kind == NetworkKind::Bridge
        };
        self.networks.values().filter(ours).map(|other| other.id.clone()).collect()
    }

    /// Networks that endpoints are on.
    pub(crate) fn networks_of(&self, endpoints: &[Endpoint]) -> Vec<Network> {
        endpoints.iter().filter_map(|endpoint| self.networks.get(&endpoint.network).cloned()).collect()
    }

    /// Connects a running container.
    pub(crate) fn connect_networks(
        &mut self,
        asker: &Asker,
        id: &HexId,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), Refusal> {
        let tenant = self.tenant_of(id)?;
        self.admit_endpoints(id, &tenant, &endpoints)?;
        let namespace = self.namespace_of(id)?;
        let networks = self.networks_of(&endpoints);
        let ports = self.reserve(&endpoints)?;
        let order = NetOrder::Attach { pid: 0, endpoints: endpoints.clone(), networks, resolver: None };
        let container = self.containers.get_mut(id);
        let attached = container.map(|container| container.attached.get_or_insert_with(Attached::default));
        if let Some(attached) = attached {
            attached.endpoints.extend(endpoints.iter().cloned());
            attached.ports.extend(ports);
        }
        let (asker, id) = (asker.clone(), id.clone());
        self.keep_attached(&id);
        let names: Vec<HexId> = endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
        self.net(&order, Some(namespace), move |broker, ended| {
            let done = outcome(&ended);
            let there = broker.containers.get(&id).is_some_and(|container| container.attached.is_some());
            if !there {
                // It has ended meanwhile.
                broker.detach_all(endpoints, |_| {});
            } else if done.is_err() {
                broker.let_go(&id, &names);
            }
            broker.repair_if_busy();
            broker.answer_done(&asker, done);
        })
    }

    /// Disconnects a running container.
    pub(crate) fn disconnect_networks(
        &mut self,
        asker: &Asker,
        id: &HexId,
        names: &[HexId],
    ) -> Result<(), Refusal> {
        let namespace = self.namespace_of(id)?;
        let attached = self.containers.get(id).and_then(|container| container.attached.as_ref());
        let endpoints: Vec<Endpoint> = attached
            .iter()
            .flat_map(|attached| &attached.endpoints)
            .filter(|endpoint| names.contains(&endpoint.id))
            .cloned()
            .collect();
        let networks = self.networks_of(&endpoints);
        let order = NetOrder::Detach { endpoints, networks, inside: true };
        let (asker, id, names) = (asker.clone(), id.clone(), names.to_vec());
        self.net(&order, Some(namespace), move |broker, ended| {
            let done = outcome(&ended);
            if done.is_ok() {
                broker.let_go(&id, &names);
            }
            broker.repair_if_busy();
            broker.answer_done(&asker, done);
        })
    }

    /// Some of a container's endpoints are no more.
    fn let_go(&mut self, id: &HexId, names: &[HexId]) {
        if let Some(attached) = self.containers.get_mut(id).and_then(|container| container.attached.as_mut())
        {
            let gone = |endpoint: &HexId| names.contains(endpoint);
            attached.endpoints.retain(|endpoint| !gone(&endpoint.id));
            attached.ports.retain(|(endpoint, _)| !gone(endpoint));
        }
        self.keep_attached(id);
    }

    /// Lets a running container reach more, for a while.
    pub(crate) fn admit_egress(
        &mut self,
        asker: &Asker,
        id: &HexId,
        allowed: Vec<Allowed>,
        seconds: u32,
    ) -> Result<(), Refusal> {
        let attached = self.containers.get(id).and_then(|container| container.attached.as_ref());
        let limited = attached.iter().flat_map(|attached| &attached.endpoints);
        let limited = limited.filter(|endpoint| endpoint.egress.is_some());
        let from = limited.flat_map(|endpoint| &endpoint.addresses).map(|(address, _)| *address).collect();
        let asker = asker.clone();
        self.net(&NetOrder::Admit { from, allowed, seconds }, None, move |broker, ended| {
            broker.answer_done(&asker, outcome(&ended));
        })
    }

    /// Disconnects a container whose process has ended. What is held for it is held until that is done, and whoever
    /// wants to start or remove it waits.
    pub(crate) fn detach(&mut self, id: &HexId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(attached) = container.attached.take() else { return };
        container.leaving = attached.endpoints.clone();
        let id = id.clone();
        self.detach_all(attached.endpoints, move |broker| {
            drop(attached.ports);
            if let Some(container) = broker.containers.get_mut(&id) {
                container.leaving.clear();
            }
            let waited = std::mem::take(&mut broker.when_detached).into_iter();
            let (now, later) = waited.partition::<Vec<_>, _>(|waiting| waiting.id == id);
            broker.when_detached = later;
            now.into_iter().for_each(|waiting| (waiting.then)(broker));
            broker.unpark(&id);
        });
    }

    /// Goes on with `then` when nothing of a container's connections is left: its ports are free then.
    pub(crate) fn when_detached(&mut self, id: &HexId, then: impl FnOnce(&mut Self) + 'static) {
        if self.containers.get(id).is_none_or(|container| container.leaving.is_empty()) {
            return then(self);
        }
        self.when_detached.push(Detached { id: id.clone(), then: Box::new(then) });
    }

    fn detach_all(&mut self, endpoints: Vec<Endpoint>, then: impl FnOnce(&mut Self) + 'static) {
        if endpoints.is_empty() {
            return then(self);
        }
        let order = NetOrder::Detach { networks: self.networks_of(&endpoints), endpoints, inside: false };
        let told = self.net(&order, None, move |broker, ended| {
            broker.mend(&ended);
            broker.repair_if_busy();
            then(broker);
        });
        complain(told);
    }

    /// What could not be removed is left out by the next repair.
    pub(crate) fn mend(&mut self, ended: &Ended) {
        if complain(outcome(ended)) {
            self.repair();
        }
    }

    /// Has all rules, and what is missing of links, be as they should.
    pub(crate) fn repair(&mut self) {
        if self.repair != Repair::Idle {
            self.repair = Repair::Again;
            return;
        }
        self.repair = Repair::Busy;
        let endpoints = self.attached().map(|(_, endpoint)| endpoint.clone()).collect();
        let order = NetOrder::Repair { networks: self.networks.values().cloned().collect(), endpoints };
        let told = self.net(&order, None, |broker, ended| {
            complain(outcome(&ended));
            let again = std::mem::replace(&mut broker.repair, Repair::Idle) == Repair::Again;
            if again {
                broker.repair();
            }
        });
        complain(told);
    }

    /// What has changed while it was at it may not be what it has put there.
    pub(crate) fn repair_if_busy(&mut self) {
        if self.repair == Repair::Busy {
            self.repair = Repair::Again;
        }
    }

    /// Somebody may have changed our tables.
    pub(crate) fn tables_changed(&mut self) {
        let table = self.places.table();
        if self.watch.as_ref().is_some_and(|watch| crate::watch::changed(watch, &table))
            && !self.networks.is_empty()
        {
            self.repair_at.get_or_insert_with(|| std::time::Instant::now() + SETTLED);
        }
    }

    /// Nothing runs, and nothing is left: bridges and rules go, and are made again when they are asked for.
    pub(crate) fn leave_networks(&mut self) {
        let networks = std::mem::take(&mut self.networks);
        let drop = networks.into_values().map(|network| NetOrder::Drop { network, kin: Vec::new() });
        let all = NetOrder::Repair { networks: Vec::new(), endpoints: Vec::new() };
        let mut orders: Vec<NetOrder> = drop.collect();
        if !self.networked {
            return;
        }
        orders.push(all);
        for order in &orders {
            let ended = self
                .net_command(order)
                .and_then(|mut command| command.status().map_err(|error| Error::io("casemate-net", &error)));
            if let Err(error) = ended {
                crate::say(&error);
            }
        }
    }

    pub(crate) fn net_command(&self, order: &NetOrder) -> Result<std::process::Command> {
        let bytes = serde_json::to_vec(order).map_err(|error| Error::new("order", error.to_string()))?;
        let words = self.net_words();
        let mut command = command(words.iter().map(String::as_str));
        command.stdin(in_memory("order", &bytes)?);
        Ok(command)
    }

    /// The helper's command line.
    pub(crate) fn net_words(&self) -> Vec<String> {
        let program = self.arguments.libexec.join("casemate-net").to_string_lossy().into_owned();
        let resolver = self.places.run.join("dns.sock").to_string_lossy().into_owned();
        let mut words =
            vec![program, "--table".to_owned(), self.places.table(), "--resolver".to_owned(), resolver];
        if let Some(namespace) = &self.arguments.namespace {
            words.extend(["--namespace".to_owned(), namespace.to_string_lossy().into_owned()]);
        }
        words
    }

    /// Gives an order, with a network namespace as descriptor 3 where it is about one.
    fn net(
        &mut self,
        order: &NetOrder,
        namespace: Option<OwnedFd>,
        then: impl FnOnce(&mut Self, Ended) + 'static,
    ) -> Result<(), Refusal> {
        let command = self.net_command(order).map_err(refused)?;
        let Some(namespace) = namespace else {
            self.run(command, Listen::Word, PATIENCE, then);
            return Ok(());
        };
        let null =
            std::fs::File::open("/dev/null").map_err(|error| refused(Error::io("/dev/null", &error)))?;
        let start = || Running::start(command, Listen::Word, Some(PATIENCE));
        let running = self.slots.lend(&namespace, &null.into(), start).map_err(refused)?;
        self.follow(running, then);
        Ok(())
    }

    /// The network namespace of a container that runs, which is its own.
    fn namespace_of(&self, id: &HexId) -> Result<OwnedFd, Refusal> {
        let gone = || refuse(RefusalKind::Conflict, format!("container {}: it is not running", id.short()));
        let process = self.containers.get(id).and_then(|container| container.process());
        let process = process.and_then(|process| process.kept.process).ok_or_else(gone)?;
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", process.pid)).map_err(|_| gone())?;
        // Asked after it is held.
        process.open().ok_or_else(gone)?;
        let number =
            |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let own =
            std::fs::File::open("/proc/self/ns/net").map_err(|error| refused(Error::io("ns/net", &error)))?;
        if number(namespace.as_fd()) == number(own.as_fd()) {
            return Err(refuse(RefusalKind::Invalid, "the container has the host's network"));
        }
        Ok(namespace.into())
    }

    /// Opens the sockets of all that ask for names once more: whoever had them is gone.
    pub(crate) fn reopen_names(&mut self) {
        let asks = |container: &crate::containers::Container| {
            container.process().is_some()
                && container.attached.as_ref().is_some_and(|attached| attached.resolver)
        };
        let ids = self.containers.iter().filter(|(_, container)| asks(container)).map(|(id, _)| id.clone());
        for id in ids.collect::<Vec<_>>() {
            let order = NetOrder::Attach {
                pid: 0,
                endpoints: Vec::new(),
                networks: Vec::new(),
                resolver: Some(id.clone()),
            };
            let told = self.namespace_of(&id).and_then(|namespace| {
                self.net(&order, Some(namespace), |_, ended| {
                    if let Err(refusal) = outcome(&ended) {
                        crate::say(&Error::new("casemate-net", refusal.message));
                    }
                })
            });
            if let Err(refusal) = told {
                crate::say(&Error::new("resolver", refusal.message));
            }
        }
    }

    /// A channel to the resolver.
    pub(crate) fn resolver_channel(&mut self) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        let channel = self.dns.channel(&self.places.run.join("dns.sock")).map_err(refused)?;
        Ok((Answer::Connected, vec![channel]))
    }
}

/// Says what has failed, and whether it has.
fn complain(done: Result<(), Refusal>) -> bool {
    done.map_err(|refusal| crate::say(&Error::new("casemate-net", refusal.message))).is_err()
}

/// How an order went.
pub fn outcome(ended: &Ended) -> Result<(), Refusal> {
    let kind = match ended.code {
        0 => return Ok(()),
        2 => RefusalKind::Invalid,
        3 => RefusalKind::Conflict,
        _ => RefusalKind::Failed,
    };
    let said = ended.said.lines().filter(|line| !line.starts_with("hint: "));
    let said =
        said.map(|line| line.strip_prefix("casemate-net: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    Err(refuse(
        kind,
        if said.is_empty() { format!("casemate-net: it ended with {}", ended.code) } else { said },
    ))
}
