//! Limits on cgroup v1 (Documentation/admin-guide/cgroup-v1 of the kernel).

use std::collections::HashMap;

use casemate_spec::{Error, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxRdma, LinuxThrottleDevice,
    LinuxWeightDevice,
};
use rustix::io::Errno;

use super::apply::{Batch, limit, swappiness};
use super::dir::{Dir, os};

const LIMIT: &str = "memory.limit_in_bytes";
const LIMIT_AND_SWAP: &str = "memory.memsw.limit_in_bytes";

pub(super) fn cpuset<'a>(dir: &'a Dir, cpu: &LinuxCpu, batch: &mut Batch<'a>) -> Result<()> {
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            batch.set(dir, file, list)?;
        }
    }
    Ok(())
}

pub(super) fn cpu<'a>(dir: &'a Dir, cpu: &LinuxCpu, batch: &mut Batch<'a>) -> Result<()> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        batch.set(dir, "cpu.shares", &shares.to_string())?;
        refuse_clamped(dir, shares)?;
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        batch.set(dir, "cpu.rt_period_us", &period.to_string())?;
    }
    if limit(cpu.realtime_runtime()) != 0 {
        batch.set(dir, "cpu.rt_runtime_us", &limit(cpu.realtime_runtime()).to_string())?;
    }
    bandwidth(dir, cpu, batch)?;
    if let Some(idle) = cpu.idle() {
        batch.set(dir, "cpu.idle", &idle.to_string())?;
    }
    Ok(())
}

/// The kernel takes any number of shares and silently clamps it; what was asked for would not be in force.
fn refuse_clamped(dir: &Dir, asked: u64) -> Result<()> {
    let text = dir.read("cpu.shares")?;
    let what = || format!("linux.resources.cpu.shares: {asked}");
    match text.trim().parse::<u64>() {
        Ok(set) if asked > set => Err(Error::new(what(), format!("the maximum allowed cpu-shares is {set}"))),
        Ok(set) if asked < set => Err(Error::new(what(), format!("the minimum allowed cpu-shares is {set}"))),
        _ => Ok(()),
    }
}

/// Quota, period and burst, each of which may be refused with `EINVAL` until another one has changed.
fn bandwidth<'a>(dir: &'a Dir, cpu: &LinuxCpu, batch: &mut Batch<'a>) -> Result<()> {
    let period = cpu.period().filter(|period| *period != 0).map(|v| ("cpu.cfs_period_us", v.to_string()));
    let quota = cpu.quota().filter(|quota| *quota != 0).map(|v| ("cpu.cfs_quota_us", v.to_string()));
    let burst = cpu.burst().map(|v| ("cpu.cfs_burst_us", v.to_string()));
    let mut waiting: Vec<_> = [burst, period, quota].into_iter().flatten().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut refused = Vec::new();
        for (file, value) in waiting {
            match batch.try_set(dir, file, &value) {
                Ok(()) => {}
                Err(e) if e == Errno::INVAL => refused.push((file, value)),
                Err(e) => {
                    return Err(os(format!("write {value:?} to {}", dir.path().join(file).display()), e));
                }
            }
        }
        waiting = refused;
        if waiting.len() == before {
            return waiting.iter().try_for_each(|(file, value)| batch.set(dir, file, value));
        }
    }
    Ok(())
}

pub(super) fn memory<'a>(dir: &'a Dir, memory: &LinuxMemory, batch: &mut Batch<'a>) -> Result<()> {
    let bytes = limit(memory.limit());
    let mut both = limit(memory.swap());
    // The sum may not stay limited below an unlimited memory.
    if bytes == -1 && both == 0 && dir.has(LIMIT_AND_SWAP) {
        both = -1;
    }
    // At every moment memory must not exceed memory and swap: the order depends on the direction.
    let grows = bytes != 0 && both != 0 && (both == -1 || current(dir)? < both.unsigned_abs());
    if grows {
        set_limit(dir, LIMIT_AND_SWAP, both, batch)?;
        set_limit(dir, LIMIT, bytes, batch)?;
    } else {
        set_limit(dir, LIMIT, bytes, batch)?;
        set_limit(dir, LIMIT_AND_SWAP, both, batch)?;
    }
    if limit(memory.reservation()) != 0 {
        batch.set(dir, "memory.soft_limit_in_bytes", &limit(memory.reservation()).to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        dir.write("memory.oom_control", "1")?;
    }
    match swappiness(memory)? {
        Some(value) => batch.set(dir, "memory.swappiness", &value.to_string()),
        None => Ok(()),
    }
}

fn current(dir: &Dir) -> Result<u64> {
    Ok(dir.read(LIMIT)?.trim().parse().unwrap_or(u64::MAX))
}

