//! What systemd knows of a container: its unit, the limits it would restore, and that nothing stays.

use std::process::Command;

use casemate_tests::json;

use crate::Case;
use crate::fixture::Container;
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "unit", place: |h| h.systemd, run: unit },
    Case { name: "unit_follows_update", place: |h| h.systemd, run: unit_follows_update },
    Case { name: "limits_survive_daemon_reload", place: |h| h.systemd, run: limits_survive_daemon_reload },
    Case { name: "devices_survive_daemon_reload", place: |h| h.systemd && !h.rootless, run: devices_survive },
    Case { name: "nested_slice", place: |h| h.systemd, run: nested_slice },
    Case { name: "failed_unit_is_forgotten", place: |h| h.systemd, run: failed_unit_is_forgotten },
    Case { name: "bad_path_is_refused", place: |h| h.systemd, run: bad_path_is_refused },
];

fn systemctl(host: &Host, args: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    command.args(if host.rootless { &["--user"][..] } else { &[] }).args(args);
    let output = command.output().expect("run systemctl");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn property(host: &Host, unit: &str, name: &str) -> String {
    systemctl(host, &["show", "--property", name, "--value", unit])
}

fn scope(container: &Container) -> String {
    format!("vm-{}.scope", container.bundle.id())
}

fn assert_forgotten(host: &Host, container: &Container) {
    let known = systemctl(host, &["list-units", "--all", "--plain", "--no-legend"]);
    assert!(!known.contains(container.bundle.id()), "systemd still knows: {known}");
}

fn unit(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}, "cpu": {"shares": 512}}));
    let group = container.up();
    let unit = scope(&container);
    let show = |name: &str| property(host, &unit, name);
    assert_eq!(show("ActiveState"), "active");
    assert_eq!(show("Delegate"), "yes");
    assert_eq!(show("Slice"), if host.rootless { "user.slice" } else { "system.slice" });
    assert_eq!(
        (show("MemoryMax"), show("TasksMax"), show("CPUWeight")),
        ("67108864".into(), "50".into(), "20".into())
    );
    assert!(group.0.ends_with(&unit), "{}", group.0.display());
    container.down();
    assert_forgotten(host, &container);
}

fn unit_follows_update(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"memory": {"limit": 64 << 20}}));
    let group = container.up();
    let id = container.bundle.id();
    container.bundle.command(["update", "--memory", "33554432", "--pids-limit", "21", id]).run().ok();
    let unit = scope(&container);
    assert_eq!(property(host, &unit, "MemoryMax"), "33554432");
    assert_eq!(property(host, &unit, "TasksMax"), "21");
    group.expect(&[("memory.max", "33554432"), ("pids.max", "21")]);
    container.down();
}

/// systemd writes its own idea of every file again; what it was not told would be lost.
fn limits_survive_daemon_reload(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 50},
    }));
    let group = container.up();
    let read = || {
        ["memory.max", "memory.low", "memory.swap.max", "cpu.weight", "cpu.max", "cpuset.cpus", "pids.max"]
            .map(|f| group.read(f))
    };
    let before = read();
    systemctl(host, &["daemon-reload"]);
    assert_eq!(read(), before);
    container.down();
}

fn devices_survive(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"devices": [{"allow": false, "access": "rwm"}]}));
    container.bundle.edit(|c| {
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
        }
    });
    container.up();
    let script = "rm -f /dev/x /dev/n; mknod /dev/x c 1 11; mknod /dev/n c 1 3; (exec 3</dev/x) 2>/dev/null && echo open; (exec 3</dev/n) && echo null";
    let probe = || container.bundle.exec(&["/bin/sh", "-c", script]).ok().text();
    assert_eq!(probe(), "null");
    systemctl(host, &["daemon-reload"]);
    assert_eq!(probe(), "null", "after daemon-reload");
    container.down();
}

fn nested_slice(host: &Host) {
    let mut container = Container::sleeping(host);
    let path = format!("casemate-inner.slice:vm:{}", container.bundle.id());
    container.bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
    container.limit(json!({"pids": {"limit": 50}}));
    let group = container.up();
    let tail = format!("casemate.slice/casemate-inner.slice/{}", scope(&container));
    assert!(group.0.ends_with(&tail), "{}", group.0.display());
    group.expect(&[("pids.max", "50")]);
    container.down();
    assert_forgotten(host, &container);
}

/// A scope whose process the kernel killed for memory is `failed` and would stay listed.
fn failed_unit_is_forgotten(host: &Host) {
    let mut container = Container::sh(host, "exec dd if=/dev/zero of=/dev/eaten bs=1M count=60");
    container.limit(json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}));
    container.bundle.run_detached().ok();
    container.bundle.wait_status("stopped");
    container.bundle.delete().ok();
    container.bundle.assert_clean();
    assert_forgotten(host, &container);
}

fn bad_path_is_refused(host: &Host) {
    let mut container = Container::sleeping(host);
    for path in ["/not/a/systemd/path", "no-slice:vm:x", "a.slice:vm"] {
        container.bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
        assert!(!container.bundle.run_detached().success(), "{path} is accepted");
        container.bundle.assert_clean();
    }
}
