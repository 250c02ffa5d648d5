//! Containers that manage control groups of their own, as an engine or systemd inside does.

use casemate_tests::{json, wait_until};

use crate::Case;
use crate::fixture::{Container, Group, wait_text};
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "delete_removes_inner_groups", place: Host::is_root, run: delete_removes_inner_groups },
    Case { name: "exec_after_init_moved_down", place: Host::is_root, run: exec_after_init_moved_down },
    Case { name: "exec_into_inner_group", place: Host::is_root, run: exec_into_inner_group },
    Case { name: "pause_reaches_inner_groups", place: Host::is_root, run: pause_reaches_inner_groups },
];

/// Makes two groups and puts a process into the deeper one.
const NEST: &str = "cd /sys/fs/cgroup; mkdir -p a/b; sleep 1000 & echo $! >a/b/cgroup.procs; echo done >/nested; exec sleep 1000";

fn nested(host: &Host, script: &str) -> (Container, Group) {
    let mut container = Container::sh(host, script);
    container.mount_cgroup("rw").limit(json!({"pids": {"limit": 50}}));
    let group = container.up();
    wait_text(&container.shared("nested"));
    (container, group)
}

fn delete_removes_inner_groups(host: &Host) {
    let (container, group) = nested(host, NEST);
    assert!(group.0.join("a/b").is_dir());
    container.down();
    assert!(!group.0.exists());
}

/// With controllers handed down, the kernel admits no process to the container's own group ("no internal processes").
fn exec_after_init_moved_down(host: &Host) {
    let script = "cd /sys/fs/cgroup; mkdir init; echo 1 >init/cgroup.procs; echo +pids +memory >cgroup.subtree_control; \
                  echo done >/nested; exec sleep 1000";
    let (container, _) = nested(host, script);
    let text = container.bundle.exec(&["/bin/cat", "/proc/self/cgroup"]).ok().text();
    assert_eq!(text, "0::/init");
    container.down();
}

fn exec_into_inner_group(host: &Host) {
    let (container, _) = nested(host, NEST);
    let id = container.bundle.id();
    let exec = container.bundle.command(["exec", "--cgroup", "a", id, "/bin/cat", "/proc/self/cgroup"]).run();
    assert_eq!(exec.ok().text(), "0::/a");
    let exec = container.bundle.command(["exec", "--cgroup", "../..", id, "/bin/true"]).run();
    assert!(!exec.success(), "an exec leaves its container's group");
    container.down();
}

fn pause_reaches_inner_groups(host: &Host) {
    let (container, group) = nested(host, NEST);
    container.bundle.command(["pause", container.bundle.id()]).run().ok();
    let inner = Group(group.0.join("a/b"));
    wait_until("the inner group is frozen", || inner.entry("cgroup.events", "frozen") == 1);
    container.bundle.command(["resume", container.bundle.id()]).run().ok();
    wait_until("the inner group runs", || inner.entry("cgroup.events", "frozen") == 0);
    container.down();
}
