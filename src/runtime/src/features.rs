//! What this runtime supports, in the form of the specification's features.md and features-linux.md (1.3).
//!
//! "Supports" is about the program, not the host: what the host's kernel lacks is said when it is asked for.

use casemate_policy::Policy;
use casemate_spec::capability::NAMES;
use serde_json::{Value, json};

use crate::choice::ANNOTATION;

/// The "Features Structure".
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": casemate_spec::mount::option_names().collect::<Vec<_>>(),
        "linux": linux(),
        "annotations": {
            "io.casemate.version": env!("CARGO_PKG_VERSION"),
            "io.casemate.policies": Policy::BUILTIN.join(","),
            // The kernel's, not ours: which rights can be enforced here.
            "io.casemate.landlock": casemate_core::sys::landlock::abi().to_string(),
        },
        "potentiallyUnsafeConfigAnnotations": [ANNOTATION],
    })
}

fn linux() -> Value {
    json!({
        "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        "capabilities": NAMES.as_slice(),
        "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
        "seccomp": seccomp(),
        "apparmor": {"enabled": true},
        "selinux": {"enabled": true},
        "intelRdt": {"enabled": false, "schemata": false, "monitoring": false},
        "memoryPolicy": {
            "modes": ["MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"],
            "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
        },
        "mountExtensions": {"idmap": {"enabled": true}},
        "netDevices": {"enabled": true},
    })
}

/// Architectures are those whose programs a kernel of this build's can run: see `seccomp::arch`.
fn seccomp() -> Value {
    let archs: &[&str] = if cfg!(target_arch = "aarch64") {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    } else {
        &["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]
    };
    let flags = [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ];
    json!({
        "enabled": true,
        "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
        "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
            "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
        "archs": archs,
        "knownFlags": flags,
        "supportedFlags": supported(&flags),
    })
}

/// The last of the flags came with Linux 5.19, the others are older than any kernel this runtime runs on.
fn supported<'a>(flags: &'a [&'a str]) -> Vec<&'a str> {
    let newest = flags.iter().filter(|flag| has_wait_killable() || !flag.ends_with("WAIT_KILLABLE_RECV"));
    newest.copied().collect()
}

fn has_wait_killable() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 19)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_structure_reads_as_the_specifications_types() {
        let typed: oci_spec::runtime::Features = serde_json::from_value(features()).unwrap();
        assert_eq!(typed.oci_version_max(), "1.3.0");
        let written = serde_json::to_value(&typed).unwrap();
        for part in ["hooks", "mountOptions"] {
            assert_eq!(written[part], features()[part], "{part}");
        }
    }

    #[test]
    fn every_capability_is_one_that_a_configuration_may_name() {
        let document = json!({"cwd": "/", "capabilities": {"bounding": NAMES.as_slice()}});
        let process = casemate_spec::parse_process(document.to_string().as_bytes()).unwrap();
        let set = process.capabilities().as_ref().unwrap().bounding().clone().unwrap();
        assert_eq!(set.len(), NAMES.iter().collect::<HashSet<_>>().len());
    }

    #[test]
    fn every_action_operator_architecture_and_flag_is_one_that_a_configuration_may_name() {
        let seccomp = seccomp();
        let words = |name: &str| seccomp[name].as_array().unwrap().clone();
        for action in words("actions") {
            for op in words("operators") {
                let document = json!({"ociVersion": "1.3.0", "linux": {"seccomp": {
                    "defaultAction": action, "architectures": words("archs"), "flags": words("knownFlags"),
                    "syscalls": [{"names": ["a"], "action": action, "args": [{"index": 0, "value": 0, "op": op}]}],
                }}});
                casemate_spec::parse(document.to_string().as_bytes()).unwrap();
            }
        }
    }
}
