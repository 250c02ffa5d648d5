//! The configuration that `spec` writes: runc's, so that whoever knows one knows the other.

use rustix::process::{getegid, geteuid};
use serde_json::{Value, json};

/// A starter configuration: a shell in new namespaces, from `rootfs` beside the file.
///
/// With `rootless`, one that an unprivileged user can run: a user namespace in which only the caller's own ids
/// are mapped, the host's network and `/sys`, and no resources to set.
pub fn example_spec(rootless: bool) -> Value {
    json!({
        "ociVersion": "1.3.0",
        "process": process(),
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "casemate",
        "mounts": mounts(rootless),
        "linux": linux(rootless),
    })
}

fn process() -> Value {
    let few = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "terminal": true,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": few, "effective": few, "permitted": few, "ambient": few},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true,
    })
}

fn mounts(rootless: bool) -> Value {
    // The tty group, which a map of one id does not have.
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    pts.extend((!rootless).then_some("gid=5"));
    // sysfs belongs to the network namespace, and that one is the host's when rootless.
    let sys = if rootless {
        json!({"destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
    } else {
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"]})
    };
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]},
        sys,
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
    ])
}

fn linux(rootless: bool) -> Value {
    let mut kinds = vec!["pid"];
    kinds.extend((!rootless).then_some("network"));
    kinds.extend(["ipc", "uts", "mount"]);
    kinds.extend(rootless.then_some("user"));
    // On cgroup v1 a cgroup namespace hides nothing that matters and breaks old programs.
    kinds.extend(is_unified().then_some("cgroup"));
    let namespaces: Vec<Value> = kinds.into_iter().map(|kind| json!({"type": kind})).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    let more = if rootless {
        json!({
            "uidMappings": [{"containerID": 0, "hostID": geteuid().as_raw(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": getegid().as_raw(), "size": 1}],
        })
    } else {
        json!({"resources": {"devices": [{"allow": false, "access": "rwm"}]}})
    };
    if let (Value::Object(linux), Value::Object(more)) = (&mut linux, more) {
        linux.extend(more);
    }
    linux
}

fn is_unified() -> bool {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type == CGROUP2_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use casemate_policy::{HostFacts, Policy, judge};
    use casemate_spec::Host;

    use super::*;

    #[test]
    fn both_examples_are_admitted_where_they_are_meant_to_run() {
        for rootless in [false, true] {
            let config = casemate_spec::parse(example_spec(rootless).to_string().as_bytes()).unwrap();
            assert_eq!(config.ignored, Vec::<String>::new());
            let host = HostFacts { host: Host { rootless, ..Host::default() }, ..HostFacts::default() };
            assert!(judge(config, &Policy::oci(), &host).is_ok());
        }
    }
}
