//! What a container has on its networks while it runs: addresses, ways out, published ports.

use std::net::IpAddr;
use std::sync::Arc;

use casemate_spec::wire::{Endpoint, HexId, Tenant};

use super::connect::wanted_inside;
use super::network::{Attachment, Driver, Network};
use super::publish::Plan;
use super::{Known, addresses, ports};
use crate::{Failure, Kind, Result};

/// A container's attachments, with their networks.
type Row<'a> = (&'a mut Attachment, Arc<Network>);

impl Known {
    /// The network of an attachment.
    ///
    /// # Errors
    /// It is gone, in Docker's words.
    pub(super) fn network_of(&self, tenant: &Tenant, attachment: &Attachment) -> Result<Arc<Network>> {
        let Some(id) = &attachment.network else { return self.find(tenant, &attachment.name) };
        let found = self.networks.get(id).filter(|found| found.tenant == *tenant);
        found.cloned().ok_or_else(|| Failure::not_found(format!("network {id} not found")))
    }

    /// Gives a container's attachments their endpoints: those that have one keep their addresses, and all of them have
    /// the ways out and the ports that are due to them together.
    ///
    /// # Errors
    /// A network is gone, or an address or port is somebody else's; nothing has changed then.
    pub(super) fn connect(
        &mut self,
        tenant: &Tenant,
        name: &str,
        plan: &Plan,
        attachments: &mut [Attachment],
    ) -> Result<()> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for one in attachments.iter_mut().filter(|one| !matches!(one.name.as_str(), "none" | "host")) {
            let network = self.network_of(tenant, one)?;
            if plan.egress.is_some() && matches!(network.driver, Driver::Macvlan { .. }) {
                let message =
                    format!("egress of the container is limited, which network {} cannot be", network.name);
                return Err(Failure::new(Kind::Forbidden, message));
            }
            one.network = Some(network.id.clone());
            rows.push((one, network));
        }
        for at in 0..rows.len() {
            if rows[at].0.endpoint.is_none() {
                let number = free_number(&rows);
                let (attachment, network) = &mut rows[at];
                let made = self.endpoint(attachment, network, number)?;
                attachment.endpoint = Some(made);
            }
        }
        let (four, six) = (way_out(&rows, true), way_out(&rows, false));
        for (at, (attachment, network)) in rows.iter_mut().enumerate() {
            let Some(endpoint) = &mut attachment.endpoint else { continue };
            let ways = [(four, true), (six, false)].into_iter().filter(|(way, _)| *way == Some(at));
            endpoint.routes = ways.filter_map(|(_, four)| network.gateway(four)).collect();
            endpoint.egress = plan.egress();
            endpoint.link_local = plan.link_local;
        }
        self.publish(name, plan, &mut rows, (four, six))
    }

    fn endpoint(&self, attachment: &Attachment, network: &Network, number: u16) -> Result<Endpoint> {
        let taken = self.taken(&network.id);
        let mut chosen = Vec::new();
        for subnet in &network.subnets {
            let wanted = attachment.wanted(subnet.range.is_ipv4())?;
            if wanted.is_some() {
                let within = format!("invalid config for network {}", network.name);
                wanted_inside(attachment, network).map_err(|failure| failure.within(within))?;
            }
            let free = addresses::choose(subnet, &taken, wanted)?;
            let address = free.ok_or_else(|| exhausted(network, subnet.range.is_ipv4()))?;
            chosen.push((address, subnet.range.prefix()));
        }
        let first = chosen.iter().map(|(address, _)| *address).max_by_key(IpAddr::is_ipv4);
        let mac = match attachment.asked.mac_address.as_str() {
            "" => first.map(addresses::mac).ok_or_else(|| Failure::failed("a network without addresses"))?,
            text => addresses::parse_mac(text)?,
        };
        Ok(Endpoint {
            id: HexId::from_bytes(crate::containers::random()?),
            network: network.id.clone(),
            number,
            mac,
            addresses: chosen,
            routes: Vec::new(),
            ports: Vec::new(),
            egress: None,
            link_local: false,
        })
    }

    /// Ports are published where the way out is: answers take it.
    fn publish(
        &mut self,
        name: &str,
        plan: &Plan,
        rows: &mut [Row<'_>],
        (four, six): (Option<usize>, Option<usize>),
    ) -> Result<()> {
        let before: Vec<_> = rows.iter_mut().filter_map(|(one, _)| one.endpoint.as_mut()).collect();
        let before: Vec<_> =
            before.into_iter().flat_map(|endpoint| std::mem::take(&mut endpoint.ports)).collect();
        let of_family = |at: Option<usize>, four: bool, port: &casemate_spec::wire::Published| {
            port.host.is_ipv4() == four && at.is_some()
        };
        let has = |at: Option<usize>, four| at.is_some_and(|at| rows[at].0.address(four).is_some());
        let (has_four, has_six) = (has(four, true), has(six, false));
        let all = if before.is_empty() {
            let mut taken = ports::Taken { attempt: plan.attempt, ..self.ports() };
            let mut all = Vec::new();
            for wanted in &plan.ports {
                let Some(first) = four.or(six) else { break };
                let usual = plan.address_on(&rows[first].1);
                let hosts = ports::addresses(wanted.address, usual, has_four, has_six)?;
                let id = rows[first].0.endpoint.as_ref().map(|one| one.id.to_string()).unwrap_or_default();
                let what =
                    || format!("driver failed programming external connectivity on endpoint {name} ({id})");
                all.extend(taken.publish(wanted, &hosts).map_err(|failure| failure.within(what()))?);
            }
            self.next_port = taken.next;
            all
        } else {
            // Where they are they stay, whatever becomes of the way out.
            before
        };
        for (at, is_four) in [(four, true), (six, false)] {
            let Some(endpoint) = at.and_then(|at| rows[at].0.endpoint.as_mut()) else { continue };
            endpoint.ports.extend(all.iter().filter(|port| of_family(at, is_four, port)).copied());
        }
        Ok(())
    }
}

