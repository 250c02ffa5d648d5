//! Limits on cgroup v2 (Documentation/admin-guide/cgroup-v2.rst of the kernel).

use std::collections::HashMap;

use casemate_spec::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxThrottleDevice};
use rustix::io::Errno;

use super::apply::{Batch, limit};
use super::apply_v1::page_size;
use super::convert::{cpu_weight, io_weight, max, swap_max};
use super::dir::{Dir, os};

pub(super) use super::apply_v1::cpuset;

/// v2 hands out no real-time budgets.
pub(super) fn refuse_realtime(cpu: &LinuxCpu) -> Result<()> {
    if limit(cpu.realtime_runtime()) != 0 || cpu.realtime_period().unwrap_or(0) != 0 {
        return Err(Error::new(
            "linux.resources.cpu.realtimeRuntime",
            "cgroup v2 has no real-time CPU control",
        ));
    }
    Ok(())
}

pub(super) fn cpu<'a>(dir: &'a Dir, cpu: &LinuxCpu, batch: &mut Batch<'a>) -> Result<()> {
    if let Some(idle) = cpu.idle() {
        batch.set(dir, "cpu.idle", &idle.to_string())?;
    }
    match cpu_weight(cpu.shares().unwrap_or(0)) {
        0 => {}
        weight => batch.set(dir, "cpu.weight", &weight.to_string())?,
    }
    bandwidth(dir, cpu, batch)
}

/// A burst may not exceed the quota: written again after it when the old quota is too small.
fn bandwidth<'a>(dir: &'a Dir, cpu: &LinuxCpu, batch: &mut Batch<'a>) -> Result<()> {
    let quota = limit(cpu.quota());
    let period = cpu.period().unwrap_or(0);
    let mut burst = cpu.burst().map(|burst| burst.to_string());
    if let Some(value) = &burst {
        match batch.try_set(dir, "cpu.max.burst", value) {
            Ok(()) => burst = None,
            Err(Errno::INVAL) if quota != 0 => {}
            Err(e) => {
                return Err(os(format!("write {value:?} to {}/cpu.max.burst", dir.path().display()), e));
            }
        }
    }
    if quota != 0 || period != 0 {
        let mut value = match quota {
            1.. => quota.to_string(),
            // Only the period changes: the quota in force stays.
            0 => dir.read("cpu.max")?.split_whitespace().next().unwrap_or("max").to_owned(),
            _ => "max".to_owned(),
        };
        if period != 0 {
            value.push_str(&format!(" {period}"));
        }
        batch.set(dir, "cpu.max", &value)?;
    }
    burst.map_or(Ok(()), |value| batch.set(dir, "cpu.max.burst", &value))
}

pub(super) fn memory<'a>(dir: &'a Dir, memory: &LinuxMemory, batch: &mut Batch<'a>) -> Result<()> {
    let bytes = limit(memory.limit());
    if memory.check_before_update() == Some(true) {
        refuse_below_usage(dir, memory)?;
    }
    if let Some(swap) = swap_max(bytes, limit(memory.swap()))? {
        let value = if swap == -1 { "max".to_owned() } else { swap.to_string() };
        match batch.try_set(dir, "memory.swap.max", &value) {
            Ok(()) => {}
            // A kernel without swap has nothing to limit.
            Err(Errno::NOENT | Errno::ACCESS) if swap <= 0 && !dir.has("memory.swap.max") => {}
            Err(e) => {
                return Err(os(format!("write {value:?} to {}/memory.swap.max", dir.path().display()), e));
            }
        }
    }
    if let Some(value) = max(bytes) {
        batch.set(dir, "memory.max", &value)?;
    }
    match max(limit(memory.reservation())) {
        Some(value) => batch.set(dir, "memory.low", &value),
        None => Ok(()),
    }
}

/// v2 sets a limit below the usage and kills until it holds; `checkBeforeUpdate` asks for a refusal instead.
fn refuse_below_usage(dir: &Dir, memory: &LinuxMemory) -> Result<()> {
    let usage = |file: &str| -> Result<i64> {
        Ok(dir.read_if_there(file)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    };
    let used = usage("memory.current")?;
    let bytes = limit(memory.limit());
    if bytes > 0 && used > bytes {
        return Err(Error::new(
            "linux.resources.memory.limit",
            format!("rejecting memory limit {bytes}: less than usage {used}"),
        ));
    }
    let both = limit(memory.swap());
    if both > 0 {
        let used = used.saturating_add(usage("memory.swap.current")?);
        if used > both {
            let why = format!("rejecting memory+swap limit {both}: less than usage {used}");
            return Err(Error::new("linux.resources.memory.swap", why));
        }
    }
    Ok(())
}

pub(super) fn io<'a>(dir: &'a Dir, io: &LinuxBlockIo, batch: &mut Batch<'a>) -> Result<()> {
    let bfq = dir.has("io.bfq.weight");
    let scale = |weight: u16| if bfq { u64::from(weight) } else { io_weight(weight) };
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        batch.add(dir, file, &scale(weight).to_string())?;
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            batch.add(dir, file, &format!("{}:{} {}", device.major(), device.minor(), scale(weight)))?;
        }
    }
    throttle(dir, "rbps", io.throttle_read_bps_device().as_deref(), batch)?;
    throttle(dir, "wbps", io.throttle_write_bps_device().as_deref(), batch)?;
    throttle(dir, "riops", io.throttle_read_iops_device().as_deref(), batch)?;
    throttle(dir, "wiops", io.throttle_write_iops_device().as_deref(), batch)
}

fn throttle(dir: &Dir, key: &str, devices: Option<&[LinuxThrottleDevice]>, batch: &Batch<'_>) -> Result<()> {
    devices.unwrap_or_default().iter().try_for_each(|device| {
        // A rate of 0 takes the limit off on v1.
        let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
        batch.add(dir, "io.max", &format!("{}:{} {key}={rate}", device.major(), device.minor()))
    })
}

pub(super) fn hugetlb<'a>(
    dir: &'a Dir,
    limits: &Vec<LinuxHugepageLimit>,
    batch: &mut Batch<'a>,
) -> Result<()> {
    for page in limits {
        let value = if page.limit() == -1 { "max".to_owned() } else { page.limit().to_string() };
        batch
            .set(dir, &format!("hugetlb.{}.max", page.page_size()), &value)
            .map_err(|e| page_size(e, page))?;
        let reserved = format!("hugetlb.{}.rsvd.max", page.page_size());
        if dir.has(&reserved) {
            batch.set(dir, &reserved, &value)?;
        }
    }
    Ok(())
}

/// Raw v2 files of `linux.resources.unified`, in the order of their names.
pub(super) fn unified<'a>(dir: &'a Dir, map: &HashMap<String, String>, batch: &mut Batch<'a>) -> Result<()> {
    let mut files: Vec<_> = map.iter().collect();
    files.sort_unstable();
    for (file, value) in files {
        // A value of several lines holds a setting per line, each for a write of its own.
        for line in value.lines().filter(|line| !line.is_empty()) {
            batch
                .add(dir, file, line)
                .map_err(|e| e.within(format!("unable to set unified resource {file:?}")))?;
        }
    }
    Ok(())
}
