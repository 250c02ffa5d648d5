//! Why something was refused, in words: whose list it is, and what that has.

use casemate_spec::wire::{Denial, Protocol, Tenant};

use super::packet::Target;
use crate::Engine;
use crate::containers::Container;
use crate::networks::egress::{LABEL, Rules, is_of};
use crate::networks::publish;
use crate::networks::range::Range;

/// Of a connection.
pub fn of_address(engine: &Engine, container: &Container, target: &Target, why: Denial) -> String {
    if why == Denial::OtherNetwork {
        return "it is another network, where what is published alone can be reached, by an address of the host"
            .to_owned();
    }
    if why == Denial::LinkLocal {
        let policy = container.verdict["Policy"].as_str().unwrap_or(&engine.host.policy);
        return format!(
            "link-local addresses, where clouds keep credentials of the host, are out of reach under policy {policy}"
        );
    }
    listed(engine, container, |rules| address_in(rules, target))
}

/// Of a name.
pub fn of_name(engine: &Engine, container: &Container, name: &str) -> String {
    listed(engine, container, |rules| {
        let has = rules.names.iter().any(|one| is_of(&one.name, name));
        if has { None } else { Some(lacks(rules, "name")) }
    })
}

/// The first list that has something against it: the tenant's, before the container's.
fn listed(
    engine: &Engine,
    container: &Container,
    against: impl Fn(&Rules) -> Option<&'static str>,
) -> String {
    let Ok((tenant, label)) = publish::lists(engine, container) else {
        return format!("label {LABEL} of the container cannot be read");
    };
    said(&container.tenant, tenant, label.as_ref(), against)
}

fn said(
    tenant: &Tenant,
    own: Option<&Rules>,
    label: Option<&Rules>,
    against: impl Fn(&Rules) -> Option<&'static str>,
) -> String {
    if let Some(why) = own.and_then(&against) {
        return format!("the egress list of tenant {tenant} {why}");
    }
    match label.and_then(&against) {
        Some(why) => format!("label {LABEL} of the container {why}"),
        None => "the egress list that it was started with does not have it".to_owned(),
    }
}

/// What an allow-list has against a connection.
fn address_in(rules: &Rules, target: &Target) -> Option<&'static str> {
    let protocol = match target.protocol {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    };
    let of_address = || {
        let covers = |address, prefix| {
            Range::around(address, prefix).is_some_and(|range| range.contains(target.address))
        };
        rules.addresses.iter().filter(move |one| covers(one.address, one.prefix))
    };
    let fits = of_address().any(|one| {
        let ports = one.ports.is_none_or(|(first, last)| {
            protocol.is_some() && target.port.is_some_and(|port| (first..=last).contains(&port))
        });
        ports && one.protocol.is_none_or(|one| Some(one) == protocol)
    });
    match fits {
        true => None,
        false if of_address().next().is_some() => {
            Some("has this address with other ports or protocols alone")
        }
        false => Some(lacks(rules, "address")),
    }
}

fn lacks(rules: &Rules, what: &str) -> &'static str {
    match (what, rules.addresses.is_empty(), rules.names.is_empty()) {
        (_, true, true) => "allows nothing",
        ("name", ..) => "does not have this name",
        (_, _, true) => "does not have this address",
        (_, _, false) => {
            "does not have this address, and no name that it has was asked for there (docs/networks.md, Egress)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[&str]) -> Rules {
        Rules::parse(list.iter().copied()).expect("rules")
    }

    fn why(tenant: Option<&[&str]>, label: Option<&[&str]>, port: u16) -> String {
        let target =
            Target { address: "192.0.2.2".parse().expect("an address"), protocol: 6, port: Some(port) };
        let (tenant, label) = (tenant.map(rules), label.map(rules));
        let whose = "red".parse().expect("a tenant");
        said(&whose, tenant.as_ref(), label.as_ref(), |rules| address_in(rules, &target))
    }

    #[test]
    fn it_is_said_whose_list_it_is_and_what_that_has() {
        let label = format!("label {LABEL} of the container");
        for (tenant, own, says) in [
            (Some(&[][..]), None, "the egress list of tenant red allows nothing".to_owned()),
            (None, Some(&[][..]), format!("{label} allows nothing")),
            (
                Some(&["10.0.0.0/8"]),
                None,
                "the egress list of tenant red does not have this address".to_owned(),
            ),
            (Some(&["0.0.0.0/0"]), Some(&["10.0.0.0/8"]), format!("{label} does not have this address")),
            (
                Some(&["192.0.2.0/24:80/udp"]),
                Some(&[]),
                "the egress list of tenant red has this address with other ports or protocols alone"
                    .to_owned(),
            ),
            (
                None,
                Some(&["192.0.2.2:81"]),
                format!("{label} has this address with other ports or protocols alone"),
            ),
            (
                Some(&["192.0.2.2"]),
                Some(&["192.0.2.2:80/tcp"]),
                "the egress list that it was started with does not have it".to_owned(),
            ),
        ] {
            assert_eq!(why(tenant, own, 80), says);
        }
        assert!(why(Some(&["*.example.org"]), None, 80).contains("no name that it has was asked for"));
    }

    #[test]
    fn a_port_of_a_list_is_none_of_a_protocol_without() {
        let ping = Target { address: "192.0.2.2".parse().expect("an address"), protocol: 1, port: None };
        assert_eq!(address_in(&rules(&["192.0.2.2"]), &ping), None);
        for list in ["192.0.2.2:80", "192.0.2.2/tcp"] {
            assert!(address_in(&rules(&[list]), &ping).is_some(), "{list}");
        }
    }
}
