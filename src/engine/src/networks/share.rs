//! What a tenant leaves of the pools to the others.

use std::sync::Arc;

use casemate_spec::wire::Tenant;

use super::network::Network;
use super::pools::{Pool, usage, usual};
use super::range::Range;
use crate::{Engine, Failure, Kind, Result};

/// Refuses a network after which its tenant would have more of the pools than it leaves: where there are several tenants,
/// none may keep the others from having networks. `refused` is what the host has another use for.
///
/// # Errors
/// There would not be enough left.
pub fn leave(engine: &Engine, network: &Network, refused: &[Range]) -> Result<()> {
    let tenant = &network.tenant;
    if !engine.networks.is_shared(tenant) && !engine.settings.quotas.keys().any(|other| other != tenant) {
        return Ok(());
    }
    for is_four in [true, false] {
        let pools = pools(engine, is_four);
        let (own, mut others) = engine.networks.ranges_of(tenant);
        others.extend(refused);
        let blocked = |more: &[Range]| usage(&pools, &[&others[..], more].concat());
        let wanted: Vec<Range> =
            network.subnets.iter().map(|subnet| subnet.range).chain(own.clone()).collect();
        let ((all, without), (_, before), (_, after)) = (blocked(&[]), blocked(&own), blocked(&wanted));
        let (has, left) = (after - without, all - after);
        if after > before && has > left {
            let message = format!(
                "quota of tenant {tenant}: {} of the {all} ranges of default-address-pools are its own and it would leave {left} \
                 for the other tenants; ask for a --subnet that is smaller, or beside them",
                before - without
            );
            return Err(Failure::new(Kind::Forbidden, message));
        }
    }
    Ok(())
}

/// Whose ranges networks share. An IPv6 pool that nobody has configured is each network's own.
pub fn pools(engine: &Engine, is_four: bool) -> Vec<Pool> {
    let own: Vec<_> =
        engine.settings.pools.iter().filter(|pool| pool.base.is_ipv4() == is_four).copied().collect();
    if own.is_empty() && is_four { usual() } else { own }
}

impl super::Networks {
    /// Whether anybody else has networks.
    fn is_shared(&self, tenant: &Tenant) -> bool {
        self.known().networks.values().any(|one| one.tenant != *tenant)
    }

    /// The ranges of a tenant's networks, and of all others.
    fn ranges_of(&self, tenant: &Tenant) -> (Vec<Range>, Vec<Range>) {
        let known = self.known();
        let ranges = |one: &Arc<Network>| one.subnets.iter().map(|subnet| subnet.range).collect::<Vec<_>>();
        let (own, others): (Vec<_>, Vec<_>) = known.networks.values().partition(|one| one.tenant == *tenant);
        (own.into_iter().flat_map(ranges).collect(), others.into_iter().flat_map(ranges).collect())
    }
}
