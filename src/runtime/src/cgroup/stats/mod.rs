//! What a container uses: the `data` of `events`, in the shape of runc's `types.Stats`, which engines read.

mod v1;
mod v2;

use std::collections::BTreeMap;

use casemate_spec::Result;
use serde::Serialize;

use super::dir::Dir;
use super::{Cgroup, Side};

/// Usage of every controller that this host has; what it lacks is left at zero.
#[derive(Debug, Clone, Default, Serialize)]
#[expect(missing_docs, reason = "the names are the interface; they are the controllers'")]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: CpuSet,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size, such as `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Resource control groups are not read.
    pub intel_rdt: IntelRdt,
    /// runc never fills it and prints `null`.
    pub network_interfaces: Option<()>,
}

/// CPU time and throttling.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
}

/// CPU time in nanoseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often, and for how many nanoseconds, the CPU quota held the container back.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The v1 cpuset's settings.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Bytes of memory.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat` as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Processes and threads; a limit of 0 means none.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
}

/// One device and one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Printed as an empty object.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IntelRdt {}

impl Cgroup {
    /// What the container uses now.
    ///
    /// # Errors
    /// When a statistics file that exists cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        if let Some(Side::V1(dir) | Side::Unified(dir)) = self.side("pids")? {
            stats.pids.current = number(dir, "pids.current")?;
            stats.pids.limit = limit(dir, "pids.max")?.unwrap_or(0);
        }
        match (self.v1_dir("cpu"), self.v1_dir("cpuacct"), &self.unified) {
            (None, None, Some(dir)) => v2::cpu(dir, &mut stats.cpu)?,
            (cpu, cpuacct, _) => {
                cpu.map_or(Ok(()), |dir| v1::throttling(dir, &mut stats.cpu.throttling))?;
                cpuacct.map_or(Ok(()), |dir| v1::cpu_usage(dir, &mut stats.cpu.usage))?;
            }
        }
        if let Some(dir) = self.v1_dir("cpuset") {
            stats.cpuset = v1::cpuset(dir)?;
        }
        match self.side("memory")? {
            Some(Side::V1(dir)) => stats.memory = v1::memory(dir)?,
            Some(Side::Unified(dir)) => stats.memory = v2::memory(dir)?,
            None => {}
        }
        match self.side("blkio")? {
            Some(Side::V1(dir)) => stats.blkio = v1::blkio(dir)?,
            Some(Side::Unified(dir)) => stats.blkio = v2::io(dir)?,
            None => {}
        }
        if let Some(side) = self.side("hugetlb")? {
            for size in page_sizes() {
                let usage = match side {
                    Side::V1(dir) => v1::hugetlb(dir, &size)?,
                    Side::Unified(dir) => v2::hugetlb(dir, &size)?,
                };
                stats.hugetlb.insert(size, usage);
            }
        }
        Ok(stats)
    }
}

/// The host's huge page sizes as the controller's files name them, from `/sys/kernel/mm/hugepages/hugepages-2048kB`.
fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let kilobytes = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
    });
    let mut sizes: Vec<u64> = kilobytes.collect();
    sizes.sort_unstable();
    sizes.into_iter().map(page_size).collect()
}

/// As mm/hugetlb_cgroup.c of the kernel writes a size.
fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        kb if kb >= 1 << 20 => format!("{}GB", kb >> 20),
        kb if kb >= 1 << 10 => format!("{}MB", kb >> 10),
        kb => format!("{kb}KB"),
    }
}

/// The number in a file; 0 when the kernel has no such file.
fn number(dir: &Dir, file: &str) -> Result<u64> {
    Ok(dir.read_if_there(file)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// The limit in a file; none for `max` or a missing file.
fn limit(dir: &Dir, file: &str) -> Result<Option<u64>> {
    Ok(dir.read_if_there(file)?.and_then(|text| text.trim().parse().ok()))
}

/// Lines of `key number`.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// `8:0` as two numbers.
fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_named_as_the_files_are() {
        assert_eq!([64, 2048, 1_048_576].map(page_size), ["64KB", "2MB", "1GB"]);
    }

    #[test]
    fn an_idle_container_prints_what_runc_prints() {
        let json = serde_json::to_value(Stats::default()).unwrap();
        assert_eq!(json["network_interfaces"], serde_json::Value::Null);
        assert_eq!(json["intel_rdt"], serde_json::json!({}));
        assert_eq!(json["memory"]["usage"], serde_json::json!({"limit": 0, "failcnt": 0}));
        assert_eq!(json["cpu"]["usage"], serde_json::json!({"kernel": 0, "user": 0}));
        assert_eq!(json["blkio"], serde_json::json!({}));
    }
}
