//! Limits and device rules as properties of a systemd unit (systemd.resource-control(5)).

use casemate_spec::{Error, Result};
use oci_spec::runtime::LinuxResources;

use super::super::apply::limit;
use super::super::convert::{cpu_weight, io_weight, swap_max};
use super::super::devices::{Kind, Rules};
use super::super::devices_v1::fold;
use super::wire::{Property, Value};

/// The default CPU period in microseconds.
const PERIOD: u64 = 100_000;

/// The limits that systemd knows and would otherwise put back to its own idea of them.
pub(super) fn limits(r: &LinuxResources, pure_v2: bool) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    if let Some(memory) = r.memory() {
        let (bytes, reservation) = (limit(memory.limit()), limit(memory.reservation()));
        if bytes != 0 {
            properties.push((if pure_v2 { "MemoryMax" } else { "MemoryLimit" }, Value::U64(infinite(bytes))));
        }
        if pure_v2 {
            if reservation != 0 {
                properties.push(("MemoryLow", Value::U64(infinite(reservation))));
            }
            if let Some(swap) = swap_max(bytes, limit(memory.swap()))? {
                properties.push(("MemorySwapMax", Value::U64(infinite(swap))));
            }
        }
    }
    if let Some(cpu) = r.cpu() {
        match (cpu.shares().unwrap_or(0), pure_v2) {
            (0, _) => {}
            (shares, true) => properties.push(("CPUWeight", Value::U64(cpu_weight(shares)))),
            (shares, false) => properties.push(("CPUShares", Value::U64(shares))),
        }
        properties.extend(quota(limit(cpu.quota()), cpu.period().unwrap_or(0)));
        if pure_v2 {
            for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
                if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                    properties.push((name, Value::Bytes(bits(list)?)));
                }
            }
        }
    }
    if let Some(pids) = r.pids() {
        let most = u64::try_from(pids.limit()).ok().filter(|most| *most > 0).unwrap_or(u64::MAX);
        properties.push(("TasksMax", Value::U64(most)));
    }
    match (r.block_io().as_ref().and_then(|io| io.weight()).unwrap_or(0), pure_v2) {
        (0, _) => {}
        (weight, true) => properties.push(("IOWeight", Value::U64(io_weight(weight)))),
        (weight, false) => properties.push(("BlockIOWeight", Value::U64(u64::from(weight)))),
    }
    Ok(properties)
}

/// systemd counts a quota in microseconds per second, and in steps of ten milliseconds.
fn quota(quota: i64, period: u64) -> Vec<Property> {
    let mut properties = Vec::new();
    if period != 0 {
        properties.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota != 0 {
        let period = if period == 0 { PERIOD } else { period };
        let per_second = match u64::try_from(quota) {
            Ok(quota) => {
                quota.saturating_mul(1_000_000).div_ceil(period).div_ceil(10_000).saturating_mul(10_000)
            }
            Err(_) => u64::MAX,
        };
        properties.push(("CPUQuotaPerSecUSec", Value::U64(per_second)));
    }
    properties
}

/// The device rules, without which a reload of systemd opens all devices on v1.
pub(super) fn devices(rules: &Rules) -> Vec<Property> {
    // What v1 cannot express systemd cannot either; our own program enforces it on v2.
    let Some(exceptions) = fold(rules).ok().filter(|_| !rules.allow_by_default) else {
        return vec![
            ("DevicePolicy", Value::Text("auto".to_owned())),
            ("DeviceAllow", Value::Pairs(Vec::new())),
        ];
    };
    let groups = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    let allowed = exceptions.iter().filter_map(|exception| {
        let kind = match exception.devices.kind {
            Kind::Block => "block",
            Kind::Char => "char",
        };
        let node = match (exception.devices.major, exception.devices.minor) {
            (None, None) => format!("{kind}-*"),
            (Some(major), None) => format!("{kind}-{}", group(&groups, exception.devices.kind, major)?),
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            // "Any major, this minor" is something systemd has no words for.
            (None, Some(_)) => return None,
        };
        Some((node, exception.access.letters()))
    });
    vec![("DevicePolicy", Value::Text("strict".to_owned())), ("DeviceAllow", Value::Pairs(allowed.collect()))]
}

/// The name of a major number in `/proc/devices`.
fn group(devices: &str, kind: Kind, major: u32) -> Option<&str> {
    let heading = match kind {
        Kind::Block => "Block devices:",
        Kind::Char => "Character devices:",
    };
    let lines =
        devices.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.trim().split_once(' '))
        .find_map(|(number, name)| (number.parse() == Ok(major)).then_some(name))
}

/// -1, "no limit", is systemd's greatest number.
fn infinite(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

/// A list such as `0-2,5` as systemd's bit mask, lowest byte first.
fn bits(list: &str) -> Result<Vec<u8>> {
    let wrong = || Error::new("linux.resources.cpu", format!("{list:?} is no list such as 0-2,5"));
    let mut bits: Vec<u8> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u16>(), last.trim().parse::<u16>());
        let (Ok(first), Ok(last)) = (first, last) else { return Err(wrong()) };
        for number in first..=last {
            let byte = usize::from(number / 8);
            if bits.len() <= byte {
                bits.resize(byte + 1, 0);
            }
            if let Some(byte) = bits.get_mut(byte) {
                *byte |= 1 << (number % 8);
            }
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_rounded_up_to_what_systemd_keeps() {
        let value =
            |q, p| quota(q, p).into_iter().find(|(name, _)| *name == "CPUQuotaPerSecUSec").map(|(_, v)| v);
        assert_eq!(value(50_000, 100_000), Some(Value::U64(500_000)));
        assert_eq!(value(3_333, 100_000), Some(Value::U64(40_000)));
        assert_eq!(value(-1, 0), Some(Value::U64(u64::MAX)));
        assert_eq!(value(0, 0), None);
    }

    #[test]
    fn lists_become_masks() {
        assert_eq!(bits("0-2,5").unwrap(), [0b10_0111]);
        assert_eq!(bits("9").unwrap(), [0, 2]);
        assert!(bits("x").is_err());
    }

    #[test]
    fn a_major_number_has_a_name() {
        let devices = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        assert_eq!(group(devices, Kind::Char, 136), Some("pts"));
        assert_eq!(group(devices, Kind::Block, 136), None);
    }
}