fn set_limit<'a>(dir: &'a Dir, file: &str, bytes: i64, batch: &mut Batch<'a>) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match batch.try_set(dir, file, &bytes.to_string()) {
        Ok(()) => Ok(()),
        // Linux without swap accounting has no such file; nothing swaps there beyond the memory limit's reach.
        Err(Errno::NOENT | Errno::ACCESS) if file == LIMIT_AND_SWAP && bytes == -1 && !dir.has(file) => {
            Ok(())
        }
        Err(Errno::NOENT) if file == LIMIT_AND_SWAP => Err(Error::new(
            "linux.resources.memory.swap",
            "the kernel accounts no swap (memory.memsw is missing)",
        )
        .hint("boot with swapaccount=1")),
        Err(Errno::BUSY) => {
            let usage = dir.read("memory.usage_in_bytes")?;
            let peak = dir.read("memory.max_usage_in_bytes")?;
            let why = format!("current usage: {}, peak usage: {}", usage.trim(), peak.trim());
            Err(Error::new(format!("unable to set memory limit to {bytes}"), why))
        }
        Err(e) => Err(os(format!("write \"{bytes}\" to {}", dir.path().join(file).display()), e)),
    }
}

pub(super) fn blkio<'a>(dir: &'a Dir, io: &LinuxBlockIo, batch: &mut Batch<'a>) -> Result<()> {
    // The weights belong to whichever scheduler the kernel has: BFQ, or CFQ before Linux 5.0.
    let bfq = dir.has("blkio.bfq.weight");
    let weight_file = if bfq { "blkio.bfq.weight" } else { "blkio.weight" };
    let weight_device_file = if bfq { "blkio.bfq.weight_device" } else { "blkio.weight_device" };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        batch.set(dir, weight_file, &weight.to_string())?;
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        batch.set(dir, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            batch.add(dir, weight_device_file, &weight_line(device, weight))?;
        }
        if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
            batch.add(dir, "blkio.leaf_weight_device", &weight_line(device, weight))?;
        }
    }
    throttle(dir, "blkio.throttle.read_bps_device", io.throttle_read_bps_device().as_deref(), batch)?;
    throttle(dir, "blkio.throttle.write_bps_device", io.throttle_write_bps_device().as_deref(), batch)?;
    throttle(dir, "blkio.throttle.read_iops_device", io.throttle_read_iops_device().as_deref(), batch)?;
    throttle(dir, "blkio.throttle.write_iops_device", io.throttle_write_iops_device().as_deref(), batch)
}

fn weight_line(device: &LinuxWeightDevice, weight: u16) -> String {
    format!("{}:{} {weight}", device.major(), device.minor())
}

fn throttle(dir: &Dir, file: &str, devices: Option<&[LinuxThrottleDevice]>, batch: &Batch<'_>) -> Result<()> {
    devices.unwrap_or_default().iter().try_for_each(|device| {
        batch.add(dir, file, &format!("{}:{} {}", device.major(), device.minor(), device.rate()))
    })
}

pub(super) fn hugetlb<'a>(
    dir: &'a Dir,
    limits: &Vec<LinuxHugepageLimit>,
    batch: &mut Batch<'a>,
) -> Result<()> {
    for page in limits {
        let value = page.limit().to_string();
        batch
            .set(dir, &format!("hugetlb.{}.limit_in_bytes", page.page_size()), &value)
            .map_err(|e| page_size(e, page))?;
        // Reservations are limited since Linux 5.7.
        let reserved = format!("hugetlb.{}.rsvd.limit_in_bytes", page.page_size());
        if dir.has(&reserved) {
            batch.set(dir, &reserved, &value)?;
        }
    }
    Ok(())
}

/// A page size the host does not have shows as a missing file.
pub(super) fn page_size(error: Error, page: &LinuxHugepageLimit) -> Error {
    if error.errno() == Some(Errno::NOENT.raw_os_error()) {
        let why = format!("this host has no huge pages of size {:?}", page.page_size());
        return Error::new("linux.resources.hugepageLimits.pageSize", why)
            .hint("the sizes are those of /sys/kernel/mm/hugepages, written as 2MB or 1GB");
    }
    error
}

/// The same file serves v1 and v2.
pub(super) fn rdma<'a>(
    dir: &'a Dir,
    limits: &HashMap<String, LinuxRdma>,
    batch: &mut Batch<'a>,
) -> Result<()> {
    for (device, limit) in limits {
        let mut line = device.clone();
        for (key, value) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        batch.add(dir, "rdma.max", &line)?;
    }
    Ok(())
}

pub(super) fn class_id<'a>(dir: &'a Dir, network: &LinuxNetwork, batch: &mut Batch<'a>) -> Result<()> {
    network.class_id().map_or(Ok(()), |id| batch.set(dir, "net_cls.classid", &id.to_string()))
}

pub(super) fn priorities<'a>(dir: &'a Dir, network: &LinuxNetwork, batch: &mut Batch<'a>) -> Result<()> {
    network.priorities().iter().flatten().try_for_each(|interface| {
        batch.add(dir, "net_prio.ifpriomap", &format!("{} {}", interface.name(), interface.priority()))
    })
}
