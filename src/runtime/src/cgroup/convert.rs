//! Values of the OCI specification, which thinks in cgroup v1, in the terms of cgroup v2.

use casemate_spec::{Error, Result};

/// v1 `cpu.shares` (2 to 262144) as v2 `cpu.weight` (1 to 10000) on a straight line; 0 stays "not set".
///
/// This is the line of runc up to 1.3 and of crun up to 1.22, which the hosts we replace them on are tuned to; later
/// ones bend it so that the default of 1024 shares meets the default weight of 100.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        shares => 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142,
    }
}

/// v1 `blkio.weight` (10 to 1000) as v2 `io.weight` (1 to 10000); 0 stays "not set".
pub fn io_weight(weight: u16) -> u64 {
    match u64::from(weight) {
        0 => 0,
        weight => (1 + weight.saturating_sub(10) * 9999 / 990).min(10_000),
    }
}

/// v2 `memory.swap.max`, swap alone, from the specification's `swap`, which is memory and swap together.
///
/// 0 means "not set" on the way in; none, -1 (no limit) or bytes come out.
pub fn swap_max(memory: i64, memory_and_swap: i64) -> Result<Option<i64>> {
    let refuse = |why: &str| Err(Error::new(format!("linux.resources.memory.swap: {memory_and_swap}"), why));
    match (memory, memory_and_swap) {
        // Taking the limit off memory alone would leave a limit on the sum on v1: it comes off both.
        (-1, 0) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (_, -1) => Ok(Some(-1)),
        (0 | -1, _) => refuse("unable to set swap limit without memory limit"),
        (memory, _) if memory < 0 => refuse("the memory limit is negative"),
        (memory, both) if both < memory => refuse("memory+swap limit should be >= memory limit"),
        (memory, both) => Ok(Some(both - memory)),
    }
}

/// A limit as v2 writes it: `max` for -1, nothing for 0 ("not set").
pub fn max(limit: i64) -> Option<String> {
    match limit {
        0 => None,
        -1 => Some("max".to_owned()),
        limit => Some(limit.to_string()),
    }
}
