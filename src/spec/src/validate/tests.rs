//! Rules, each by a configuration that breaks it: the good one with one property put in place of another.

use serde_json::{Value, json};

use super::*;

/// A configuration that breaks no rule: all namespaces new, every optional thing present.
fn good() -> Value {
    serde_json::from_slice(include_bytes!("../../testdata/good.json")).unwrap()
}

fn violations(document: &Value, host: &Host) -> Vec<Violation> {
    validate(&crate::parse(document.to_string().as_bytes()).unwrap(), host)
}

/// Puts `value` at a JSON pointer, making objects on the way; null takes away.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    if document.pointer(parent).is_none() {
        put(document, parent, json!({}));
    }
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(name.to_owned(), value)),
        Value::Array(list) => list.push(value),
        other => panic!("{other} has no properties"),
    }
}

fn broken(changes: &[(&str, Value)]) -> Vec<String> {
    let mut document = good();
    for (pointer, value) in changes {
        put(&mut document, pointer, value.clone());
    }
    violations(&document, &Host::default()).iter().map(ToString::to_string).collect()
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(broken(&[]), Vec::<String>::new());
}

#[test]
fn the_process_is_checked() {
    let cases = [
        ("/process", Value::Null, "process: is required and missing: what to run"),
        ("/process/args", json!([]), "process.args: expected a program to run, found nothing"),
        ("/process/args", json!([""]), "process.args[0]: expected a program to run, found an empty text"),
        ("/process/cwd", json!("tmp"), "process.cwd: expected an absolute path, found \"tmp\""),
        ("/process/env", json!(["A=1", "B"]), "process.env[1]: expected NAME=value, found \"B\""),
        ("/process/env", json!(["=1"]), "process.env[0]: expected NAME=value, found \"=1\""),
        ("/process/user/umask", json!(0o1000), "process.user.umask: expected at most 0777, found 0o1000"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj: expected -1000 to 1000, found 1001"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
            "process.rlimits[0].soft: expected a soft limit up to 1, found 2",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]),
            "process.rlimits[1]: expected each limit once, found RLIMIT_CPU again",
        ),
        (
            "/process/selinuxLabel",
            json!("a\nb"),
            "process.selinuxLabel: expected a label without control characters, found \"a\\nb\"",
        ),
        ("/process/ioPriority/priority", json!(8), "process.ioPriority.priority: expected 0 to 7, found 8"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            "process.scheduler.priority: expected no priority unless the policy is SCHED_FIFO or SCHED_RR, found 1",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_FIFO"}),
            "process.scheduler.priority: expected 1 to 99, found 0",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2}),
            "process.scheduler: expected runtime <= deadline <= period, found 3, 2 and 0",
        ),
        (
            "/process/execCPUAffinity/initial",
            json!("3-1"),
            "process.execCPUAffinity.initial: expected a list of CPUs such as 0-3,7, found \"3-1\"",
        ),
    ];
    for (pointer, value, expected) in cases {
        assert_eq!(broken(&[(pointer, value)]), [expected]);
    }
}

#[test]
fn what_needs_a_namespace_is_refused_without_it() {
    let without = |kind: &str| {
        let all = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];
        let kept = all.into_iter().filter(|other| *other != kind).map(|kind| json!({"type": kind}));
        broken(&[("/linux/namespaces", kept.collect())])
    };
    let starts = |kind: &str| -> Vec<String> {
        without(kind).iter().map(|v| v.split(": ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(starts("uts"), ["hostname", "domainname", "linux.sysctl[\"kernel.domainname\"]"]);
    assert_eq!(starts("network"), ["linux.netDevices", "linux.sysctl[\"net.ipv4.ip_forward\"]"]);
    assert_eq!(starts("ipc"), ["linux.sysctl[\"fs.mqueue.msg_max\"]", "linux.sysctl[\"kernel.shmmax\"]"]);
    assert_eq!(starts("time"), ["linux.timeOffsets"]);
    assert_eq!(
        starts("mount"),
        ["mounts", "root.readonly", "linux.maskedPaths", "linux.readonlyPaths", "linux.rootfsPropagation"]
    );
    assert_eq!(starts("user"), ["linux.uidMappings", "linux.gidMappings"]);
    assert_eq!(without("pid"), Vec::<String>::new());
}

#[test]
fn a_namespace_of_the_hosts_joined_by_path_is_the_hosts() {
    let mut document = good();
    put(&mut document, "/linux/netDevices", Value::Null);
    document["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/1/ns/net"});
    assert_eq!(violations(&document, &Host::default()), []);
    let host = Host { shared: vec![LinuxNamespaceType::Network], ..Host::default() };
    let found = violations(&document, &host);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].field, "linux.sysctl[\"net.ipv4.ip_forward\"]");
}

