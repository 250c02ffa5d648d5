//! The configuration that dockerd hands to a runtime for `docker run IMAGE`.

use casemate_tests::{Bundle, DOCKER_CAPABILITIES, Hierarchy, Value, json};

/// Makes a bundle one of dockerd's, filter included.
pub fn as_docker(bundle: &mut Bundle) {
    bundle.capabilities(&DOCKER_CAPABILITIES);
    bundle.edit(|c| {
        c["process"]["noNewPrivileges"] = json!(false);
        c["mounts"] = mounts();
        c["linux"]["resources"] = json!({"devices": devices()});
        c["linux"]["seccomp"] = seccomp();
        c["linux"]["maskedPaths"] = json!([
            "/proc/asound",
            "/proc/acpi",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ]);
        c["linux"]["readonlyPaths"] =
            json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    });
    // dockerd gives a cgroup namespace of its own only where cgroup v2 is all there is.
    if Hierarchy::all().iter().all(|hierarchy| hierarchy.controllers.is_empty()) {
        bundle.namespace("cgroup", None);
    }
}

fn mounts() -> Value {
    let plain = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&plain[..], more].concat();
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": plain},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": with(&["ro"])},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": with(&["ro"])},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": plain},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": with(&["mode=1777", "size=67108864"])},
    ])
}

fn devices() -> Value {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1), (5, 2), (136, -1), (1, 7)] {
        rules.push(match minor {
            -1 => json!({"allow": true, "type": "c", "major": major, "access": "rwm"}),
            _ => json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}),
        });
    }
    // Making nodes is allowed, opening them is not.
    rules.extend(["c", "b"].map(|kind| json!({"allow": true, "type": kind, "access": "m"})));
    rules.into()
}

/// Docker's profile for those capabilities.
///
/// # Panics
/// When the profile is not in Docker's form.
pub fn seccomp() -> Value {
    let profile: Value =
        include_str!("../../profiles/docker-default.json").parse().expect("the profile is JSON");
    let architectures = match std::env::consts::ARCH {
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        _ => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    };
    let rules = profile["syscalls"].as_array().expect("rules").iter();
    let kept: Vec<Value> = rules
        .filter(|rule| applies(rule))
        .map(|rule| {
            let mut kept = rule.clone();
            let fields = kept.as_object_mut().expect("a rule");
            fields.retain(|name, _| ["names", "action", "errnoRet", "args"].contains(&name.as_str()));
            kept
        })
        .collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": kept,
    })
}

/// All that a rule includes must hold, and nothing that it excludes. Kernels of today are newer than any it names.
fn applies(rule: &Value) -> bool {
    let holds = |condition: &Value| -> Vec<bool> {
        let listed = |key: &str| condition[key].as_array().cloned().unwrap_or_default();
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let mut found: Vec<bool> = listed("caps")
            .iter()
            .map(|name| DOCKER_CAPABILITIES.contains(&name.as_str().unwrap_or_default()))
            .collect();
        found.extend((!listed("arches").is_empty()).then(|| listed("arches").contains(&json!(arch))));
        found.extend(condition["minKernel"].as_str().map(|_| true));
        found
    };
    holds(&rule["includes"]).into_iter().all(|held| held) && !holds(&rule["excludes"]).contains(&true)
}
