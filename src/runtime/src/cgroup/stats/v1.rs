//! Statistics files of cgroup v1.

use casemate_spec::Result;

use super::super::dir::Dir;
use super::{
    Blkio, BlkioEntry, CpuSet, CpuUsage, Hugetlb, Memory, MemoryEntry, Throttling, device, number, pairs,
};

/// `cpuacct.stat` counts in ticks of `USER_HZ`, which is 100 on every architecture we have.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub(super) fn throttling(dir: &Dir, throttling: &mut Throttling) -> Result<()> {
    let text = dir.read_if_there("cpu.stat")?.unwrap_or_default();
    for (key, value) in pairs(&text) {
        match key {
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_time" => throttling.throttled_time = value,
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn cpu_usage(dir: &Dir, usage: &mut CpuUsage) -> Result<()> {
    usage.total = number(dir, "cpuacct.usage")?;
    let text = dir.read_if_there("cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = text.split_whitespace().filter_map(|value| value.parse().ok()).collect();
    let text = dir.read_if_there("cpuacct.stat")?.unwrap_or_default();
    for (key, value) in pairs(&text) {
        match key {
            "user" => usage.user = value.saturating_mul(NANOSECONDS_PER_TICK),
            "system" => usage.kernel = value.saturating_mul(NANOSECONDS_PER_TICK),
            _ => {}
        }
    }
    // Lines of "cpu user system" below a heading.
    let text = dir.read_if_there("cpuacct.usage_all")?.unwrap_or_default();
    for line in text.lines().skip(1) {
        let mut values = line.split_whitespace().skip(1).filter_map(|value| value.parse().ok());
        if let (Some(user), Some(system)) = (values.next(), values.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(system);
        }
    }
    Ok(())
}

pub(super) fn cpuset(dir: &Dir) -> Result<CpuSet> {
    let list = |file| dir.read_if_there(file).map(|text| numbers(text.as_deref().unwrap_or_default().trim()));
    let level = dir.read_if_there("cpuset.sched_relax_domain_level")?;
    Ok(CpuSet {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number(dir, "cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number(dir, "cpuset.mem_hardwall")?,
        mem_exclusive: number(dir, "cpuset.mem_exclusive")?,
        memory_migrate: number(dir, "cpuset.memory_migrate")?,
        memory_spread_page: number(dir, "cpuset.memory_spread_page")?,
        memory_spread_slab: number(dir, "cpuset.memory_spread_slab")?,
        memory_pressure: number(dir, "cpuset.memory_pressure")?,
        sched_load_balance: number(dir, "cpuset.sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

/// `0-2,5` as its members (cpuset(7), "List format").
fn numbers(list: &str) -> Vec<u16> {
    let ranges = list.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

pub(super) fn memory(dir: &Dir) -> Result<Memory> {
    let text = dir.read_if_there("memory.stat")?.unwrap_or_default();
    let raw: std::collections::BTreeMap<_, _> =
        pairs(&text).map(|(key, value)| (key.to_owned(), value)).collect();
    let entry = |prefix: &str| -> Result<MemoryEntry> {
        Ok(MemoryEntry {
            limit: number(dir, &format!("{prefix}.limit_in_bytes"))?,
            usage: number(dir, &format!("{prefix}.usage_in_bytes"))?,
            max: number(dir, &format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: number(dir, &format!("{prefix}.failcnt"))?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("memory")?,
        swap: entry("memory.memsw")?,
        kernel: entry("memory.kmem")?,
        kernel_tcp: entry("memory.kmem.tcp")?,
        raw,
    })
}

pub(super) fn blkio(dir: &Dir) -> Result<Blkio> {
    // BFQ's counters, CFQ's, and those of throttling, which every kernel has; the first that has counted anything.
    for (prefix, suffix) in [
        ("blkio.bfq", "_recursive"),
        ("blkio", "_recursive"),
        ("blkio.throttle", "_recursive"),
        ("blkio.throttle", ""),
    ] {
        let read = |name: &str| -> Result<Vec<BlkioEntry>> {
            let text = dir.read_if_there(&format!("{prefix}.{name}{suffix}"))?;
            Ok(text.as_deref().unwrap_or_default().lines().filter_map(entry).collect())
        };
        let serviced = read("io_serviced")?;
        if serviced.is_empty() {
            continue;
        }
        return Ok(Blkio {
            io_service_bytes_recursive: read("io_service_bytes")?,
            io_serviced_recursive: serviced,
            io_queue_recursive: read("io_queued")?,
            io_service_time_recursive: read("io_service_time")?,
            io_wait_time_recursive: read("io_wait_time")?,
            io_merged_recursive: read("io_merged")?,
            io_time_recursive: read("time")?,
            sectors_recursive: read("sectors")?,
        });
    }
    Ok(Blkio::default())
}

/// `8:0 Read 4096`, or `8:0 17` where nothing is told apart; the closing `Total 4096` is none.
fn entry(line: &str) -> Option<BlkioEntry> {
    let mut fields = line.split_whitespace();
    let (major, minor) = device(fields.next()?)?;
    let second = fields.next()?;
    let (op, value) = match fields.next() {
        Some(value) => (second, value),
        None => ("", second),
    };
    Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
}

pub(super) fn hugetlb(dir: &Dir, size: &str) -> Result<Hugetlb> {
    // Reservations are what a limit counts where the kernel counts them (Linux 5.7).
    let reserved = format!("hugetlb.{size}.rsvd");
    let prefix =
        if dir.has(&format!("{reserved}.usage_in_bytes")) { reserved } else { format!("hugetlb.{size}") };
    Ok(Hugetlb {
        usage: number(dir, &format!("{prefix}.usage_in_bytes"))?,
        max: number(dir, &format!("{prefix}.max_usage_in_bytes"))?,
        failcnt: number(dir, &format!("{prefix}.failcnt"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_spelled_out() {
        assert_eq!(numbers("0-2,5"), [0, 1, 2, 5]);
        assert!(numbers("").is_empty());
    }

    #[test]
    fn block_lines_are_read_and_totals_are_not() {
        assert_eq!(
            entry("8:0 Read 4096"),
            Some(BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 4096 })
        );
        assert_eq!(entry("8:16 17").map(|e| e.value), Some(17));
        assert_eq!(entry("Total 4096"), None);
    }
}
