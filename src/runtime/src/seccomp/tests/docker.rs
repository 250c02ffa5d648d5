//! Docker's default profile, resolved as its daemon does for a container.

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::Native;

const MOBY: &str = include_str!("../../../../../profiles/docker-default.json");

/// The capabilities Docker gives by default.
pub const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The profile in the OCI form for a container with `capabilities` on a current kernel.
pub fn resolved(native: Native, capabilities: &[&str]) -> LinuxSeccomp {
    let moby: Value = serde_json::from_str(MOBY).unwrap();
    let (architecture, go) = match native {
        Native::X86_64 => ("SCMP_ARCH_X86_64", "amd64"),
        Native::Aarch64 => ("SCMP_ARCH_AARCH64", "arm64"),
    };
    let listed = |value: &Value, wanted: &[&str]| {
        value.as_array().is_some_and(|all| all.iter().any(|one| wanted.contains(&one.as_str().unwrap())))
    };
    let applies = |entry: &&Value| {
        let (includes, excludes) = (&entry["includes"], &entry["excludes"]);
        (includes["arches"].is_null() || listed(&includes["arches"], &[go]))
            && (includes["caps"].is_null() || listed(&includes["caps"], capabilities))
            && !listed(&excludes["arches"], &[go])
            && !listed(&excludes["caps"], capabilities)
    };
    let map = moby["archMap"].as_array().unwrap();
    let map = map.iter().find(|map| map["architecture"] == architecture).unwrap();
    let mut architectures = vec![json!(architecture)];
    architectures.extend(map["subArchitectures"].as_array().unwrap().iter().cloned());
    serde_json::from_value(json!({
        "defaultAction": moby["defaultAction"],
        "defaultErrnoRet": moby["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": moby["syscalls"].as_array().unwrap().iter().filter(applies).collect::<Vec<_>>(),
    }))
    .unwrap()
}
