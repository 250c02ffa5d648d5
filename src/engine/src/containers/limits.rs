//! Limits: whether they make sense, in Docker's words, and as the runtime's configuration has them.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder, PosixRlimit,
};
use serde::Deserialize;
use serde_json::json;

use super::host_config::ThrottleDevice;
use super::{HostConfig, devices};
use crate::{Failure, Result};

/// The least memory that anything starts in.
const LEAST: i64 = 6 << 20;
/// Docker's period for `--cpus`, in microseconds.
const PERIOD: i64 = 100_000;
/// Names of getrlimit(2).
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Whether the limits make sense.
///
/// # Errors
/// In Docker's words.
pub fn check(asked: &HostConfig) -> Result<()> {
    memory(asked)?;
    processors(asked)?;
    let refuse = |bad: bool, message: &str| if bad { Err(Failure::invalid(message)) } else { Ok(()) };
    let weight = |weight: u16| weight != 0 && !(10..=1000).contains(&weight);
    refuse(weight(asked.blkio_weight), "Range of blkio weight is from 10 to 1000")?;
    for device in asked.blkio_weight_device.iter().flatten() {
        refuse(weight(device.weight), "Range of blkio weight is from 10 to 1000")?;
    }
    refuse(asked.shm_size < 0, "SHM size can not be less than 0")?;
    if !(-1000..=1000).contains(&asked.oom_score_adj) {
        let message =
            format!("Invalid value {}, range for oom score adj is [-1000, 1000]", asked.oom_score_adj);
        return Err(Failure::invalid(message));
    }
    if asked.io_maximum_iops != 0
        || asked.io_maximum_bandwidth != 0
        || asked.cpu_count != 0
        || asked.cpu_percent != 0
    {
        return Err(Failure::invalid("invalid QoS settings: linux has none of Windows's limits"));
    }
    refuse(
        asked.kernel_memory != 0 || asked.kernel_memory_tcp != 0,
        "kernel memory limits are obsolete and not supported",
    )?;
    rlimits(asked).map(drop)
}

fn memory(asked: &HostConfig) -> Result<()> {
    let refuse = |bad: bool, message: &str| if bad { Err(Failure::invalid(message)) } else { Ok(()) };
    refuse(asked.memory != 0 && asked.memory < LEAST, "Minimum memory limit allowed is 6MB")?;
    refuse(
        asked.memory == 0 && asked.memory_swap > 0,
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    )?;
    refuse(
        asked.memory > 0 && asked.memory_swap > 0 && asked.memory_swap < asked.memory,
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    )?;
    refuse(asked.memory_swap < -1, "Minimum memoryswap limit should be larger than memory limit, see usage")?;
    if let Some(value) = asked.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        let message = format!("Invalid value: {value}, valid memory swappiness range is 0-100");
        return Err(Failure::invalid(message));
    }
    let reserved = asked.memory_reservation;
    refuse(reserved != 0 && reserved < LEAST, "Minimum memory reservation allowed is 6MB")?;
    refuse(
        asked.memory > 0 && reserved > asked.memory,
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    )
}

fn processors(asked: &HostConfig) -> Result<()> {
    let refuse = |bad: bool, message: &str| if bad { Err(Failure::invalid(message)) } else { Ok(()) };
    let nano = asked.nano_cpus;
    refuse(
        nano > 0 && asked.cpu_period != 0,
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    )?;
    refuse(
        nano > 0 && asked.cpu_quota != 0,
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    )?;
    let here = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = i64::try_from(here).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if nano < 0 || (nano > 0 && nano < 10_000_000) || nano > most {
        let message =
            format!("range of CPUs is from 0.01 to {here}.00, as there are only {here} CPUs available");
        return Err(Failure::invalid(message));
    }
    refuse(
        asked.cpu_period != 0 && !(1_000..=1_000_000).contains(&asked.cpu_period),
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    )?;
    refuse(
        asked.cpu_quota != 0 && asked.cpu_quota != -1 && asked.cpu_quota < 1_000,
        "CPU cfs quota can not be less than 1ms (i.e. 1000)",
    )?;
    refuse(asked.cpu_shares < 0, "shares can not be less than 0")?;
    refuse(asked.cpu_realtime_period < 0, "realtime period can not be less than 0")?;
    refuse(
        asked.cpu_realtime_runtime != 0 && asked.cpu_realtime_runtime > asked.cpu_realtime_period,
        "cpu real-time runtime cannot be higher than cpu real-time period",
    )?;
    for (list, what) in [(&asked.cpuset_cpus, "cpus"), (&asked.cpuset_mems, "mems")] {
        if !list.is_empty() && !is_list(list) {
            return Err(Failure::invalid(format!("Invalid value {list} for cpuset {what}")));
        }
    }
    Ok(())
}

/// A list of numbers and ranges as the kernel takes it.
fn is_list(text: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    text.split(',').all(|part| match part.split_once('-') {
        Some((low, high)) => matches!((number(low), number(high)), (Some(low), Some(high)) if low <= high),
        None => number(part).is_some(),
    })
}

