//! Devices of the host, by what the kernel tells of them: we see none of their nodes.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::HostConfig;
use super::host_config::DeviceMapping;
use crate::{Failure, Result};

/// Numbers that never change (devices.txt of the kernel's documentation).
const FIXED: [(&str, i64, i64); 13] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("mem", 1, 1),
    ("port", 1, 4),
    ("kmsg", 1, 11),
    ("tty", 5, 0),
    ("console", 5, 1),
    ("ptmx", 5, 2),
    ("snd/seq", 116, 1),
    ("snd/timer", 116, 33),
];
/// The major number of what is in /proc/misc.
const MISC: i64 = 10;
/// The major number of the direct rendering manager.
const DRM: i64 = 226;

/// Devices to be made in the container.
///
/// # Errors
/// One is not there, or a driver is asked for.
pub fn nodes(asked: &HostConfig) -> Result<Vec<LinuxDevice>> {
    if let Some(request) = asked.device_requests.iter().flatten().next() {
        let wanted: Vec<String> =
            request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" "))).collect();
        let message = format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver,
            wanted.join(" ")
        );
        return Err(Failure::invalid(message));
    }
    let mut nodes = Vec::new();
    for mapping in asked.devices.iter().flatten() {
        let (kind, major, minor) = find(&mapping.path_on_host)?;
        let inside = if mapping.path_in_container.is_empty() {
            &mapping.path_on_host
        } else {
            &mapping.path_in_container
        };
        if !inside.starts_with('/') || inside.contains('\0') {
            return Err(Failure::invalid(format!("invalid device path: {inside:?}: it must be absolute")));
        }
        permissions(mapping)?;
        let mut node = LinuxDevice::default();
        node.set_path(inside.into()).set_typ(kind).set_major(major).set_minor(minor);
        node.set_file_mode(Some(0o666)).set_uid(Some(0)).set_gid(Some(0));
        nodes.push(node);
    }
    Ok(nodes)
}

/// Rules for the control group, where they say more than that the nodes may be used.
///
/// # Errors
/// One is none.
pub fn rules(asked: &HostConfig) -> Result<Option<Vec<LinuxDeviceCgroup>>> {
    let mut rules = Vec::new();
    for text in asked.device_cgroup_rules.iter().flatten() {
        let refuse = || Failure::invalid(format!("invalid device cgroup rule format: '{text}'"));
        rules.push(rule(text).ok_or_else(refuse)?);
    }
    let devices = asked.devices.as_deref().unwrap_or_default();
    let narrow = devices.iter().any(|mapping| !matches!(permissions(mapping), Ok("rwm")));
    if rules.is_empty() && !narrow {
        return Ok(None);
    }
    for mapping in devices {
        let (kind, major, minor) = find(&mapping.path_on_host)?;
        rules.push(allow(kind, Some(major), Some(minor), permissions(mapping)?));
    }
    Ok(Some(rules))
}

/// Major and minor number of a block device.
///
/// # Errors
/// There is none of this name.
pub fn block(path: &str) -> Result<(i64, i64)> {
    let name = path.strip_prefix("/dev/").unwrap_or_default();
    partition(name, &read("/proc/partitions")).ok_or_else(|| missing(path))
}

fn permissions(mapping: &DeviceMapping) -> Result<&str> {
    let asked = mapping.cgroup_permissions.as_str();
    match asked {
        "" => Ok("rwm"),
        _ if asked.len() <= 3 && asked.bytes().all(|b| b"rwm".contains(&b)) => Ok(asked),
        _ => Err(Failure::invalid(format!("invalid device mode: {asked}"))),
    }
}

fn find(path: &str) -> Result<(LinuxDeviceType, i64, i64)> {
    let name = path.strip_prefix("/dev/").ok_or_else(|| missing(path))?;
    if let Some((_, major, minor)) = FIXED.iter().find(|(fixed, ..)| *fixed == name) {
        return Ok((LinuxDeviceType::C, *major, *minor));
    }
    if let Some(minor) = name.strip_prefix("dri/card").or_else(|| name.strip_prefix("dri/renderD")) {
        let minor =
            minor.parse().ok().filter(|minor| (0..256).contains(minor)).ok_or_else(|| missing(path))?;
        return Ok((LinuxDeviceType::C, DRM, minor));
    }
    if let Some(minor) = misc(name, &read("/proc/misc")) {
        return Ok((LinuxDeviceType::C, MISC, minor));
    }
    block(path).map(|(major, minor)| (LinuxDeviceType::B, major, minor))
}

