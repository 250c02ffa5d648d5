//! What is told of the host.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::fd::AsFd;

use casemate_policy::{Builtin, Policy, document, load};
use casemate_spec::wire::Host;
use casemate_spec::{Error, Result};
use serde::Deserialize;

use crate::arguments::Arguments;
use crate::places::Places;

/// `runtime.toml`, as much of it as concerns us; the runtime reads the rest, and all of it again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    policy: Option<String>,
    selectable: BTreeSet<String>,
}

/// Filesystems that are known by name (statfs(2)).
const NAMES: [(i64, &str); 6] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
];
const CGROUP2: i64 = 0x6367_7270;

/// Finds it out, once.
///
/// # Errors
/// `runtime.toml` cannot be read; the kernel's.
pub fn of(arguments: &Arguments, places: &Places) -> Result<Host> {
    let settings = settings(places)?;
    let named = arguments.policy.as_ref().map(|name| name.as_str().to_owned()).or(settings.policy);
    let policy = named.unwrap_or_else(|| "hardened".to_owned());
    let is_v2 = rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type == CGROUP2);
    let stat = rustix::fs::fstatfs(&places.store).map_err(|errno| crate::tree::failed("store", errno))?;
    let filesystem =
        NAMES.iter().find(|(magic, _)| *magic == stat.f_type).map_or("unknown", |(_, name)| name);
    Ok(Host {
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if is_v2 { 2 } else { 1 },
        policies: choosable(places, &policy, settings.selectable),
        policy,
        quotas: casemate_core::sys::quota::is_enforced(places.store.as_fd()),
        rootless: places.rootless,
        space: space(places),
        filesystem: filesystem.to_owned(),
        data_root: places.data.display().to_string(),
    })
}

/// Bytes in all and bytes free, of the store's filesystem.
pub fn space(places: &Places) -> (u64, u64) {
    rustix::fs::fstatvfs(&places.store).map_or((0, 0), |stat| {
        (stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize))
    })
}

/// The policies that the daemon may name: whoever speaks for it can claim any identity, so it may tighten as it likes,
/// and choose what the operator listed.
fn choosable(places: &Places, default: &str, selectable: BTreeSet<String>) -> Vec<String> {
    let mut names = selectable;
    let path = places.config.join("policies").join(format!("{default}.toml"));
    let own = std::fs::read_to_string(path).ok().and_then(|text| load(&text, default, &mut Builtin).ok());
    if let Some(base) = own.or_else(|| Policy::builtin(default)) {
        let stricter = |name: &&str| Policy::builtin(name).is_some_and(|policy| policy.meet(&base) == policy);
        names.extend(Policy::BUILTIN.iter().filter(|name| stricter(name)).map(|name| (*name).to_owned()));
    }
    names.insert(default.to_owned());
    names.into_iter().collect()
}

fn settings(places: &Places) -> Result<RuntimeConfig> {
    let path = places.config.join("runtime.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => document::read(&text, &path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(RuntimeConfig::default()),
        Err(error) => Err(Error::io(path.display().to_string(), &error)),
    }
}
