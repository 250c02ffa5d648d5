//! The small files that every container has: hosts, hostname, resolv.conf.

use std::net::IpAddr;

use casemate_spec::wire::Files;

use super::{Container, HostConfig, modes};
use crate::{Engine, Failure, Result, Settings};

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
    Ok(Files {
        hosts: Some(hosts(&host_config, &hostname(owner))),
        hostname: Some(format!("{}\n", hostname(container))),
        resolv_conf: Some(resolv_conf(&host_config, &engine.settings)),
    })
}

/// A container's name in its UTS namespace.
pub fn hostname(container: &Container) -> String {
    container.config.hostname.clone()
}

fn hosts(asked: &HostConfig, hostname: &str) -> String {
    let host = (asked.network_mode == "host").then(|| std::fs::read_to_string("/etc/hosts").ok()).flatten();
    let mut text = host.unwrap_or_else(|| LOCAL.to_owned());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in asked.extra_hosts.iter().flatten().filter_map(|entry| split(entry)) {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    // Without a network there is no other address that its own name could have.
    if asked.network_mode == "none" {
        text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    }
    text
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
        if entry[name.len() + 1..] == *"host-gateway" {
            let message =
                "unable to derive the IP value for host-gateway: there is no bridge network in this version";
            return Err(Failure::invalid(message));
        }
        if split(entry).is_none() {
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

fn resolv_conf(asked: &HostConfig, settings: &Settings) -> String {
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let from_host = |key: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix([' ', '\t']));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let or = |asked: &Option<Vec<String>>, other: Vec<String>| match asked {
        Some(list) if !list.is_empty() => list.clone(),
        _ => other,
    };
    let default = if settings.dns.is_empty() { from_host("nameserver") } else { settings.dns.clone() };
    let mut text = String::new();
    for server in or(&asked.dns, default) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let search = or(&asked.dns_search, from_host("search"));
    // A single dot asks for no domains at all.
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let options = or(&asked.dns_options, from_host("options"));
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
        let text = hosts(&asked, "web");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("10.0.0.2\tdb\nfd00::1\tsix\nfd00::2\tplain\n127.0.0.1\tweb\n"), "{text}");
    }

    #[test]
    fn no_line_can_be_smuggled_in() {
        for bad in [
            "",
            "a",
            "a:",
            ":1.2.3.4",
            "a\n:1.2.3.4",
            "a b:1.2.3.4",
            "a:1.2.3.4\n",
            "a:host",
            "a:host-gateway",
        ] {
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
        let settings = Settings { dns: vec!["10.9.9.9".to_owned()], ..Settings::default() };
        let nothing =
            HostConfig { dns_search: list(&["."]), dns_options: list(&["ndots:2"]), ..HostConfig::default() };
        assert_eq!(resolv_conf(&nothing, &settings), "nameserver 10.9.9.9\noptions ndots:2\n");
        let asked = HostConfig { dns: list(&["1.1.1.1"]), dns_search: list(&["a", "b"]), ..nothing };
        assert!(resolv_conf(&asked, &settings).starts_with("nameserver 1.1.1.1\nsearch a b\n"));
    }
}