/// /proc/misc: a minor number and a name a line; directories of /dev are not part of the names.
fn misc(name: &str, table: &str) -> Option<i64> {
    let name = name.strip_prefix("net/").unwrap_or(name);
    table.lines().find_map(|line| {
        let (minor, found) = line.trim().split_once(' ')?;
        (found == name).then(|| minor.parse().ok())?
    })
}

/// /proc/partitions: major, minor, blocks, name.
fn partition(name: &str, table: &str) -> Option<(i64, i64)> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [major, minor, _, found] if found == name => Some((major.parse().ok()?, minor.parse().ok()?)),
            _ => None,
        }
    })
}

/// `c 1:3 rwm`, with `*` for any number and `a` for any kind.
fn rule(text: &str) -> Option<LinuxDeviceCgroup> {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = words[..] else { return None };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return None,
    };
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        digits => digits.parse::<u32>().ok().map(|number| Some(i64::from(number))),
    };
    let fits = (1..=3).contains(&access.len()) && access.bytes().all(|b| b"rwm".contains(&b));
    fits.then_some(())?;
    Some(allow(kind, number(major)?, number(minor)?, access))
}

fn allow(kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true).set_typ(Some(kind)).set_major(major).set_minor(minor);
    rule.set_access(Some(access.to_owned()));
    rule
}

/// What cannot be read names no device.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn missing(path: &str) -> Failure {
    Failure::invalid(format!(
        "error gathering device information while adding custom device {path:?}: no such file or directory"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let table = "major minor  #blocks  name\n\n   8        0  500107608 sda\n 259        1     512000 nvme0n1p1\n";
        assert_eq!(partition("nvme0n1p1", table), Some((259, 1)));
        assert_eq!(partition("sdb", table), None);
        assert_eq!(misc("net/tun", "229 fuse\n200 tun\n"), Some(200));
        assert_eq!(misc("fuse", "229 fuse\n200 tun\n"), Some(229));
        assert_eq!(find("/dev/null").expect("there"), (LinuxDeviceType::C, 1, 3));
        assert_eq!(find("/dev/dri/renderD128").expect("there"), (LinuxDeviceType::C, 226, 128));
        for bad in ["/dev/nope", "/etc/passwd", "null", "", "/dev/", "/dev/dri/card-1", "/dev/dri/card999"] {
            assert!(find(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rules_are_read_as_docker_reads_them() {
        let read = rule("c 42:* rmw").expect("a rule");
        assert_eq!((read.major(), read.minor(), read.allow()), (Some(42), None, true));
        for bad in [
            "",
            "c",
            "c 1:3",
            "x 1:3 r",
            "c 1 r",
            "c 1:3 x",
            "c -1:3 r",
            "c 1:3 rwmr",
            "c  1:3 r",
            "c 1:3 r ",
        ] {
            assert!(rule(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn rules_name_nodes_where_they_say_more() {
        let mapping = |permissions: &str| DeviceMapping {
            path_on_host: "/dev/null".to_owned(),
            path_in_container: "/dev/x".to_owned(),
            cgroup_permissions: permissions.to_owned(),
        };
        let config = |permissions: &str| HostConfig {
            devices: Some(vec![mapping(permissions)]),
            ..HostConfig::default()
        };
        assert_eq!(rules(&config("rwm")).expect("rules"), None);
        let narrow = rules(&config("r")).expect("rules").expect("some");
        assert_eq!(narrow[0].access().as_deref(), Some("r"));
        assert_eq!(nodes(&config("rwm")).expect("nodes")[0].path().to_str(), Some("/dev/x"));
        assert!(nodes(&config("rwx")).is_err());
    }
}
