//! Golden plans: what `runtime plan` says of a bundle, line by line. A change of order or of a step shows up in review.
//!
//! `CASEMATE_BLESS=1` writes the files anew.

use std::fs;
use std::path::Path;

use casemate_tests::{Bundle, json, ours};

/// Compares the plan with `golden/NAME.txt`. The places of this run and what depends on the host's control groups
/// (one line for each hierarchy) are made plain first.
fn golden(name: &str, bundle: &Bundle) {
    let said = bundle.command(["plan"]).run().ok().stdout();
    bundle.assert_clean();
    let plain = said.replace(bundle.bundle_dir().to_str().unwrap(), "BUNDLE").replace(bundle.id(), "ID");
    let mut lines: Vec<&str> = plain.lines().collect();
    lines.retain(|line| !line.starts_with("placed   cgroup "));
    lines.retain(|line| !(line.starts_with("housed ") && line.contains(" /sys/fs/cgroup/")));
    // How long a filter is belongs to its compiler's own tests.
    let short = |line: &&str| line.split(" filter of ").next().unwrap_or_default().to_owned();
    let plain = lines.iter().map(short).collect::<Vec<_>>().join("\n") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{name}.txt"));
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &plain).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    for (number, (have, want)) in plain.lines().zip(expected.lines()).enumerate() {
        assert_eq!(have, want, "golden/{name}.txt, line {}", number + 1);
    }
    assert_eq!(plain.lines().count(), expected.lines().count(), "golden/{name}.txt:\n{plain}");
}

#[test]
fn little() {
    golden("little", &Bundle::new(&ours()));
}

/// What an engine asks for by default.
#[test]
fn engine() {
    let mut bundle = Bundle::new(&ours());
    bundle.capabilities(&["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_BIND_SERVICE"]);
    bundle.mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    );
    bundle.mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]);
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    bundle.mount("/etc/hosts", "bind", "/etc/hosts", &["rbind", "rprivate"]);
    bundle.edit(|c| {
        c["root"]["readonly"] = json!(true);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o22});
        c["process"]["cwd"] = json!("/home/user");
        c["process"]["oomScoreAdj"] = json!(100);
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}]);
        c["hooks"] = json!({"prestart": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]});
        c["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 100}});
        c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        c["linux"]["maskedPaths"] = json!(["/proc/keys", "/sys/firmware"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
        });
    });
    golden("engine", &bundle);
}

#[test]
fn user_namespace() {
    let mut bundle = Bundle::new(&ours());
    for kind in ["user", "cgroup", "time"] {
        bundle.namespace(kind, None);
    }
    bundle.edit(|c| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = json!({"height": 24, "width": 80});
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 10, "nanosecs": 0}});
    });
    golden("user_namespace", &bundle);
}

#[test]
fn joined_and_unusual() {
    let mut bundle = Bundle::new(&ours());
    bundle.namespace("network", Some("/proc/1/ns/net")).namespace("ipc", Some("/proc/1/ns/ipc"));
    bundle.mount("/copied", "tmpfs", "tmpfs", &["tmpcopyup", "size=1m"]);
    bundle.mount("/recursive", "bind", "/etc", &["rbind", "rro", "rnosuid"]);
    bundle.mount("/shared", "tmpfs", "tmpfs", &["rshared"]);
    bundle.edit(|c| {
        c["domainname"] = json!("example");
        c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 3});
        c["linux"]["personality"] = json!({"domain": "LINUX32"});
        c["linux"]["rootfsPropagation"] = json!("slave");
        c["linux"]["devices"] =
            json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]);
        c["hooks"] = json!({
            "createRuntime": [{"path": "/bin/true"}],
            "createContainer": [{"path": "/bin/true", "timeout": 5}],
            "startContainer": [{"path": "/bin/true"}],
            "poststart": [{"path": "/bin/true"}],
        });
    });
    golden("joined_and_unusual", &bundle);
}
