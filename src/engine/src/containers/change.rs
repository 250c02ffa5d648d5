//! `docker rename` and `docker update`.

use std::sync::Arc;

use super::{Container, HostConfig, check, limits, names, record};
use crate::{Engine, Failure, Result, supervision};

/// Gives a container another name.
///
/// # Errors
/// It is none, or somebody else's, in Docker's words.
pub fn rename(engine: &Engine, container: &Container, name: &str) -> Result<()> {
    let old = container.name();
    if name.trim_start_matches('/').is_empty() {
        return Err(Failure::invalid("Neither old nor new names may be empty"));
    }
    let name = names::checked(name)?.to_owned();
    if name == old {
        return Err(Failure::invalid("Renaming a container with the same name as its current name"));
    }
    let taken = engine.containers.reserve(&container.tenant, &name, &container.id);
    taken.map_err(|failure| failure.within("Error when allocating new name"))?;
    container.settings().name.clone_from(&name);
    let kept = engine.db.write(|batch| record::keep(batch, container));
    if let Err(failure) = kept {
        container.settings().name.clone_from(&old);
        engine.containers.release(&container.tenant, &name);
        return Err(failure);
    }
    engine.containers.release(&container.tenant, &old);
    engine.networks.renamed();
    supervision::tell(engine, container, "rename", &[("oldName", format!("/{old}"))]);
    Ok(())
}

/// Gives a container other limits, and another restart policy. `asked` has what is to change; what is zero stays.
///
/// # Errors
/// It makes no sense, or the broker refuses.
pub async fn update(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    asked: &HostConfig,
) -> Result<Vec<String>> {
    use super::Status::{Dead, Removing};
    let within = |failure: Failure| failure.within(format!("Cannot update container {}", container.id));
    if matches!(container.state().status, Removing | Dead) {
        let message = "Container is marked for removal and cannot be \"update\"";
        return Err(within(Failure::conflict(message)));
    }
    let mut changed = (*container.host_config()).clone();
    merge(&mut changed, asked).map_err(within)?;
    limits::check(&changed)?;
    if !asked.restart_policy.name.is_empty() {
        if changed.auto_remove && asked.restart_policy.name != "no" {
            let message = "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(within(Failure::invalid(message)));
        }
        changed.restart_policy = asked.restart_policy.clone();
        check::restart(&changed)?;
    }
    let resources = limits::resources(&changed)?;
    let before = container.host_config();
    container.settings().host_config = Arc::new(changed);
    let done = async {
        supervision::update(engine, container, resources).await?;
        engine.db.write(|batch| record::keep(batch, container))
    };
    if let Err(failure) = done.await {
        container.settings().host_config = before;
        return Err(within(failure));
    }
    supervision::tell(engine, container, "update", &[]);
    Ok(Vec::new())
}

fn merge(limits: &mut HostConfig, asked: &HostConfig) -> Result<()> {
    if asked.nano_cpus > 0 && limits.cpu_period > 0 {
        let message = "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set";
        return Err(Failure::conflict(message));
    }
    if asked.nano_cpus > 0 && limits.cpu_quota > 0 {
        let message = "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set";
        return Err(Failure::conflict(message));
    }
    if (asked.cpu_quota > 0 || asked.cpu_period > 0) && limits.nano_cpus > 0 {
        let message =
            "Conflicting options: CPU Quota and Period cannot be updated as NanoCPUs has already been set";
        return Err(Failure::conflict(message));
    }
    if asked.memory > limits.memory_swap && asked.memory_swap == 0 && limits.memory_swap > 0 {
        let message = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
        return Err(Failure::conflict(message));
    }
    let numbers = [
        (&mut limits.cpu_shares, asked.cpu_shares),
        (&mut limits.nano_cpus, asked.nano_cpus),
        (&mut limits.cpu_period, asked.cpu_period),
        (&mut limits.cpu_quota, asked.cpu_quota),
        (&mut limits.cpu_realtime_period, asked.cpu_realtime_period),
        (&mut limits.cpu_realtime_runtime, asked.cpu_realtime_runtime),
        (&mut limits.memory, asked.memory),
        (&mut limits.memory_swap, asked.memory_swap),
        (&mut limits.memory_reservation, asked.memory_reservation),
    ];
    for (limit, asked) in numbers {
        if asked != 0 {
            *limit = asked;
        }
    }
    for (limit, asked) in
        [(&mut limits.cpuset_cpus, &asked.cpuset_cpus), (&mut limits.cpuset_mems, &asked.cpuset_mems)]
    {
        if !asked.is_empty() {
            limit.clone_from(asked);
        }
    }
    if asked.blkio_weight != 0 {
        limits.blkio_weight = asked.blkio_weight;
    }
    limits.pids_limit = asked.pids_limit.or(limits.pids_limit);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_stays() {
        let mut limits =
            HostConfig { memory: 64 << 20, memory_swap: 128 << 20, cpu_shares: 5, ..HostConfig::default() };
        let asked = HostConfig { memory: 32 << 20, pids_limit: Some(9), ..HostConfig::default() };
        merge(&mut limits, &asked).expect("merged");
        assert_eq!((limits.memory, limits.memory_swap, limits.cpu_shares), (32 << 20, 128 << 20, 5));
        assert_eq!(limits.pids_limit, Some(9));
    }

    #[test]
    fn what_conflicts_is_refused() {
        let limits =
            HostConfig { memory: 64 << 20, memory_swap: 128 << 20, cpu_quota: 5000, ..HostConfig::default() };
        for asked in [
            HostConfig { memory: 256 << 20, ..HostConfig::default() },
            HostConfig { nano_cpus: 1, ..HostConfig::default() },
        ] {
            assert!(merge(&mut limits.clone(), &asked).is_err());
        }
        let mut nano = HostConfig { nano_cpus: 1, ..HostConfig::default() };
        assert!(merge(&mut nano, &HostConfig { cpu_quota: 5000, ..HostConfig::default() }).is_err());
    }
}
