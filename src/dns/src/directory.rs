//! What the daemon has said: networks with their names, and who is on them.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use casemate_spec::wire::{Client, HexId, Names};

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Directory {
    networks: HashMap<HexId, Network>,
    clients: HashMap<HexId, Rc<Client>>,
}

#[derive(Debug, Default)]
struct Network {
    own: Option<String>,
    names: HashMap<String, Entry>,
    reverse: HashMap<IpAddr, String>,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: Vec<IpAddr>,
    /// Which of them is first in the next answer, by family: resolvers ask for both at once.
    first: [Cell<usize>; 2],
}

impl Directory {
    /// Takes a word of the daemon's to heart.
    pub fn learn(&mut self, names: Names) {
        match names {
            Names::Reset => *self = Self::default(),
            Names::Network { network, name: Some(name) } => self.network(network).own = Some(lower(&name)),
            Names::Network { network, name: None } => {
                self.networks.remove(&network);
            }
            Names::Name { network, name, addresses } if addresses.is_empty() => {
                self.network(network).names.remove(&lower(&name));
            }
            Names::Name { network, name, addresses } => {
                let entry = Entry { addresses, first: Default::default() };
                self.network(network).names.insert(lower(&name), entry);
            }
            Names::Reverse { network, address, name: Some(name) } => {
                self.network(network).reverse.insert(address, name);
            }
            Names::Reverse { network, address, name: None } => {
                self.network(network).reverse.remove(&address);
            }
            Names::Client { container, client } => {
                self.clients.insert(container, Rc::new(client));
            }
            Names::Gone { container } => {
                self.clients.remove(&container);
            }
            Names::Complete | Names::Admitted { .. } => {}
        }
    }

    /// A container.
    pub fn client(&self, container: &HexId) -> Option<Rc<Client>> {
        self.clients.get(container).cloned()
    }

    /// What a name stands for, to a client: the addresses that `wanted` takes, from the first of its networks that has
    /// any. None is: no name of ours.
    pub fn find(&self, client: &Client, name: &str, wanted: impl Fn(&IpAddr) -> bool) -> Option<Vec<IpAddr>> {
        let mut known = false;
        if let Some(own) = client.own.get(name) {
            known = true;
            let found: Vec<IpAddr> = own.iter().filter(|address| wanted(address)).copied().collect();
            if !found.is_empty() {
                return Some(found);
            }
        }
        for entry in self.entries(client, name) {
            known = true;
            let found = entry.rotated(&wanted);
            if !found.is_empty() {
                return Some(found);
            }
        }
        known.then(Vec::new)
    }

    /// The name of an address on one of a client's networks.
    pub fn reverse(&self, client: &Client, address: &IpAddr) -> Option<&str> {
        let mut networks = self.networks_of(client);
        networks.find_map(|network| network.reverse.get(address)).map(String::as_str)
    }

    fn network(&mut self, network: HexId) -> &mut Network {
        self.networks.entry(network).or_default()
    }

    fn networks_of(&self, client: &Client) -> impl Iterator<Item = &Network> {
        client.networks.iter().filter_map(|network| self.networks.get(network))
    }

    /// On every network of the client's, the name itself, then the name before the network's own.
    fn entries(&self, client: &Client, name: &str) -> impl Iterator<Item = &Entry> {
        let within = self.networks_of(client).filter_map(move |network| network.names.get(name));
        let qualified = self.networks_of(client).filter_map(move |network| {
            let short = name.strip_suffix(network.own.as_deref()?)?.strip_suffix('.')?;
            network.names.get(short)
        });
        within.chain(qualified)
    }
}

impl Entry {
    fn rotated(&self, wanted: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> =
            self.addresses.iter().filter(|address| wanted(address)).copied().collect();
        let [four, six] = &self.first;
        let first = if found.first().is_some_and(IpAddr::is_ipv6) { six } else { four };
        if let Some(by) = first.get().checked_rem(found.len()) {
            found.rotate_left(by);
            first.set(first.get().wrapping_add(1));
        }
        found
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}
