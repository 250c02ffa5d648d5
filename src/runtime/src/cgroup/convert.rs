//! Values of the OCI specification, which thinks in cgroup v1, in the terms of cgroup v2.

use casemate_spec::{Error, Result};

/// v1 `cpu.shares` (2 to 262144, default 1024) as v2 `cpu.weight` (1 to 10000, default 100); 0 stays "not set".
///
/// The curve runs through the least, the default and the greatest value of both sides, as current runc and crun do;
/// the older straight line made weight 39 of the default.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        shares => {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^18")]
            let l = (shares as f64).log2();
            let weight = 10_f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = weight as u64;
            weight.clamp(1, 10_000)
        }
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
