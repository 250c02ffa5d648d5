//! create, start, state, pause, resume, kill, exec, delete: the words are tested on the host, here the control groups.

use std::time::Duration;

use casemate_tests::{json, wait_until};
use rustix::process::Signal;

use crate::Case;
use crate::fixture::{Container, Group, wait_text};
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "lifecycle", place: |_| true, run: lifecycle },
    Case { name: "run_gives_the_exit_code", place: |_| true, run: run_gives_the_exit_code },
    Case { name: "pause_stops_every_process", place: Host::has_cgroups, run: pause_stops_every_process },
    Case {
        name: "a_paused_container_is_deleted",
        place: Host::has_cgroups,
        run: a_paused_container_is_deleted,
    },
    Case { name: "exec_joins_the_group", place: Host::has_cgroups, run: exec_joins_the_group },
    Case { name: "kill_all_without_pid_namespace", place: Host::has_cgroups, run: kill_all },
    Case { name: "delete_kills_what_init_left", place: Host::has_cgroups, run: delete_kills_what_init_left },
    Case { name: "eight_at_once", place: |_| true, run: eight_at_once },
    Case { name: "killed_create_leaves_nothing", place: |h| !h.peer, run: killed_create },
    Case { name: "default_path", place: Host::is_root, run: default_path },
];

fn lifecycle(host: &Host) {
    let container = Container::sleeping(host);
    let bundle = &container.bundle;
    bundle.create().ok();
    assert_eq!(bundle.status(), "created");
    if host.delegated {
        let group = container.group();
        assert!(group.0.to_string_lossy().contains(bundle.id()), "created in {}", group.0.display());
    }
    bundle.start().ok();
    assert_eq!(bundle.status(), "running");
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.assert_clean();
}

fn run_gives_the_exit_code(host: &Host) {
    let container = Container::sh(host, "cat /proc/self/cgroup; exit 7");
    let output = container.bundle.run().fails_with(7);
    if host.delegated {
        assert_eq!(output.text(), "0::/", "the cgroup namespace's root is the container's group");
    }
    container.bundle.assert_clean();
}

fn pause_stops_every_process(host: &Host) {
    let script = "i=0; while :; do i=$((i+1)); echo $i >/count; done";
    let container = Container::sh(host, script);
    let group = container.up();
    let count = || wait_text(&container.shared("count"));
    let (first, bundle) = (count(), &container.bundle);
    wait_until("it counts", || count() != first);
    bundle.command(["pause", bundle.id()]).run().ok();
    assert_eq!(bundle.status(), "paused");
    assert_eq!(group.entry("cgroup.events", "frozen"), 1);
    let frozen = std::fs::read_to_string(container.shared("count")).expect("read the count");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(std::fs::read_to_string(container.shared("count")).expect("read the count"), frozen);
    assert!(!bundle.exec(&["/bin/true"]).success(), "exec into a paused container succeeds");
    bundle.command(["resume", bundle.id()]).run().ok();
    assert_eq!(bundle.status(), "running");
    wait_until("it counts again", || count() != frozen.trim_end());
    container.down();
}

fn a_paused_container_is_deleted(host: &Host) {
    let container = Container::sleeping(host);
    container.up();
    container.bundle.command(["pause", container.bundle.id()]).run().ok();
    container.down();
}

fn exec_joins_the_group(host: &Host) {
    let container = Container::sleeping(host);
    let group = container.up();
    let pid_file = container.bundle.dir().join("exec.pid");
    let exec = container.bundle.command(["exec", "--detach", "--pid-file"]).arg(&pid_file);
    exec.arg(container.bundle.id()).args(["/bin/sleep", "1000"]).run().ok();
    let pid = std::fs::read_to_string(&pid_file).expect("read the pid file");
    let pid: i32 = pid.trim().parse().expect("a pid");
    assert_eq!(Group::of(pid).0, group.0);
    let output = container.bundle.exec(&["/bin/cat", "/proc/self/cgroup"]).ok();
    assert_eq!(output.text(), "0::/", "an exec sees the container's cgroup namespace");
    container.down();
}

/// Three processes, of which killing the first kills no other.
fn without_pid_namespace(host: &Host) -> (Container, Group) {
    let mut container = Container::sh(host, "sleep 1000 & sleep 1000 & exec sleep 1000");
    container.bundle.without_namespace("pid").edit(|c| {
        // A procfs belongs to its pid namespace: a user namespace may not mount the host's, only bind it.
        let proc = json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]});
        c["mounts"][0] = proc;
    });
    let group = container.up();
    wait_until("three processes run", || group.read("cgroup.procs").lines().count() == 3);
    (container, group)
}

fn kill_all(host: &Host) {
    let (container, group) = without_pid_namespace(host);
    let bundle = &container.bundle;
    bundle.command(["kill", "--all", bundle.id(), "KILL"]).run().ok();
    wait_until("all are gone", || group.is_empty());
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.assert_clean();
}

fn delete_kills_what_init_left(host: &Host) {
    let (container, _) = without_pid_namespace(host);
    let bundle = &container.bundle;
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.assert_clean();
}

fn eight_at_once(host: &Host) {
    let containers: Vec<_> = (0..8).map(|n| Container::sh(host, &format!("exit {n}"))).collect();
    let run =
        |c: &Container| c.bundle.command(["run", c.bundle.id()]).timeout(Duration::from_secs(45)).spawn();
    let running: Vec<_> = containers.iter().map(run).collect();
    for (n, run) in running.into_iter().enumerate() {
        run.wait().fails_with(n as i32);
    }
    containers.iter().for_each(|c| c.bundle.assert_clean());
}

/// SIGKILL at many moments of `create`, then `delete --force`.
fn killed_create(host: &Host) {
    let mut container = Container::sleeping(host);
    if host.delegated {
        container.limit(json!({"pids": {"limit": 20}}));
    }
    for step in 0..12_u32 {
        let create = container.bundle.command(["create", container.bundle.id()]).spawn();
        std::thread::sleep(Duration::from_millis(3 + u64::from(step * step)));
        create.signal(Signal::KILL);
        create.wait();
        container.bundle.delete_force().ok();
        container.bundle.assert_clean();
    }
}

fn default_path(host: &Host) {
    let mut container = Container::sleeping(host);
    container.bundle.edit(|c| {
        c["linux"].as_object_mut().expect("linux").remove("cgroupsPath");
    });
    let group = container.up();
    let name = group.0.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.contains(container.bundle.id()), "in {}", group.0.display());
    assert_eq!(name.ends_with(".scope"), host.systemd, "in {}", group.0.display());
    container.down();
}
