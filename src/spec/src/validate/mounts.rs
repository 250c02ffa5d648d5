//! Mounts: what each needs, and ids that must mean something.

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::{Findings, Spaces, idmap, shown};
use crate::mount::MountOptions;

pub(super) fn check(spec: &Spec, spaces: &Spaces<'_>, findings: &mut Findings) {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        check_mount(mount, &format!("mounts[{index}]"), spaces, findings);
    }
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_ref());
    if let Some(label) = label.filter(|label| label.contains(|c: char| c.is_control() || c == '"')) {
        let allowed = "a label without quotes and control characters";
        findings.add("oci/labels", "linux.mountLabel", allowed, shown(label));
    }
}

fn check_mount(mount: &Mount, field: &str, spaces: &Spaces<'_>, findings: &mut Findings) {
    let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref();
    let bind = options.bind.is_some() || kind == Some("bind");
    if mount.destination().as_os_str().is_empty() {
        findings.add("oci/mounts", format!("{field}.destination"), "a path", "an empty text");
    }
    if bind && mount.source().is_none() && !options.remount {
        findings.add("oci/mounts", format!("{field}.source"), "a path to bind", "none");
    }
    let changes_only = options.remount || !options.propagation.is_empty();
    if !bind && !changes_only && matches!(kind, None | Some("none")) {
        findings.add("oci/mounts", format!("{field}.type"), "a type, or bind among the options", "none");
    }
    check_idmap(mount, &options, bind, field, spaces, findings);
    if spaces.rootless && spaces.is_new(LinuxNamespaceType::User) {
        check_owner(&options, field, spaces, findings);
    }
}

fn check_idmap(
    mount: &Mount,
    options: &MountOptions,
    bind: bool,
    field: &str,
    spaces: &Spaces<'_>,
    findings: &mut Findings,
) {
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    let mapped = !uids.is_empty() || !gids.is_empty();
    if !mapped && options.idmap.is_none() {
        return;
    }
    if !bind {
        findings.add("oci/idmap", field, "id mappings on a bind mount alone", "a mount that is not");
    }
    if uids.is_empty() != gids.is_empty() {
        findings.add("oci/idmap", field, "both uidMappings and gidMappings, or neither", "one of them");
    }
    if !mapped && !spaces.has(LinuxNamespaceType::User) {
        findings.add("oci/idmap", field, "mappings, or a user namespace to take them from", "neither");
    }
    idmap::check_map(uids, &format!("{field}.uidMappings"), findings);
    idmap::check_map(gids, &format!("{field}.gidMappings"), findings);
}

/// Without root, a file system's `uid=` and `gid=` must be ids the container has; the kernel only says EINVAL.
fn check_owner(options: &MountOptions, field: &str, spaces: &Spaces<'_>, findings: &mut Findings) {
    for (key, value) in &options.data {
        let (map, list) = match key.as_str() {
            "uid" => (spaces.uids, "linux.uidMappings"),
            "gid" => (spaces.gids, "linux.gidMappings"),
            _ => continue,
        };
        let id = value.as_deref().and_then(|value| value.parse().ok());
        if !id.is_some_and(|id| idmap::is_mapped(map, id)) {
            let asked = format!("{key}={}", value.as_deref().unwrap_or_default());
            findings.add(
                "oci/rootless",
                format!("{field}.options"),
                format!("an id that {list} maps"),
                shown(&asked),
            );
        }
    }
}
