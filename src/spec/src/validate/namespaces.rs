//! Namespaces, and what cannot be had without them.

use std::collections::HashSet;

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

use super::{Findings, Spaces, lists, shown, shown_path};

pub(super) fn check(spec: &Spec, spaces: &Spaces<'_>, findings: &mut Findings) {
    check_list(spaces, findings);
    for (field, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if name.is_some() && !spaces.is_private(LinuxNamespaceType::Uts) {
            findings.add("oci/uts", field, "a UTS namespace of the container's own", "the host's");
        }
    }
    if spaces.rootless && !spaces.has(LinuxNamespaceType::User) {
        findings.add("oci/rootless", "linux.namespaces", "a user namespace", "none");
        findings.remedy("only root can make a container without one");
    }
    if let Some(linux) = spec.linux() {
        check_time(linux, spaces, findings);
        check_net_devices(linux, spaces, findings);
        check_paths(linux, findings);
    }
    check_needs_mount(spec, spaces, findings);
}

fn check_list(spaces: &Spaces<'_>, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, namespace) in spaces.list.iter().enumerate() {
        let field = format!("linux.namespaces[{index}]");
        if !seen.insert(namespace.typ()) {
            findings.add("oci/namespaces", &field, "each type once", format!("{} again", namespace.typ()));
        }
        if let Some(path) = namespace.path().as_ref().filter(|path| !path.is_absolute()) {
            findings.add("oci/namespaces", field + ".path", "an absolute path", shown_path(path));
        }
    }
}

fn check_time(linux: &Linux, spaces: &Spaces<'_>, findings: &mut Findings) {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    if !spaces.is_new(LinuxNamespaceType::Time) {
        findings.add("oci/time", "linux.timeOffsets", "a new time namespace to set them in", "none");
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| *clock);
    for (clock, offset) in clocks {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            findings.add("oci/time", "linux.timeOffsets", "the clocks monotonic and boottime", shown(clock));
        }
        if let Some(nanoseconds) = offset.nanosecs().filter(|value| *value > 999_999_999) {
            let field = format!("linux.timeOffsets.{clock}.nanosecs");
            findings.add("oci/time", field, "less than a second", nanoseconds.to_string());
        }
    }
}

fn check_net_devices(linux: &Linux, spaces: &Spaces<'_>, findings: &mut Findings) {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return };
    if !spaces.is_private(LinuxNamespaceType::Network) {
        findings.add(
            "oci/netDevices",
            "linux.netDevices",
            "a network namespace of the container's own",
            "the host's",
        );
    }
    if spaces.rootless {
        findings.add("oci/rootless", "linux.netDevices", "no devices of the host without root", "some");
    }
    let mut inner = HashSet::new();
    let mut sorted: Vec<_> = devices.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, device) in sorted {
        let target = device.name().as_ref().unwrap_or(name);
        for name in [name, target] {
            if !lists::is_interface_name(name) {
                findings.add(
                    "oci/netDevices",
                    "linux.netDevices",
                    "names of network interfaces",
                    shown(name),
                );
            }
        }
        if !inner.insert(target) {
            let asked = format!("{} again", shown(target));
            findings.add("oci/netDevices", "linux.netDevices", "each name in the container once", asked);
        }
    }
}

fn check_paths(linux: &Linux, findings: &mut Findings) {
    let lists = [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())];
    for (name, paths) in lists {
        for (index, path) in paths.iter().flatten().enumerate() {
            if !path.starts_with('/') {
                findings.add("oci/paths", format!("linux.{name}[{index}]"), "an absolute path", shown(path));
            }
        }
    }
    const KINDS: [&str; 8] =
        ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
    if let Some(kind) = linux.rootfs_propagation().as_ref().filter(|kind| !KINDS.contains(&kind.as_str())) {
        let allowed = "private, slave, shared or unbindable, or one of them with r before it";
        findings.add("oci/propagation", "linux.rootfsPropagation", allowed, shown(kind));
    }
    if let Some(path) = linux.cgroups_path() {
        let up = path.components().any(|part| part == std::path::Component::ParentDir);
        if up || path.to_string_lossy().contains(char::is_control) {
            findings.add(
                "oci/cgroupsPath",
                "linux.cgroupsPath",
                "a path without .. and control characters",
                shown_path(path),
            );
        }
    }
}

/// Done in the host's mount namespace, each of these would be done to the host.
fn check_needs_mount(spec: &Spec, spaces: &Spaces<'_>, findings: &mut Findings) {
    if spaces.has(LinuxNamespaceType::Mount) {
        return;
    }
    let linux = spec.linux().as_ref();
    let any =
        |paths: Option<&Option<Vec<String>>>| paths.and_then(Option::as_ref).is_some_and(|p| !p.is_empty());
    let asked = [
        ("mounts", spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty())),
        ("root.readonly", spec.root().as_ref().and_then(|root| root.readonly()) == Some(true)),
        ("linux.maskedPaths", any(linux.map(Linux::masked_paths))),
        ("linux.readonlyPaths", any(linux.map(Linux::readonly_paths))),
        ("linux.rootfsPropagation", linux.is_some_and(|linux| linux.rootfs_propagation().is_some())),
    ];
    for (field, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        findings.add("oci/mount", field, "a mount namespace of the container's own", "the host's");
    }
}
