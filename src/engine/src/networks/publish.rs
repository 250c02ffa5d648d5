//! What a container's policy and its tenant's rules make of its way out and its way in.

use std::net::{IpAddr, Ipv4Addr};

use casemate_spec::wire::Egress;

use super::egress::{LABEL, Rules};
use super::{Network, ports};
use crate::containers::Container;
use crate::{Engine, Failure, Kind, Result};

/// The policies under which a port is published everywhere and link-local addresses are reached, as under Docker.
const OPEN: [&str; 2] = ["baseline", "oci"];

/// Everything that a container's endpoints depend on, but its networks.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its ports.
    pub ports: Vec<ports::Wanted>,
    /// How often it was tried before.
    pub attempt: u32,
    /// The host's address for those that name none.
    pub address: IpAddr,
    /// Where it may connect to; none is everywhere.
    pub egress: Option<Rules>,
    /// Link-local addresses too.
    pub link_local: bool,
}

impl Plan {
    /// A container's.
    ///
    /// # Errors
    /// Something in its configuration is none.
    pub fn of(engine: &Engine, container: &Container) -> Result<Self> {
        let open = is_open(engine, container);
        let usual = if open { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        Ok(Self {
            ports: ports::wanted(&container.config, &container.host_config())?,
            attempt: 0,
            address: engine.settings.ip.unwrap_or(IpAddr::V4(usual)),
            egress: egress(engine, container)?,
            link_local: open,
        })
    }

    /// As the broker is told.
    pub fn egress(&self) -> Option<Egress> {
        self.egress.as_ref().map(|rules| Egress { allow: rules.addresses.clone() })
    }

    /// The host's address for ports of a network's containers that name none.
    pub fn address_on(&self, network: &Network) -> IpAddr {
        network.binding().unwrap_or(self.address)
    }
}

/// Whether the policy that a container was judged by is one of Docker's habits.
fn is_open(engine: &Engine, container: &Container) -> bool {
    let judged = container.verdict["Policy"].as_str();
    OPEN.contains(&judged.unwrap_or(&engine.host.policy))
}

/// What its tenant may reach, and what it asks for itself.
///
/// # Errors
/// The label is none.
pub fn lists<'a>(engine: &'a Engine, container: &Container) -> Result<(Option<&'a Rules>, Option<Rules>)> {
    let quota = engine.settings.quotas.get(&container.tenant);
    let asked = container.config.labels.iter().flatten().find(|(name, _)| *name == LABEL);
    let asked = asked.map(|(_, text)| Rules::of_label(text)).transpose()?;
    Ok((quota.and_then(|quota| quota.egress.as_ref()), asked))
}

/// What its tenant may reach, and its label leaves of that.
///
/// # Errors
/// The label is none.
pub fn egress(engine: &Engine, container: &Container) -> Result<Option<Rules>> {
    Ok(match lists(engine, container)? {
        (Some(tenant), Some(asked)) => Some(tenant.both(&asked)),
        (tenant, asked) => tenant.cloned().or(asked),
    })
}

/// Refuses what would leave a limited container unlimited.
///
/// # Errors
/// Its network is one whose packets are not ours to judge, or the label is none.
pub fn check(engine: &Engine, container: &Container) -> Result<()> {
    let mode = container.host_config().network_mode.clone();
    let limited = egress(engine, container)?.is_some();
    let labelled = container.config.labels.iter().flatten().any(|(name, _)| name == LABEL);
    let refuse = |what: &str| {
        Err(Failure::new(Kind::Forbidden, format!("egress of the container is limited, which {what}")))
    };
    match mode.as_str() {
        "host" if limited => refuse("the host's network cannot be"),
        _ if labelled && mode.starts_with("container:") => {
            refuse("is to be asked of the container whose network it shares")
        }
        _ => Ok(()),
    }
}

/// What create tells of published ports.
pub fn warnings(engine: &Engine, container: &Container) -> Vec<String> {
    let mode = container.host_config().network_mode.clone();
    if matches!(mode.as_str(), "none" | "host") || mode.starts_with("container:") {
        return Vec::new();
    }
    let Ok(plan) = Plan::of(engine, container) else { return Vec::new() };
    let unnamed = plan.ports.iter().any(|port| port.address.is_none());
    if !unnamed || !plan.address.is_loopback() || engine.settings.ip.is_some() {
        return Vec::new();
    }
    let policy = container.verdict["Policy"].as_str().unwrap_or(&engine.host.policy);
    vec![format!(
        "policy {policy}: ports without an address are published on 127.0.0.1: name one, as in -p 0.0.0.0:8080:80, to reach them from elsewhere"
    )]
}
