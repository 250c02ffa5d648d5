//! An OCI bundle of our own making: a root filesystem of one static BusyBox, and a configuration to edit.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::{Doing as _, Failure, Outcome};

/// A root filesystem beneath `folder`, as BusyBox with its applets linked.
pub fn root_filesystem(folder: &Path, applets: &[&str]) -> Outcome<PathBuf> {
    let rootfs = folder.join("rootfs");
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "data"] {
        fs::create_dir_all(rootfs.join(name)).doing(rootfs.display())?;
    }
    let busybox = busybox()?;
    fs::copy(&busybox, rootfs.join("bin/busybox")).doing(busybox.display())?;
    for applet in applets {
        let link = rootfs.join("bin").join(applet);
        if link.symlink_metadata().is_err() {
            symlink("busybox", &link).doing(link.display())?;
        }
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/data:/bin/sh\n")
        .doing("etc/passwd")?;
    fs::write(rootfs.join("etc/group"), "root:x:0:\nguest:x:1000:\n").doing("etc/group")?;
    Ok(rootfs)
}

/// Writes `config` as the bundle's `config.json`.
pub fn write_config(bundle: &Path, config: &Value) -> Outcome {
    let file = bundle.join("config.json");
    fs::write(&file, format!("{config:#}\n")).doing(file.display())
}

/// What engines ask for by default: six namespaces, the usual mounts, masked paths, three capabilities.
pub fn config(rootfs: &Path, args: &[&str]) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": rootfs, "readonly": true },
        "hostname": "casemate",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces.map(|kind| json!({ "type": kind })),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// The fourteen that Docker gives, in the three sets that it fills.
pub fn docker_capabilities() -> Value {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ]
    .map(|name| format!("CAP_{name}"));
    json!({ "bounding": names, "effective": names, "permitted": names })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs",
          "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
    ])
}

fn busybox() -> Outcome<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| Failure::new("busybox", "not installed (Debian's package busybox-static)"))
}
