//! Statistics files of cgroup v2, told in the terms of v1, as runc does.

use casemate_spec::Result;

use super::super::dir::Dir;
use super::{Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryEntry, device, limit, number, pairs};

pub(super) fn cpu(dir: &Dir, cpu: &mut Cpu) -> Result<()> {
    let text = dir.read_if_there("cpu.stat")?.unwrap_or_default();
    for (key, value) in pairs(&text) {
        let nanoseconds = value.saturating_mul(1000);
        match key {
            "usage_usec" => cpu.usage.total = nanoseconds,
            "user_usec" => cpu.usage.user = nanoseconds,
            "system_usec" => cpu.usage.kernel = nanoseconds,
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled_time = nanoseconds,
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn memory(dir: &Dir) -> Result<Memory> {
    let text = dir.read_if_there("memory.stat")?.unwrap_or_default();
    let raw: std::collections::BTreeMap<_, _> =
        pairs(&text).map(|(key, value)| (key.to_owned(), value)).collect();
    let events = dir.read_if_there("memory.events")?.unwrap_or_default();
    let failcnt = pairs(&events).find(|(key, _)| *key == "max").map_or(0, |(_, value)| value);
    let most = limit(dir, "memory.max")?;
    let usage = MemoryEntry {
        limit: most.unwrap_or(u64::MAX),
        usage: number(dir, "memory.current")?,
        max: number(dir, "memory.peak")?,
        failcnt,
    };
    let swap_most = limit(dir, "memory.swap.max")?;
    let swap = MemoryEntry {
        limit: most.zip(swap_most).map_or(u64::MAX, |(memory, swap)| memory.saturating_add(swap)),
        usage: usage.usage.saturating_add(number(dir, "memory.swap.current")?),
        max: 0,
        failcnt: 0,
    };
    let cache = raw.get("file").copied().unwrap_or(0);
    Ok(Memory { cache, usage, swap, raw, ..Memory::default() })
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`
pub(super) fn io(dir: &Dir) -> Result<Blkio> {
    let text = dir.read_if_there("io.stat")?.unwrap_or_default();
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(device) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut blkio.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                "dios" => (&mut blkio.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or(0) });
        }
    }
    Ok(blkio)
}

pub(super) fn hugetlb(dir: &Dir, size: &str) -> Result<Hugetlb> {
    let reserved = format!("hugetlb.{size}.rsvd");
    let prefix = if dir.has(&format!("{reserved}.current")) { reserved } else { format!("hugetlb.{size}") };
    let events = dir.read_if_there(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
    let failcnt = pairs(&events).find(|(key, _)| *key == "max").map_or(0, |(_, value)| value);
    Ok(Hugetlb { usage: number(dir, &format!("{prefix}.current"))?, max: 0, failcnt })
}
