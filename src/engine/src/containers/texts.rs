//! The small files that every container has: hosts, hostname, resolv.conf.

use std::net::{IpAddr, Ipv4Addr};

use casemate_spec::wire::Files;

use super::{Container, HostConfig, modes};
use crate::networks::{self, Resolving};
use crate::{Engine, Failure, Result};

/// What every /etc/hosts begins with.
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                     ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// How far a container may share the network of one that shares another's.
const CHAIN: usize = 8;

/// The files of a container. Whoever shares another's network shares its names, too.
///
/// # Errors
/// The other one is gone.
pub fn files(engine: &Engine, container: &Container) -> Result<Files> {
    let mut owner = None;
    for _ in 0..CHAIN {
        let mode = owner.as_deref().unwrap_or(container).host_config().network_mode.clone();
        let Ok(modes::Shared::Container(name)) = modes::network(&mode) else { break };
        owner = Some(engine.containers.find_of(&container.tenant, name)?);
    }
    let owner = owner.as_deref().unwrap_or(container);
    let host_config = owner.host_config();
    let lines = networks::hosts(engine, owner)?;
    let gateways = match host_config.network_mode.as_str() {
        "host" => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        _ => networks::gateways(engine, owner),
    };
    let resolving = networks::resolvers(engine, owner);
    Ok(Files {
        hosts: Some(hosts(&host_config, &hostname(owner), &gateways, &lines)),
        hostname: Some(format!("{}\n", hostname(container))),
        resolv_conf: Some(resolv_conf(&host_config, &resolving)),
    })
}

/// A container's name in its UTS namespace.
pub fn hostname(container: &Container) -> String {
    container.config.hostname.clone()
}

fn hosts(asked: &HostConfig, hostname: &str, gateways: &[IpAddr], lines: &[(IpAddr, String)]) -> String {
    let host = (asked.network_mode == "host").then(|| std::fs::read_to_string("/etc/hosts").ok()).flatten();
    let mut text = host.unwrap_or_else(|| LOCAL.to_owned());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in asked.extra_hosts.iter().flatten() {
        if let Some((name, address)) = split(entry) {
            text.push_str(&format!("{address}\t{name}\n"));
        } else if let Some(name) = of_host(entry) {
            gateways.iter().for_each(|address| text.push_str(&format!("{address}\t{name}\n")));
        }
    }
    lines.iter().for_each(|(address, names)| text.push_str(&format!("{address}\t{names}\n")));
    // Without a network there is no other address that its own name could have.
    if asked.network_mode == "none" {
        text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    }
    text
}

/// `name:host-gateway`: the host, by the address that it has on the container's network.
fn of_host(entry: &str) -> Option<&str> {
    let (name, address) = entry.split_once('=').or_else(|| entry.split_once(':'))?;
    (address == "host-gateway").then_some(name)
}

/// `name:address` or `name=address`.
fn split(entry: &str) -> Option<(&str, IpAddr)> {
    let (name, address) = entry.split_once('=').or_else(|| entry.split_once(':'))?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    Some((name, bare.parse().ok()?))
}

/// Whether everything that goes into the files is what it should be: a line feed would make a line more.
///
/// # Errors
/// In Docker's words.
pub fn check(asked: &HostConfig) -> Result<()> {
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    for entry in asked.extra_hosts.iter().flatten() {
        let name = entry.split(['=', ':']).next().unwrap_or_default();
        if !word(name) || name.len() == entry.len() || entry.ends_with([':', '=']) {
            return Err(Failure::invalid(format!("bad format for add-host: {entry:?}")));
        }
        if of_host(entry).is_some() && asked.network_mode == "none" {
            let message = "unable to derive the IP value for host-gateway: the container has no network";
            return Err(Failure::invalid(message));
        }
        if split(entry).is_none() && of_host(entry).is_none() {
            let address = &entry[name.len() + 1..];
            return Err(Failure::invalid(format!("invalid IP address in add-host: {address:?}")));
        }
    }
    for server in asked.dns.iter().flatten() {
        if server.parse::<IpAddr>().is_err() {
            return Err(Failure::invalid(format!(
                "invalid DNS server address: {server:?}: expected an IP address"
            )));
        }
    }
    for text in asked.dns_search.iter().flatten().chain(asked.dns_options.iter().flatten()) {
        if !word(text) {
            return Err(Failure::invalid(format!("invalid DNS search domain or option: {text:?}")));
        }
    }
    Ok(())
}

