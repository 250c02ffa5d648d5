//! Kernel parameters of the network namespace in which we are.

use std::io::{ErrorKind, Write as _};

use casemate_spec::wire::Network;
use casemate_spec::{Error, Result};

/// Of a bridge, before it is up.
///
/// # Errors
/// The kernel's.
pub fn of_bridge(bridge: &str, network: &Network) -> Result<()> {
    let four = |name: &str| format!("ipv4/conf/{bridge}/{name}");
    for (name, value) in [
        // The host's own connections to a published port by 127.0.0.1; nothing else is let through to there.
        ("route_localnet", "1"),
        ("send_redirects", "0"),
        ("accept_redirects", "0"),
        ("rp_filter", "1"),
        // It answers for its own address, not for all of the host's.
        ("arp_ignore", "1"),
    ] {
        set(&four(name), value)?;
    }
    let has_six = network.subnets.iter().any(|subnet| subnet.address.is_ipv6());
    let six = |name: &str| format!("ipv6/conf/{bridge}/{name}");
    set_if_there(&six("accept_ra"), "0")?;
    alone(bridge)?;
    set_if_there(&six("disable_ipv6"), if has_six { "0" } else { "1" })
}

/// An address that follows from a MAC is nobody else's: it is used at once, and not asked for for a second first.
fn alone(interface: &str) -> Result<()> {
    set_if_there(&format!("ipv6/conf/{interface}/accept_dad"), "0")
}

/// Of the host's end of a pair, before it is up: it has no address of its own.
///
/// # Errors
/// The kernel's.
pub fn of_port(port: &str) -> Result<()> {
    set_if_there(&format!("ipv6/conf/{port}/disable_ipv6"), "1")
}

/// Of a container's end, before it is up.
///
/// # Errors
/// The kernel's.
pub fn of_container(interface: &str, has_six: bool) -> Result<()> {
    let six = |name: &str| format!("ipv6/conf/{interface}/{name}");
    set_if_there(&six("accept_ra"), "0")?;
    alone(interface)?;
    // The rules know the address that follows from the MAC.
    set_if_there(&six("addr_gen_mode"), "0")?;
    set_if_there(&six("disable_ipv6"), if has_six { "0" } else { "1" })
}

/// Has the host pass packets on.
///
/// # Errors
/// The kernel's.
pub fn forward(networks: &[&Network]) -> Result<()> {
    set("ipv4/ip_forward", "1")?;
    let has_six = |network: &&&Network| network.subnets.iter().any(|subnet| subnet.address.is_ipv6());
    if networks.iter().any(|network| has_six(&network)) && read("ipv6/conf/all/forwarding")? == "0" {
        keep_learning()?;
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// A host that passes packets on no longer learns its own way out from routers, unless it is told to all the same.
fn keep_learning() -> Result<()> {
    const PLACE: &str = "/proc/sys/net/ipv6/conf";
    let entries = std::fs::read_dir(PLACE).map_err(|error| Error::io(PLACE, &error))?;
    for entry in entries {
        let name = entry.map_err(|error| Error::io(PLACE, &error))?.file_name();
        let path = format!("ipv6/conf/{}/accept_ra", name.to_string_lossy());
        if read(&path)? == "1" {
            set_if_there(&path, "2")?;
        }
    }
    Ok(())
}

fn read(name: &str) -> Result<String> {
    match std::fs::read_to_string(format!("/proc/sys/net/{name}")) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io(name, &error)),
    }
}

fn set(name: &str, value: &str) -> Result<()> {
    // Writing what is there already costs more than reading it, and would take a host that is read-only for broken.
    if read(name)? == value {
        return Ok(());
    }
    written(&format!("/proc/sys/net/{name}"), value.as_bytes())
        .map_err(|error| Error::io(format!("net/{name}"), &error))
}

/// Never made: there is no parameter that is not there.
pub fn written(path: &str, value: &[u8]) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value)
}

/// A host without IPv6 has none of its parameters.
fn set_if_there(name: &str, value: &str) -> Result<()> {
    if read(name)?.is_empty() { Ok(()) } else { set(name, value) }
}
