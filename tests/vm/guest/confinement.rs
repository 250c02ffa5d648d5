//! Devices by eBPF, and what a container sees of its control group.

use casemate_tests::{Value, json};

use crate::Case;
use crate::fixture::Container;
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "devices_denied_by_default", place: Host::is_root, run: devices_denied_by_default },
    Case { name: "devices_allowed_by_rule", place: Host::is_root, run: devices_allowed_by_rule },
    Case {
        name: "devices_rules_in_order",
        place: |h| h.is_root() && !h.is_runc(),
        run: devices_rules_in_order,
    },
    Case { name: "devices_hold_for_exec_and_update", place: Host::is_root, run: devices_hold },
    Case { name: "device_rules_do_not_stop_rootless", place: |h| h.rootless, run: rules_without_privilege },
    Case { name: "cgroup_mount", place: Host::has_cgroups, run: cgroup_mount },
    Case {
        name: "cgroup_mount_without_namespace",
        place: Host::is_root,
        run: cgroup_mount_without_namespace,
    },
];

const DENY_ALL: &str = r#"{"allow": false, "access": "rwm"}"#;

/// A container that may make device files, so that only the device program stands in its way.
fn with_rules(host: &Host, script: &str, rules: &[Value]) -> Container {
    let mut container = Container::sh(host, script);
    let deny: Value = serde_json::from_str(DENY_ALL).expect("a rule");
    let rules: Vec<_> = std::iter::once(deny).chain(rules.iter().cloned()).collect();
    container.limit(json!({"devices": rules}));
    container.bundle.edit(|c| {
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set] =
                json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_SYSLOG"]);
        }
    });
    container
}

/// Tries to make, read and write a device; says `mrw`, with `-` for what is refused.
fn probe(kind: char, number: (u64, u64)) -> String {
    let (major, minor) = number;
    format!(
        "n=/dev/probe-{kind}-{major}-{minor}; t=; mknod $n {kind} {major} {minor} 2>/dev/null && t=${{t}}m || t=${{t}}-; \
         (exec 3<$n) 2>/dev/null && t=${{t}}r || t=${{t}}-; (exec 3>>$n) 2>/dev/null && t=${{t}}w || t=${{t}}-; echo $t; "
    )
}

/// The memory-backed character devices: null and kmsg, mem(4).
const NULL: (u64, u64) = (1, 3);
const KMSG: (u64, u64) = (1, 11);

fn disk() -> (u64, u64) {
    let text = std::fs::read_to_string("/sys/block/nvme0n1/dev").expect("read the disk's number");
    let (major, minor) = text.trim().split_once(':').expect("major:minor");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

fn devices_denied_by_default(host: &Host) {
    let script = probe('c', NULL) + &probe('c', KMSG) + &probe('b', disk());
    let container = with_rules(host, &script, &[]);
    // Making a file is always allowed, as runc does; opening it is what counts.
    assert_eq!(container.bundle.run().ok().text(), "mrw\nm--\nm--");
}

fn devices_allowed_by_rule(host: &Host) {
    let (major, minor) = disk();
    let rules = [
        json!({"allow": true, "type": "c", "major": KMSG.0, "minor": KMSG.1, "access": "rwm"}),
        json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "r"}),
    ];
    let script =
        probe('c', KMSG) + &probe('b', disk()) + "dd if=$n of=/dev/null bs=4096 count=1 2>&1 | head -1";
    let text = with_rules(host, &script, &rules).bundle.run().ok().text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["mrw", "mr-"], "{text}");
    assert!(lines[2].starts_with("1+0 records"), "{text}");
}

fn devices_rules_in_order(host: &Host) {
    let rules = [
        json!({"allow": true, "type": "c", "major": 10, "access": "rwm"}),
        json!({"allow": false, "type": "c", "major": 10, "minor": 200, "access": "w"}),
    ];
    // 10:200 is tun, 10:183 hwrng: opening one that has no driver fails with ENODEV or ENXIO, not EPERM.
    let open = "for n in 200 183; do mknod /dev/m$n c 10 $n; (exec 3>>/dev/m$n) 2>&1 | grep -q 'not permitted' && echo $n denied; done; true";
    assert_eq!(with_rules(host, open, &rules).bundle.run().ok().text(), "200 denied");
}

fn devices_hold(host: &Host) {
    let container = with_rules(host, "exec sleep 1000", &[]);
    container.up();
    let bundle = &container.bundle;
    let try_open = || {
        let script = format!("rm -f /dev/probe*; {}{}", probe('c', KMSG), probe('c', NULL));
        bundle
            .command([
                "exec",
                "--cap",
                "CAP_MKNOD",
                "--cap",
                "CAP_SYSLOG",
                bundle.id(),
                "/bin/sh",
                "-c",
                &script,
            ])
            .run()
            .ok()
            .text()
    };
    assert_eq!(try_open(), "m--\nmrw");
    bundle.command(["update", "--pids-limit", "30", bundle.id()]).run().ok();
    assert_eq!(try_open(), "m--\nmrw", "after update");
    container.down();
}

/// Loading a program needs a privilege; the user namespace already keeps devices away.
fn rules_without_privilege(host: &Host) {
    let mut container = Container::sh(host, "mknod /dev/x c 1 11 2>/dev/null && echo made; true");
    container.limit(json!({"devices": [serde_json::from_str::<Value>(DENY_ALL).expect("a rule")]}));
    assert_eq!(container.bundle.run().ok().text(), "");
}

fn cgroup_mount(host: &Host) {
    let script = "cat /sys/fs/cgroup/pids.max; mkdir /sys/fs/cgroup/x 2>/dev/null && echo writable; cat /proc/self/cgroup; true";
    let mut container = Container::sh(host, script);
    container.mount_cgroup("ro").limit(json!({"pids": {"limit": 41}}));
    assert_eq!(container.bundle.run().ok().text(), "41\n0::/");
}

fn cgroup_mount_without_namespace(host: &Host) {
    let mut container = Container::sh(host, "ls /sys/fs/cgroup/cgroup.procs; cat /proc/self/cgroup");
    container.mount_cgroup("ro").bundle.without_namespace("cgroup");
    let text = container.bundle.run().ok().text();
    assert!(text.starts_with("/sys/fs/cgroup/cgroup.procs\n0::/"), "{text}");
    assert!(text.contains(container.bundle.id()), "{text}");
}