/// Translates. Whoever asked for nothing gets the policy's.
///
/// # Errors
/// A device is not there, or a rule for devices is none.
pub fn resources(asked: &HostConfig) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources.set_memory(memory_limits(asked));
    resources.set_cpu(cpu(asked));
    if let Some(limit) = asked.pids_limit.filter(|limit| *limit != 0) {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit.max(-1));
        resources.set_pids(Some(pids));
    }
    resources.set_block_io(block_io(asked)?);
    resources.set_devices(devices::rules(asked)?);
    Ok(resources)
}

fn memory_limits(asked: &HostConfig) -> Option<LinuxMemory> {
    let some = |value: i64| (value != 0).then_some(value);
    let mut memory = LinuxMemory::default();
    memory.set_limit(some(asked.memory));
    memory.set_reservation(some(asked.memory_reservation));
    memory.set_swap(some(asked.memory_swap));
    memory.set_swappiness(asked.memory_swappiness.and_then(|value| u64::try_from(value).ok()));
    memory.set_disable_oom_killer(asked.oom_kill_disable.filter(|disable| *disable));
    (memory != LinuxMemory::default()).then_some(memory)
}

fn cpu(asked: &HostConfig) -> Option<LinuxCpu> {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut cpu = LinuxCpu::default();
    // Fewer than two are none to the kernel.
    cpu.set_shares(positive(asked.cpu_shares).map(|shares| shares.clamp(2, 262_144)));
    if asked.nano_cpus > 0 {
        cpu.set_period(positive(PERIOD));
        cpu.set_quota(Some(asked.nano_cpus / (1_000_000_000 / PERIOD)));
    } else {
        cpu.set_period(positive(asked.cpu_period));
        cpu.set_quota((asked.cpu_quota != 0).then_some(asked.cpu_quota));
    }
    cpu.set_realtime_period(positive(asked.cpu_realtime_period));
    cpu.set_realtime_runtime((asked.cpu_realtime_runtime != 0).then_some(asked.cpu_realtime_runtime));
    cpu.set_cpus(text(&asked.cpuset_cpus));
    cpu.set_mems(text(&asked.cpuset_mems));
    (cpu != LinuxCpu::default()).then_some(cpu)
}

fn block_io(asked: &HostConfig) -> Result<Option<LinuxBlockIo>> {
    let mut io = LinuxBlockIo::default();
    io.set_weight((asked.blkio_weight != 0).then_some(asked.blkio_weight));
    let mut weights = Vec::new();
    for device in asked.blkio_weight_device.iter().flatten() {
        let (major, minor) = devices::block(&device.path)?;
        let weight = LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(device.weight);
        weights.push(weight.build().map_err(|error| Failure::invalid(error.to_string()))?);
    }
    io.set_weight_device(Some(weights).filter(|list| !list.is_empty()));
    io.set_throttle_read_bps_device(throttles(asked.blkio_device_read_bps.as_deref())?);
    io.set_throttle_write_bps_device(throttles(asked.blkio_device_write_bps.as_deref())?);
    io.set_throttle_read_iops_device(throttles(asked.blkio_device_read_iops.as_deref())?);
    io.set_throttle_write_iops_device(throttles(asked.blkio_device_write_iops.as_deref())?);
    Ok((io != LinuxBlockIo::default()).then_some(io))
}

fn throttles(asked: Option<&[ThrottleDevice]>) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let one = |device: &ThrottleDevice| {
        let (major, minor) = devices::block(&device.path)?;
        let throttle = LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(device.rate);
        throttle.build().map_err(|error| Failure::invalid(error.to_string()))
    };
    let list: Vec<_> = asked.unwrap_or_default().iter().map(one).collect::<Result<_>>()?;
    Ok(Some(list).filter(|list| !list.is_empty()))
}

/// Limits of getrlimit(2).
///
/// # Errors
/// A name is not known, or the soft limit lies above the hard one.
pub fn rlimits(asked: &HostConfig) -> Result<Vec<PosixRlimit>> {
    let mut list: Vec<PosixRlimit> = Vec::new();
    for ulimit in asked.ulimits.iter().flatten() {
        if !ULIMITS.contains(&ulimit.name.as_str()) {
            return Err(Failure::invalid(format!("invalid ulimit type: {}", ulimit.name)));
        }
        // -1 is no limit, as setrlimit(2) writes it.
        let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
        let (soft, hard) = (value(ulimit.soft), value(ulimit.hard));
        if soft > hard {
            let message = format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            );
            return Err(Failure::invalid(message));
        }
        let name = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
        let limit = PosixRlimit::deserialize(json!({ "type": name, "soft": soft, "hard": hard }))
            .map_err(|error| Failure::invalid(format!("ulimit {}: {error}", ulimit.name)))?;
        // Docker's client sends each once; of several the last holds.
        list.retain(|other| other.typ() != limit.typ());
        list.push(limit);
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
