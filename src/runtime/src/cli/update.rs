//! The arguments of `update`.

use std::path::PathBuf;

use casemate_spec::{ContainerId, Error, Result};
use clap::Args;

/// `update`: limits to change; what is not named stays.
#[derive(Debug, Clone, Default, Args)]
pub struct Limits {
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,

    /// CFS period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,

    /// CFS quota in microseconds a period; -1 for none
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,

    /// CFS burst in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<u64>,

    /// CPU shares, relative to other containers
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,

    /// Realtime period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,

    /// Realtime runtime in microseconds a period
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_rt_runtime: Option<i64>,

    /// 1 to run only on otherwise idle CPUs
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,

    /// CPUs to use (as in 0-3,7)
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,

    /// Accepted and ignored: kernels have no such limit any more
    #[arg(long, value_name = "BYTES", hide = true, value_parser = bytes, allow_negative_numbers = true)]
    pub kernel_memory: Option<i64>,

    /// Accepted and ignored: kernels have no such limit any more
    #[arg(long, value_name = "BYTES", hide = true, value_parser = bytes, allow_negative_numbers = true)]
    pub kernel_memory_tcp: Option<i64>,

    /// Memory limit (as in 67108864 or 64m); -1 for none
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    pub memory: Option<i64>,

    /// Memory reservation, the soft limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,

    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,

    /// Most processes; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,

    /// Intel RDT: L3 cache schema
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,

    /// Intel RDT: memory bandwidth schema
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
}

/// `update`.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// Read the limits from a file in the form of config.json's linux.resources, or - for standard input; other
    /// limits on the command line are then ignored
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,

    /// The limits, one by one.
    #[command(flatten)]
    pub limits: Limits,

    /// Container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

/// A size in bytes: a number, optionally fractional, with one of `b k m g t p` (powers of 1024, `kb` and `KiB` too).
///
/// # Errors
/// Anything else, or more than `i64` holds. `-1` is the one negative number.
fn bytes(text: &str) -> Result<i64> {
    let refuse = || Error::new("", format!("{text:?} is not a size in bytes like 67108864, 64m or -1"));
    if text == "-1" {
        return Ok(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).ok_or_else(refuse)?;
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit != "i" && unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(refuse()),
    };
    let factor = 1024_i64.pow(power);
    // Whole numbers stay exact: a float has 53 bits only.
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(refuse);
    }
    let value = number.parse::<f64>().map_err(|_| refuse())? * factor as f64;
    if value.is_finite() && value < i64::MAX as f64 { Ok(value as i64) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, expected) in [
            ("0", 0),
            ("-1", -1),
            ("67108864", 67_108_864),
            ("64m", 67_108_864),
            ("64M", 67_108_864),
            ("64MiB", 67_108_864),
            ("1.5kb", 1536),
            ("2 GB", 2 << 30),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(bytes(text).ok(), Some(expected), "{text:?}");
        }
        for bad in ["", "-2", "m", "1x", "1i", "9223372036854775808", "9000000t", "1e3", "nan"] {
            assert!(bytes(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
