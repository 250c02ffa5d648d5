//! Limits as given, as updated, as counted; and what happens at the limit.

use std::time::Duration;

use casemate_tests::engine::Case;
use casemate_tests::engine_docker::{Container, Docker};
use casemate_tests::{Hierarchy, cases, wait_until};

pub const CASES: &[Case<Docker>] = cases![
    limits_are_set,
    limits_are_updated,
    cpuset_confines,
    pids_limit_holds,
    out_of_memory_is_reported,
    out_of_memory_of_another_process,
    stats_are_counted,
    cgroup_parent_is_used,
    unlimited_by_default,
];

/// The content of a control group's file of the container, whichever hierarchy the controller is on.
fn limit(docker: &Docker, container: &Container<'_>, v1: (&str, &str), v2: &str) -> String {
    let id = container.inspect("{{.Id}}");
    for hierarchy in Hierarchy::all() {
        let dir = hierarchy.mount.join(docker.world().id()).join(&id);
        let file = match hierarchy.controllers.iter().any(|c| c == v1.0) {
            true => dir.join(v1.1),
            false if hierarchy.controllers.is_empty() => dir.join(v2),
            false => continue,
        };
        if let Ok(text) = std::fs::read_to_string(file) {
            return text.trim().to_owned();
        }
    }
    panic!("no control group has {} or {v2}", v1.1)
}

fn limits_are_set(docker: &Docker) {
    let flags = [
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--pids-limit",
        "77",
    ];
    let container = docker.sleeper("limits", &flags);
    let limit = |controller, v1, v2| limit(docker, &container, (controller, v1), v2);
    assert_eq!(limit("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(limit("memory", "memory.soft_limit_in_bytes", "memory.low"), "33554432");
    assert_eq!(limit("pids", "pids.max", "pids.max"), "77");
    let quota = limit("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    let shares = limit("cpu", "cpu.shares", "cpu.weight");
    assert!(shares == "512" || shares == "20", "{shares}");
}

fn limits_are_updated(docker: &Docker) {
    let container = docker.sleeper("update", &["-m", "64m", "--memory-swap", "64m"]);
    container.does(
        "update",
        &["-m", "96m", "--memory-swap", "128m", "--cpus", "1.5", "--pids-limit", "55", "--cpuset-cpus", "0"],
    );
    let limit = |controller, v1, v2| limit(docker, &container, (controller, v1), v2);
    assert_eq!(limit("memory", "memory.limit_in_bytes", "memory.max"), "100663296");
    assert_eq!(limit("pids", "pids.max", "pids.max"), "55");
    assert_eq!(limit("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let quota = limit("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "150000" || quota == "150000 100000", "{quota}");
    container.does("update", &["-m", "32m", "--memory-swap", "48m"]);
    assert_eq!(limit("memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    container.sh("true");
    container.does("update", &["--restart", "always"]);
    assert_eq!(limit("pids", "pids.max", "pids.max"), "55");
}

fn cpuset_confines(docker: &Docker) {
    let text = docker.sh(&["--cpuset-cpus", "1"], "grep Cpus_allowed_list /proc/self/status; nproc");
    assert_eq!(text, "Cpus_allowed_list:\t1\n1");
    docker.run(&["--cpuset-cpus", "99"], &["true"]).fails_with(125);
}

fn pids_limit_holds(docker: &Docker) {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo never";
    let output = docker.run(&["--pids-limit", "8"], &["sh", "-c", script]);
    assert!(!output.success() && !output.stdout().contains("never"), "{output}");
}

fn out_of_memory_is_reported(docker: &Docker) {
    // The shim asks the kernel to be told of such a kill only once the container runs, and with cgroup v1 it takes the
    // word for the group's end where that has come by then, whatever the runtime: now and then one goes unreported.
    let eat = "sleep 1; exec tail /dev/zero";
    let is_reported = |name: &'static str| {
        let container = docker.background(name, &["-m", "32m", "--memory-swap", "32m"], eat);
        assert_eq!(container.wait(), 137);
        let state = || {
            std::thread::sleep(Duration::from_millis(100));
            container.inspect("{{.State.OOMKilled}} {{.State.ExitCode}}")
        };
        std::iter::repeat_with(state).take(30).any(|state| state == "true 137")
    };
    let names = ["oom", "oom-again", "oom-once-more", "oom-at-last"];
    assert!(names.into_iter().any(is_reported), "no kill is reported");
}

fn out_of_memory_of_another_process(docker: &Docker) {
    let script = "while sleep 1; do tail /dev/zero; echo survived $?; done";
    let container = docker.background("oom-child", &["-m", "32m", "--memory-swap", "32m"], script);
    wait_until("the child was killed", || container.logs().contains("survived 137"));
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    let filter = ["--filter", "container=oom-child", "--format", "{{.Action}}"];
    wait_until("the kill is told of", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let until = (now.expect("a time after 1970").as_secs() + 1).to_string();
        let events = docker.ok(&[&["events", "--since", "1h", "--until", &until], &filter[..]].concat());
        events.lines().any(|line| line == "oom")
    });
}

fn stats_are_counted(docker: &Docker) {
    let flags = ["-m", "64m"];
    let container = docker.background(
        "stats",
        &flags,
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; while :; do :; done",
    );
    wait_until("memory is in use", || container.sh("du -k /dev/shm/x | cut -f1") == "8192");
    let format = "{{.MemUsage}};{{.PIDs}};{{.CPUPerc}}";
    let line = docker.ok(&["stats", "--no-stream", "--format", format, "stats"]);
    let fields: Vec<_> = line.split(';').collect();
    let [memory, pids, cpu] = fields[..] else { panic!("{line}") };
    assert!(memory.ends_with("/ 64MiB"), "{line}");
    let used: f64 = memory.split("MiB").next().and_then(|n| n.parse().ok()).expect("a size in MiB");
    assert!((8.0..64.0).contains(&used), "{line}");
    assert_eq!(pids, "1", "{line}");
    assert!(cpu.trim_end_matches('%').parse::<f64>().is_ok_and(|cpu| cpu > 1.0), "{line}");
}

fn cgroup_parent_is_used(docker: &Docker) {
    let parent = format!("/{}/deeper/parent", docker.world().id());
    let text = docker
        .sh(&["--cgroup-parent", &parent, "--cgroupns", "host"], "cut -d: -f3 /proc/self/cgroup | sort -u");
    assert!(text.lines().all(|line| line.starts_with(&parent)), "{text}");
}

fn unlimited_by_default(docker: &Docker) {
    let container = docker.sleeper("unlimited", &[]);
    let limit = |controller, v1, v2| limit(docker, &container, (controller, v1), v2);
    assert_eq!(limit("pids", "pids.max", "pids.max"), "max");
    let memory = limit("memory", "memory.limit_in_bytes", "memory.max");
    assert!(memory == "max" || memory.parse::<u64>().is_ok_and(|n| n > 1 << 60), "{memory}");
}