#[test]
fn linux_is_checked() {
    let cases = [
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "oci/sysctl"),
        ("/linux/sysctl", json!({"net/../kernel/panic": "1"}), "oci/sysctl"),
        ("/linux/sysctl", json!({"kernel/hostname": "x"}), "oci/sysctl"),
        ("/linux/maskedPaths", json!(["proc/kcore"]), "oci/paths"),
        ("/linux/rootfsPropagation", json!("sideways"), "oci/propagation"),
        ("/linux/cgroupsPath", json!("/a/../../b"), "oci/cgroupsPath"),
        ("/linux/namespaces/-", json!({"type": "pid"}), "oci/namespaces"),
        ("/linux/timeOffsets", json!({"realtime": {"secs": 1}}), "oci/time"),
        ("/linux/timeOffsets", json!({"boottime": {"nanosecs": 1_000_000_000}}), "oci/time"),
        ("/linux/netDevices", json!({"eth0": {"name": "a/b"}}), "oci/netDevices"),
        ("/linux/netDevices", json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}}), "oci/netDevices"),
        ("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]}), "oci/personality"),
        ("/linux/intelRdt", json!({"closID": "../.."}), "oci/intelRdt"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND"}), "oci/memoryPolicy"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "oci/memoryPolicy"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "c", "major": 5000, "minor": 0}]),
            "oci/devices",
        ),
        ("/linux/resources/devices", json!([{"allow": true, "access": "rx"}]), "oci/devices"),
        ("/linux/resources/unified", json!({"../../x": "1"}), "oci/unified"),
        ("/linux/resources/hugepageLimits", json!([{"pageSize": "2M", "limit": 1}]), "oci/hugepages"),
        ("/linux/resources/cpu", json!({"cpus": "a"}), "oci/cpu"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "oci/seccomp"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}), "oci/seccomp"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 0}]), "oci/idMappings"),
        ("/mounts", json!([{"destination": "/x", "options": ["bind"]}]), "oci/mounts"),
        ("/mounts", json!([{"destination": "/x", "source": "tmpfs"}]), "oci/mounts"),
        ("/mounts", json!([{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}]), "oci/idmap"),
        ("/hooks", json!({"poststop": [{"path": "bin/x"}]}), "oci/hooks"),
        ("/hooks", json!({"poststart": [{"path": "/x", "timeout": 0}]}), "oci/hooks"),
        ("/annotations", json!({"": "x"}), "oci/annotations"),
        ("/ociVersion", json!("2.0.0"), "oci/version"),
        ("/root", json!({"path": ""}), "oci/root"),
    ];
    for (pointer, value, rule) in cases {
        let mut document = good();
        put(&mut document, pointer, value.clone());
        let rules: Vec<_> = violations(&document, &Host::default()).iter().map(|v| v.rule).collect();
        assert!(!rules.is_empty(), "{pointer} {value} was accepted");
        assert_eq!(rules.first(), Some(&rule), "{pointer} {value}: {rules:?}");
    }
}

#[test]
fn every_violation_is_found_not_only_the_first() {
    let found = broken(&[("/process/cwd", json!("")), ("/ociVersion", json!("3")), ("/root", json!(null))]);
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn without_root_a_user_namespace_and_mapped_ids_are_needed() {
    let host = Host { rootless: true, ..Host::default() };
    let mut document = good();
    put(&mut document, "/linux/netDevices", Value::Null);
    assert_eq!(violations(&document, &host), []);
    put(&mut document, "/mounts/-", json!({"destination": "/t", "type": "tmpfs", "options": ["gid=70000"]}));
    let found = violations(&document, &host);
    assert_eq!(
        found[0].to_string(),
        "mounts[2].options: expected an id that linux.gidMappings maps, found \"gid=70000\""
    );
    for gone in ["uidMappings", "gidMappings"] {
        put(&mut document, &format!("/linux/{gone}"), Value::Null);
    }
    put(
        &mut document,
        "/linux/namespaces",
        json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}, {"type": "time"}]),
    );
    assert_eq!(violations(&document, &host).iter().map(|v| v.rule).collect::<Vec<_>>(), ["oci/rootless"]);
}

#[test]
fn documents_of_exec_and_update_are_checked_by_the_same_rules() {
    let process = crate::parse_process(br#"{"cwd":"x","args":["sh"]}"#).unwrap();
    assert_eq!(validate_process(&process)[0].field, "cwd");
    let resources = crate::parse_resources(br#"{"unified":{"a/b":"1"}}"#).unwrap();
    assert_eq!(validate_resources(&resources)[0].field, "unified");
}