/// What the host's resolv.conf(5) says of something.
fn from_host(key: &str) -> Vec<String> {
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let lines = host.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix([' ', '\t']));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The host's own servers for names.
pub fn nameservers() -> Vec<IpAddr> {
    from_host("nameserver").iter().filter_map(|server| server.parse().ok()).collect()
}

fn resolv_conf(asked: &HostConfig, resolving: &Resolving) -> String {
    let or = |asked: &Option<Vec<String>>, other: Vec<String>| match asked {
        Some(list) if !list.is_empty() => list.clone(),
        _ => other,
    };
    let mut text = String::new();
    match resolving.ours {
        true => text.push_str("nameserver 127.0.0.11\n"),
        false => resolving.servers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n"))),
    }
    let search = or(&asked.dns_search, from_host("search"));
    // A single dot asks for no domains at all.
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let mut options = or(&asked.dns_options, from_host("options"));
    // Names of one label are asked for as they are: ours have no domain.
    if resolving.ours && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn names_are_added() {
        let asked = HostConfig {
            network_mode: "none".to_owned(),
            extra_hosts: list(&["db:10.0.0.2", "six=[fd00::1]", "plain:fd00::2"]),
            ..HostConfig::default()
        };
        check(&asked).expect("good");
        let text = hosts(&asked, "web", &[], &[]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("10.0.0.2\tdb\nfd00::1\tsix\nfd00::2\tplain\n127.0.0.1\tweb\n"), "{text}");
    }

    #[test]
    fn no_line_can_be_smuggled_in() {
        for bad in ["", "a", "a:", ":1.2.3.4", "a\n:1.2.3.4", "a b:1.2.3.4", "a:1.2.3.4\n", "a:host"] {
            let asked = HostConfig { extra_hosts: list(&[bad]), ..HostConfig::default() };
            assert!(check(&asked).is_err(), "{bad:?}");
        }
        for bad in ["x", "1.1.1.1\n", ""] {
            assert!(check(&HostConfig { dns: list(&[bad]), ..HostConfig::default() }).is_err(), "{bad:?}");
        }
        for bad in ["a\nnameserver 6.6.6.6", "a b", ""] {
            assert!(
                check(&HostConfig { dns_search: list(&[bad]), ..HostConfig::default() }).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn resolvers_are_those_asked_for() {
        let server = |text: &str| Resolving { ours: false, servers: vec![text.parse().expect("an address")] };
        let nothing =
            HostConfig { dns_search: list(&["."]), dns_options: list(&["ndots:2"]), ..HostConfig::default() };
        assert_eq!(resolv_conf(&nothing, &server("10.9.9.9")), "nameserver 10.9.9.9\noptions ndots:2\n");
        let asked = HostConfig { dns_search: list(&["a", "b"]), ..nothing.clone() };
        assert!(resolv_conf(&asked, &server("1.1.1.1")).starts_with("nameserver 1.1.1.1\nsearch a b\n"));
        let ours = Resolving { ours: true, servers: Vec::new() };
        assert_eq!(resolv_conf(&nothing, &ours), "nameserver 127.0.0.11\noptions ndots:2\n");
        let plain = HostConfig { dns_options: list(&["timeout:1"]), ..nothing };
        assert_eq!(resolv_conf(&plain, &ours), "nameserver 127.0.0.11\noptions timeout:1 ndots:0\n");
    }

    #[test]
    fn the_host_has_the_gateways_address_and_oneself_ones_own() {
        let asked =
            HostConfig { extra_hosts: list(&["host.docker.internal:host-gateway"]), ..HostConfig::default() };
        check(&asked).expect("good");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let text =
            hosts(&asked, "web", &[address("172.17.0.1")], &[(address("172.17.0.2"), "web".to_owned())]);
        assert!(text.ends_with("172.17.0.1\thost.docker.internal\n172.17.0.2\tweb\n"), "{text}");
    }
}