fn exhausted(network: &Network, four: bool) -> Failure {
    let (family, name, id) = (if four { "IPv4" } else { "IPv6" }, &network.name, &network.id);
    Failure::failed(format!("no available {family} addresses on this network's address pools: {name} ({id})"))
}

/// The lowest number that no interface of the container has.
fn free_number(rows: &[Row<'_>]) -> u16 {
    let used = |number: &u16| {
        rows.iter().any(|(one, _)| one.endpoint.as_ref().is_some_and(|endpoint| endpoint.number == *number))
    };
    (0..=u16::MAX).find(|number| !used(number)).unwrap_or_default()
}

/// Which of a container's networks its packets leave by: that of the highest priority, and of those the first by name, as
/// under Docker.
fn way_out(rows: &[Row<'_>], four: bool) -> Option<usize> {
    let ways = rows.iter().enumerate().filter(|(_, (_, network))| network.gateway(four).is_some());
    let best = ways.min_by(|(_, (a, x)), (_, (b, y))| {
        b.asked.gw_priority.cmp(&a.asked.gw_priority).then_with(|| x.name.cmp(&y.name))
    });
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use casemate_spec::wire::Protocol;

    use super::super::network::{AddressesAsked, EndpointAsked};
    use super::super::subnets::chosen;
    use super::*;

    fn network(known: &mut Known, name: &str, ranges: &[&str], internal: bool) {
        let id = crate::images::sha256(name.as_bytes());
        let network = Network {
            id: id.clone(),
            tenant: "a".parse().expect("a tenant"),
            name: name.to_owned(),
            created: 0,
            driver: Driver::Bridge,
            subnets: ranges
                .iter()
                .map(|range| asked(chosen(range.parse().expect("a range"), internal)))
                .collect(),
            internal,
            attachable: false,
            options: Default::default(),
            ipam_options: Default::default(),
            labels: Default::default(),
            usual: false,
            pending: false,
        };
        known.networks.insert(id, Arc::new(network));
    }

    fn asked(subnet: super::super::Subnet) -> super::super::Subnet {
        super::super::Subnet { asked: true, ..subnet }
    }

    fn known() -> Known {
        let mut known = Known::default();
        network(&mut known, "front", &["10.1.0.0/24"], false);
        network(&mut known, "back", &["10.2.0.0/24", "fd00:2::/64"], false);
        network(&mut known, "aaa", &["10.3.0.0/24"], true);
        known
    }

    fn plan(ports: &[(u16, Option<u16>)]) -> Plan {
        let port = |(port, host): &(u16, Option<u16>)| ports::Wanted {
            protocol: Protocol::Tcp,
            port: *port,
            address: None,
            host: host.map(|host| (host, host)),
        };
        Plan {
            ports: ports.iter().map(port).collect(),
            attempt: 0,
            address: Ipv4Addr::UNSPECIFIED.into(),
            egress: None,
            link_local: false,
        }
    }

    fn start(known: &mut Known, who: &str, plan: &Plan, names: &[&str]) -> Result<Vec<Endpoint>> {
        let mut all: Vec<Attachment> =
            names.iter().map(|name| Attachment::new(name, EndpointAsked::default())).collect();
        known.connect(&"a".parse().expect("a tenant"), who, plan, &mut all)?;
        known.attachments.insert(crate::images::sha256(who.as_bytes()), all.clone());
        Ok(all.into_iter().filter_map(|one| one.endpoint).collect())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_way_out_is_the_first_by_name_that_has_one() {
        let mut known = known();
        let all =
            start(&mut known, "web", &plan(&[(80, Some(8080))]), &["front", "back", "aaa"]).expect("started");
        assert_eq!(all.iter().map(|one| one.number).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((all[0].routes.len(), all[2].routes.len()), (0, 0));
        assert_eq!(all[1].routes, [ip("10.2.0.1"), ip("fd00:2::1")]);
        assert_eq!(all[1].addresses, [(ip("10.2.0.2"), 24), (ip("fd00:2::2"), 64)]);
        let hosts: Vec<String> = all[1].ports.iter().map(|port| port.host.to_string()).collect();
        assert_eq!(hosts, ["0.0.0.0:8080", "[::]:8080"]);
    }

    #[test]
    fn what_is_anothers_is_refused_and_nothing_taken() {
        let mut known = known();
        start(&mut known, "one", &plan(&[(80, Some(8080))]), &["front"]).expect("started");
        let failure = start(&mut known, "two", &plan(&[(80, Some(8080))]), &["front"]).expect_err("taken");
        assert!(
            failure.message.starts_with("driver failed programming external connectivity on endpoint two (")
        );
        assert!(failure.message.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated"));
        let two = start(&mut known, "two", &plan(&[]), &["front"]).expect("started");
        assert_eq!(two[0].addresses, [(ip("10.1.0.3"), 24)]);
        assert!(start(&mut known, "three", &plan(&[]), &["nobody"]).is_err());
        let other: Tenant = "b".parse().expect("a tenant");
        let mut all = [Attachment::new("front", EndpointAsked::default())];
        let failure = known.connect(&other, "x", &plan(&[]), &mut all).expect_err("another's");
        assert_eq!(failure.message, "network front not found");
    }

    #[test]
    fn ports_stay_and_follow_the_way_out() {
        let mut known = known();
        let plan = plan(&[(80, None)]);
        let all = start(&mut known, "web", &plan, &["front"]).expect("started");
        let port = all[0].ports[0];
        let tenant: Tenant = "a".parse().expect("a tenant");
        let mut two = known.attachments[&crate::images::sha256(b"web")].clone();
        let wanted = AddressesAsked { ipv4_address: "10.2.0.77".to_owned(), ..AddressesAsked::default() };
        let asked = EndpointAsked { ipam_config: Some(wanted), ..EndpointAsked::default() };
        two.push(Attachment::new("back", asked));
        known.connect(&tenant, "web", &plan, &mut two).expect("connected");
        let (front, back) = (two[0].endpoint.clone().expect("front"), two[1].endpoint.clone().expect("back"));
        assert_eq!((front.id, front.routes.len(), front.ports.len()), (all[0].id.clone(), 0, 0));
        assert_eq!(back.ports, [port]);
        assert_eq!(back.addresses[0].0, ip("10.2.0.77"));
        assert_eq!(back.number, 1);
        two.truncate(1);
        known.connect(&tenant, "web", &plan, &mut two).expect("disconnected");
        assert_eq!(two[0].endpoint.clone().expect("front").routes, [ip("10.1.0.1")]);
    }
}
