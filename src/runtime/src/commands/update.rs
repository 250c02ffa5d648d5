//! `update`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxCpuBuilder, LinuxMemory, LinuxMemoryBuilder,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

use crate::birth::facts_again;
use crate::cli::{Global, Limits, UpdateArgs};
use crate::store::{CONFIG, Container, Root, Status};
use crate::{choice, log};

/// The bound of a resources document; a configuration as a whole may have as much.
const LARGEST: u64 = 16 << 20;

/// Changes the limits of a container.
///
/// # Errors
/// "container not running"; a limit makes no sense, or this host cannot set it.
pub fn update(global: &Global, args: &UpdateArgs) -> Result<ExitCode> {
    // Even beside --resources: who asks for it must hear that nothing was done.
    if args.limits.l3_cache_schema.is_some() || args.limits.mem_bw_schema.is_some() {
        return Err(Error::new("intel RDT", "changing the schema of a running container is not supported"));
    }
    let resources = match &args.resources {
        Some(path) => casemate_spec::parse_resources(&document(path)?)?,
        None => named(&args.limits).map_err(|error| Error::new("update", error.to_string()))?,
    };
    let container = Root::locked(global, &args.id)?;
    match (container.status()?, container.cgroup()?) {
        (Status::Created | Status::Running | Status::Paused, Some(cgroup)) => {
            let resources = bounded(global, &container, resources)?;
            cgroup.apply(&resources).map_err(|error| error.within(&args.id))?;
        }
        (Status::Stopped | Status::Creating, _) => {
            return Err(Error::new(args.id.as_str(), "container not running"));
        }
        (_, None) => return Err(Error::new(args.id.as_str(), "the container has no control group")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What of the limits the container's policy lets be set.
fn bounded(global: &Global, container: &Container, asked: LinuxResources) -> Result<LinuxResources> {
    let lost = || Error::new(CONFIG, "the container has lost its copy");
    let config = casemate_spec::parse(&container.home().read(CONFIG)?.ok_or_else(lost)?)?;
    let facts = facts_again(global, &config, container.record());
    choice::bounded(&choice::kept(global, container)?, config, &facts, asked)
}

/// A resources document, from a file or from standard input (`-`).
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) fn document(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::io(format!("read resources {}", path.display()), &error);
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).map_err(failed)?.take(LARGEST + 1).read_to_end(&mut bytes)
    };
    if read.map_err(failed)? as u64 > LARGEST {
        return Err(Error::new(format!("read resources {}", path.display()), "larger than 16 MiB"));
    }
    Ok(bytes)
}

/// The flags as a resources document that holds nothing else.
fn named(limits: &Limits) -> Result<LinuxResources, OciSpecError> {
    if limits.kernel_memory.is_some() || limits.kernel_memory_tcp.is_some() {
        log::warn(format_args!("kernel memory settings are ignored and will be removed"));
    }
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(memory) = memory(limits)? {
        resources = resources.memory(memory);
    }
    if let Some(cpu) = cpu(limits)? {
        resources = resources.cpu(cpu);
    }
    if let Some(weight) = limits.blkio_weight.filter(|&weight| weight != 0) {
        let block: LinuxBlockIo = LinuxBlockIoBuilder::default().weight(weight).build()?;
        resources = resources.block_io(block);
    }
    // 0 is the flag's default in runc, and no change.
    if let Some(limit) = limits.pids_limit.filter(|&limit| limit != 0) {
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    let mut resources = resources.build()?;
    // A new container's default is to deny every device; an update says nothing about devices.
    resources.set_devices(None);
    Ok(resources)
}

fn memory(limits: &Limits) -> Result<Option<LinuxMemory>, OciSpecError> {
    let Limits { memory, memory_reservation, memory_swap, .. } = *limits;
    if memory.or(memory_reservation).or(memory_swap).is_none() {
        return Ok(None);
    }
    let mut built = LinuxMemoryBuilder::default();
    if let Some(limit) = memory {
        built = built.limit(limit);
    }
    if let Some(reservation) = memory_reservation {
        built = built.reservation(reservation);
    }
    if let Some(swap) = memory_swap {
        built = built.swap(swap);
    }
    built.build().map(Some)
}

fn cpu(limits: &Limits) -> Result<Option<LinuxCpu>, OciSpecError> {
    let mut built = LinuxCpuBuilder::default();
    let mut any = false;
    macro_rules! set {
        ($($flag:ident => $field:ident),*) => {
            $(if let Some(value) = limits.$flag.clone() {
                built = built.$field(value);
                any = true;
            })*
        };
    }
    set!(
        cpu_share => shares, cpu_quota => quota, cpu_burst => burst, cpu_period => period, cpu_idle => idle,
        cpu_rt_runtime => realtime_runtime, cpu_rt_period => realtime_period, cpuset_cpus => cpus, cpuset_mems => mems
    );
    if any { built.build().map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_not_changed() {
        let none = named(&Limits::default()).expect("it builds");
        assert_eq!(serde_json::to_string(&none).expect("it serializes"), "{}");
        let limits =
            Limits { memory: Some(1 << 20), cpu_quota: Some(-1), pids_limit: Some(-1), ..Limits::default() };
        let some = named(&limits).expect("it builds");
        let value = serde_json::to_value(&some).expect("it serializes");
        let expected =
            serde_json::json!({"memory": {"limit": 1 << 20}, "cpu": {"quota": -1}, "pids": {"limit": -1}});
        assert_eq!(value, expected);
    }
}
