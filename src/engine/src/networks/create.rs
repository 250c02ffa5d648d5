//! `docker network create`.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_spec::wire::{Ask, HexId, Tenant};

use super::network::{Driver, Network, Subnet};
use super::range::Range;
use super::usual::is_predefined;
use super::{NETWORK, pools, share, subnets};
use crate::containers::shape::{document, zero};
use crate::{Caller, Engine, Failure, Kind, Result, clock};

/// So many ranges are proposed to the host.
const ATTEMPTS: usize = 64;

/// What a network is to be.
#[derive(Debug, Clone, Default)]
pub struct NetworkAsked {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan`, or nothing.
    pub driver: String,
    /// Without IPv4 if it is false.
    pub ipv4: Option<bool>,
    /// With IPv6.
    pub ipv6: bool,
    /// Addresses.
    pub ipam: IpamAsked,
    /// Nothing leaves it.
    pub internal: bool,
    /// For people.
    pub attachable: bool,
    /// The driver's.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

document! {
    /// `IPAM` of the API.
    IpamAsked {
        /// `default`, or nothing.
        driver: String,
        /// One of each family.
        config: Option<Vec<SubnetAsked>>,
        /// The driver's.
        options: Option<BTreeMap<String, String>>,
    }
}

document! {
    /// One of `Config` there.
    SubnetAsked {
        /// All addresses.
        #[serde(skip_serializing_if = "zero")]
        subnet: String,
        /// Those that are given to whoever asks for none.
        #[serde(rename = "IPRange", skip_serializing_if = "zero")]
        ip_range: String,
        /// The way out.
        #[serde(skip_serializing_if = "zero")]
        gateway: String,
        /// Somebody else's.
        #[serde(skip_serializing_if = "Option::is_none")]
        auxiliary_addresses: Option<BTreeMap<String, String>>,
    }
}

/// Makes a network; gives it, and what is to be told.
///
/// # Errors
/// What is asked makes no sense, overlaps what there is, or the host cannot.
pub async fn create(
    engine: &Arc<Engine>,
    caller: &Caller,
    asked: NetworkAsked,
) -> Result<(Arc<Network>, String)> {
    if asked.name.trim().is_empty() {
        return Err(Failure::invalid("invalid name: name is empty"));
    }
    if is_predefined(&asked.name) {
        let message = format!("operation is not permitted on predefined {} network", asked.name);
        return Err(Failure::new(Kind::Forbidden, message));
    }
    let warning = match asked.options.get("com.docker.network.bridge.name") {
        Some(name) => {
            format!("the bridge is not named {name}: interfaces of the host are named by networks' ids")
        }
        None => String::new(),
    };
    // Whatever becomes of the client: half a network is nobody's.
    let (engine, tenant) = (Arc::clone(engine), caller.tenant.clone());
    let work = tokio::spawn(async move {
        let _making = engine.networks.making.lock().await;
        make(&engine, &tenant, asked, false).await
    });
    let made = work.await.map_err(|error| Failure::failed(format!("it broke off: {error}")))?;
    Ok((made?, warning))
}

/// Makes one; to be called by whoever holds `making`.
///
/// # Errors
/// As for [`create`].
pub async fn make(
    engine: &Engine,
    tenant: &Tenant,
    asked: NetworkAsked,
    usual: bool,
) -> Result<Arc<Network>> {
    if engine.networks.known().networks.values().any(|one| one.tenant == *tenant && one.name == asked.name) {
        return Err(Failure::conflict(format!("network with name {} already exists", asked.name)));
    }
    let driver = driver(&asked)?;
    if !usual {
        engine.settings.admit_network(tenant, engine.networks.count(tenant))?;
    }
    options(&asked)?;
    let own = subnets::read(&asked.ipam, asked.internal)?;
    let mut network = Network {
        id: HexId::from_bytes(crate::containers::random()?),
        tenant: tenant.clone(),
        name: asked.name.clone(),
        created: clock::now(),
        driver,
        subnets: own,
        internal: asked.internal,
        attachable: asked.attachable,
        options: asked.options.clone(),
        ipam_options: asked.ipam.options.clone().unwrap_or_default(),
        labels: asked.labels.clone(),
        usual,
        pending: true,
    };
    overlap(engine, &network.subnets)?;
    engine.db.put(NETWORK, network.id.as_str(), &network)?;
    if let Err(failure) = place(engine, &mut network, &asked).await {
        engine.db.remove(NETWORK, network.id.as_str())?;
        return Err(failure);
    }
    network.pending = false;
    engine.db.put(NETWORK, network.id.as_str(), &network)?;
    let network = Arc::new(network);
    engine.networks.known().networks.insert(network.id.clone(), Arc::clone(&network));
    super::shown::tell(engine, &network, "create", None);
    Ok(network)
}

fn driver(asked: &NetworkAsked) -> Result<Driver> {
    if !matches!(asked.ipam.driver.as_str(), "" | "default") {
        let message = format!("invalid IPAM driver {:?}: only default is there", asked.ipam.driver);
        return Err(Failure::invalid(message));
    }
    match asked.driver.as_str() {
        "" | "bridge" => Ok(Driver::Bridge),
        "macvlan" => match asked.options.get("parent") {
            Some(parent) => Ok(Driver::Macvlan { parent: parent.clone() }),
            None => Err(Failure::invalid(
                "macvlan: the option parent names the interface of the host that it is upon",
            )),
        },
        "host" | "null" => {
            let message = format!("only one instance of \"{}\" network is allowed", asked.driver);
            Err(Failure::new(Kind::Forbidden, message))
        }
        other => {
            let message =
                format!("could not find plugin {other} in v1 plugin registry: plugin {other:?} not found");
            Err(Failure::not_found(message))
        }
    }
}

/// What can be wrong in the driver's options.
fn options(asked: &NetworkAsked) -> Result<()> {
    let wrong = |name: &str, text: &str| {
        Err(Failure::invalid(format!("invalid network config:\ninvalid {name}: {text:?}")))
    };
    for (name, text) in &asked.options {
        let fits = match name.as_str() {
            "com.docker.network.bridge.enable_icc" | "com.docker.network.bridge.enable_ip_masquerade" => {
                matches!(text.as_str(), "true" | "false" | "1" | "0")
            }
            "com.docker.network.driver.mtu" => text.parse::<u16>().is_ok_and(|mtu| mtu == 0 || mtu >= 68),
            "com.docker.network.bridge.host_binding_ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
            "com.docker.network.bridge.gateway_mode_ipv4" | "com.docker.network.bridge.gateway_mode_ipv6" => {
                text == "nat"
            }
            "macvlan_mode" => text == "bridge",
            _ => true,
        };
        if !fits {
            return wrong(name, text);
        }
    }
    Ok(())
}

/// Refuses ranges that somebody has already.
fn overlap(engine: &Engine, subnets: &[Subnet]) -> Result<()> {
    let taken = engine.networks.ranges();
    match subnets.iter().any(|subnet| taken.iter().any(|other| subnet.range.overlaps(other))) {
        true => Err(overlaps()),
        false => Ok(()),
    }
}

fn overlaps() -> Failure {
    let message = "invalid pool request: Pool overlaps with other one on this address space";
    Failure::new(Kind::Forbidden, message)
}

/// Gives it the ranges that nobody has asked for, and has it made. The host may have a use for a range that we do not
/// know of: then it is another one.
async fn place(engine: &Engine, network: &mut Network, asked: &NetworkAsked) -> Result<()> {
    let own = network.subnets.clone();
    let mut refused = Vec::new();
    for _ in 0..ATTEMPTS {
        network.subnets.clone_from(&own);
        fill(engine, network, asked, &refused)?;
        if !network.usual {
            share::leave(engine, network, &refused)?;
        }
        let Some(wire) = network.wire() else { return Ok(()) };
        match engine.broker.done(Ask::MakeNetwork { network: wire }, &[]).await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.kind == Kind::Conflict => {
                let chosen = network.subnets.iter().filter(|subnet| !subnet.asked);
                let before = refused.len();
                refused.extend(chosen.map(|subnet| subnet.range));
                if refused.len() == before {
                    return Err(overlaps());
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::failed("all predefined address pools have been fully subnetted"))
}

fn fill(engine: &Engine, network: &mut Network, asked: &NetworkAsked, refused: &[Range]) -> Result<()> {
    let mut taken = engine.networks.ranges();
    taken.extend(refused);
    if network.subnet(true).is_none() && asked.ipv4 != Some(false) {
        let range = pools::choose(&share::pools(engine, true), &taken)?;
        network.subnets.push(subnets::chosen(range, network.internal));
    }
    if network.subnet(false).is_none() && asked.ipv6 {
        let own = pools::unique_local(crate::containers::random()?);
        let six = share::pools(engine, false);
        let pools = if six.is_empty() { own.into_iter().collect() } else { six };
        network.subnets.push(subnets::chosen(pools::choose(&pools, &taken)?, network.internal));
    }
    if network.subnets.is_empty() {
        return Err(Failure::invalid("invalid network config:\nIPv4 or IPv6 must be enabled"));
    }
    Ok(())
}

impl super::Networks {
    /// The ranges of all networks, whoever's.
    fn ranges(&self) -> Vec<Range> {
        let known = self.known();
        known.networks.values().flat_map(|one| one.subnets.iter().map(|subnet| subnet.range)).collect()
    }

    /// How many of its own a tenant has.
    fn count(&self, tenant: &Tenant) -> usize {
        self.known().networks.values().filter(|one| one.tenant == *tenant && !one.usual).count()
    }
}
