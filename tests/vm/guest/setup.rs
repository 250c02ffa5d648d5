//! What the machine needs before the first case, and the way to the unprivileged groups.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::host::{Host, USER};

const ROOT: &str = "/sys/fs/cgroup";
/// There from the first start on.
const STARTED: &str = "/root/started";
/// The subtree that root gives to the user where systemd does not.
const DELEGATED: &str = "/sys/fs/cgroup/delegated";

/// Swap, huge pages, the weighted I/O scheduler, every controller in use, the script for systemd.
pub fn prepare(host: &Host) {
    run(&["mkswap", "/dev/nvme0n3"]);
    run(&["swapon", "/dev/nvme0n3"]);
    fs::write("/proc/sys/vm/nr_hugepages", "8").expect("reserve huge pages");
    for module in ["bfq", "overlay", "quota_v2"] {
        run(&["modprobe", module]);
    }
    fs::write("/sys/block/nvme0n1/queue/scheduler", "bfq").expect("choose the scheduler");
    if host.daemon {
        install();
    } else if host.systemd {
        let script = format!("#!/bin/sh\nexec {} --systemd-cgroup \"$@\"\n", host.binary.display());
        fs::write(&host.runtime, script).expect("write the script");
        fs::set_permissions(&host.runtime, fs::Permissions::from_mode(0o755)).expect("make it a program");
    }
}

/// As docs/install.md says, but for links where it copies; the data root is on a disk of its own.
fn install() {
    let data = ["mount", "-t", "ext4", "-o", "prjquota", "/dev/nvme0n4", "/var/lib/casemate"];
    if is_second_boot() {
        return run(&data);
    }
    for dir in ["/usr/local/libexec", "/usr/local/bin", "/etc/casemate", "/var/lib/casemate"] {
        fs::create_dir_all(dir).expect("make a directory");
    }
    run(&data);
    symlink("/payload", "/usr/local/libexec/casemate").expect("install the programs");
    for program in ["casemate", "docker"] {
        let installed = Path::new("/usr/local/bin").join(program);
        symlink(Path::new("/payload").join(program), installed).expect("install a program");
    }
    fs::write("/etc/casemate/casemate.toml", "live-restore = true\n[tenants.default]\ndisk = \"48MiB\"\n")
        .expect("write the configuration");
    // Its root is writable, which the quotas are tried on.
    fs::write("/etc/casemate/runtime.toml", "policy = \"baseline\"\n")
        .expect("write the host's configuration");
    let unit = fs::read("/payload/casemate.service").expect("read the unit");
    fs::write("/etc/systemd/system/casemate.service", unit).expect("install the unit");
    run(&["systemctl", "daemon-reload"]);
}

/// Runs the unprivileged groups: with a subtree or manager of the user's own, and without.
pub fn run_rootless(host: &Host) {
    if host.systemd {
        run(&["systemctl", "start", &format!("user@{USER}.service")]);
        run_group_in_manager("rootless");
    } else {
        let session = delegate();
        run_group_as_user("rootless", Some(&session));
        run_group_as_user("undelegated", None);
    }
}

/// Every controller in a directory of the user's, with a leaf for the driver itself; cgroups(7), "Delegation".
fn delegate() -> String {
    let session = format!("{DELEGATED}/session");
    enable_controllers(Path::new(ROOT));
    fs::create_dir_all(&session).expect("make the delegated group");
    enable_controllers(Path::new(DELEGATED));
    for dir in [DELEGATED, &session] {
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(Path::new(dir).join(file), Some(USER), Some(USER)).expect("hand over the delegated group");
        }
    }
    session
}

fn enable_controllers(dir: &Path) {
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).expect("read the controllers");
    let words: Vec<_> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    fs::write(dir.join("cgroup.subtree_control"), words.join(" ")).expect("enable the controllers");
}

/// A child inherits its parent's control group: root moves itself, starts the group and moves back.
fn run_group_as_user(group: &str, cgroup: Option<&str>) {
    let enter =
        |dir: &str| fs::write(Path::new(dir).join("cgroup.procs"), "0").expect("move to a control group");
    if let Some(dir) = cgroup {
        enter(dir);
    }
    let mut command = Command::new("/payload/vm-guest");
    command.args(["group", group]).uid(USER).gid(USER).current_dir("/").env("HOME", "/home/user");
    let status = command.env("XDG_RUNTIME_DIR", runtime_dir()).status().expect("start the group");
    if cgroup.is_some() {
        enter(ROOT);
    }
    assert!(status.success(), "group {group}: {status}");
}

/// Within the user's own systemd: only a process below the manager's group may be moved by it.
fn run_group_in_manager(group: &str) {
    let dir = format!("/run/user/{USER}");
    let mut command = Command::new("systemd-run");
    command
        .args(["--user", "--wait", "--pipe", "--quiet", "--collect", "-p", "Delegate=yes"])
        .args(["/payload/vm-guest", "group", group])
        .uid(USER)
        .gid(USER)
        .current_dir("/")
        .env("HOME", "/home/user")
        .env("XDG_RUNTIME_DIR", &dir)
        .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={dir}/bus"));
    let status = command.status().expect("start the group");
    assert!(status.success(), "group {group}: {status}");
}

/// The directory a login would make.
fn runtime_dir() -> String {
    let dir = format!("/run/user/{USER}");
    fs::create_dir_all(&dir).expect("make the user's runtime directory");
    chown(&dir, Some(USER), Some(USER)).expect("hand over the runtime directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("close the runtime directory");
    dir
}

/// Whether the machine has started before, with the same disks.
pub fn is_second_boot() -> bool {
    Path::new(STARTED).exists()
}

/// Starts the machine anew, as a crash does, but for what is written to the disks.
pub fn reboot() -> ! {
    fs::write(STARTED, "").expect("write down that it has started");
    run(&["sync"]);
    run(&["/bin/busybox", "reboot", "-f"]);
    unreachable!("the machine starts anew")
}

/// Turns the machine off without asking anybody: its disk is a snapshot.
pub fn power_off() -> ! {
    run(&["/bin/busybox", "poweroff", "-f"]);
    unreachable!("the machine is off")
}

fn run(argv: &[&str]) {
    let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap_or_else(|e| panic!("{argv:?}: {e}"));
    assert!(
        output.status.success(),
        "{argv:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
