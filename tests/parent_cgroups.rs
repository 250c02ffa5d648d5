//! `cgroup set` and `cgroup remove`: limits that hold for several containers together.
//!
//! Ours alone: the reference has no such command.

use std::path::PathBuf;

use casemate_tests::{Bundle, Hierarchy, Output, Value, json, ours};

/// A parent of the test's own; the containers' id is in its name, by which leaks are found.
fn parent(bundle: &Bundle) -> String {
    format!("/casemate-test-{}/tenant", bundle.id())
}

fn set(bundle: &Bundle, path: &str, resources: &Value) -> Output {
    let text = resources.to_string();
    bundle.command(["cgroup", "set", path, "--resources", "-"]).stdin(text.as_bytes()).run()
}

fn remove(bundle: &Bundle, path: &str) -> Output {
    bundle.command(["cgroup", "remove", path]).run()
}

/// Removes what the test has made, the way up included.
fn clear(bundle: &Bundle) {
    let path = parent(bundle);
    remove(bundle, &path).ok();
    remove(bundle, path.trim_end_matches("/tenant")).ok();
    bundle.assert_clean();
}

/// A container beneath the parent, under `hardened`.
fn beneath(script: &str) -> Bundle {
    let mut bundle = Bundle::sh(&ours(), script);
    let path = format!("{}/{}", parent(&bundle), bundle.id());
    bundle.policy("hardened").edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    bundle
}

/// The parent's directory on the hierarchy that has a controller.
fn directory(bundle: &Bundle, controller: &str) -> PathBuf {
    let all = Hierarchy::all();
    let v1 = all.iter().find(|h| h.controllers.iter().any(|have| have == controller));
    let hierarchy = v1.or_else(|| all.iter().find(|h| h.controllers.is_empty())).expect("a hierarchy");
    hierarchy.mount.join(parent(bundle).trim_start_matches('/'))
}

fn value(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    let directory = directory(bundle, controller);
    let file = [v1, v2].into_iter().map(|file| directory.join(file)).find(|file| file.exists());
    let file = file.unwrap_or_else(|| panic!("neither {v1} nor {v2} in {}", directory.display()));
    std::fs::read_to_string(file).expect("read a limit").trim().to_owned()
}

#[test]
fn containers_beneath_obey_its_number_of_processes() {
    let bundle = beneath("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait");
    set(&bundle, &parent(&bundle), &json!({"pids": {"limit": 5}})).ok();
    let output = bundle.run();
    assert!(!output.success() && output.stderr().contains("can't fork"), "{output}");
    clear(&bundle);
}

#[test]
fn containers_beneath_obey_its_memory() {
    // Its own limit, the policy's, is 1 GiB.
    let bundle = beneath("dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null && echo had it");
    let at_most = |bytes: u64| json!({"memory": {"limit": bytes, "swap": bytes}});
    set(&bundle, &parent(&bundle), &at_most(64 << 20)).ok();
    let output = bundle.run();
    assert_ne!(output.text(), "had it", "more memory than its parent has: {output}");
    set(&bundle, &parent(&bundle), &at_most(512 << 20)).ok();
    assert_eq!(bundle.run().ok().text(), "had it");
    clear(&bundle);
}

#[test]
fn limits_are_set_changed_and_kept() {
    let bundle = beneath("true");
    let path = parent(&bundle);
    let all = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 32},
                     "cpu": {"quota": 50_000, "period": 100_000}});
    for _ in 0..2 {
        set(&bundle, &path, &all).ok();
    }
    set(&bundle, &path, &json!({"pids": {"limit": 33}})).ok();
    set(&bundle, &path, &json!({})).ok();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "33");
    assert_eq!(value(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert!(value(&bundle, "cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    bundle.run().ok();
    clear(&bundle);
    remove(&bundle, &path).ok();
}

#[test]
fn what_is_in_use_stays() {
    let bundle = beneath("sleep 1000");
    let path = parent(&bundle);
    set(&bundle, &path, &json!({"pids": {"limit": 32}})).ok();
    bundle.create().ok();
    remove(&bundle, &path).fails_saying(&[&path, "it holds others", bundle.id()]);
    set(&bundle, &path, &json!({"pids": {"limit": 31}})).ok();
    assert_eq!(value(&bundle, "pids", "pids.max", "pids.max"), "31");
    bundle.start().ok();
    bundle.delete_force().ok();
    clear(&bundle);
}

#[test]
fn what_makes_no_sense_leaves_nothing() {
    let bundle = beneath("true");
    let path = parent(&bundle);
    let wrong: [(Value, &str); 6] = [
        (json!([]), "expected an object"),
        (json!({"memory": "much"}), "memory"),
        (json!({"memory": {"swappiness": 101}}), "swappiness"),
        (json!({"devices": [{"allow": true, "access": "rwm"}]}), "devices"),
        (json!({"cpu": {"cpus": "4000-5000"}}), "cpuset.cpus"),
        (json!({"hugepageLimits": [{"pageSize": "../../x", "limit": 1}]}), "page size"),
    ];
    for (resources, word) in wrong {
        set(&bundle, &path, &resources).fails_saying(&[word]);
        assert!(!directory(&bundle, "pids").exists(), "{resources}");
    }
    for path in ["/", "..", "/a/../.."] {
        set(&bundle, path, &json!({})).fails_saying(&["cgroup"]);
        remove(&bundle, path).fails_saying(&["cgroup"]);
    }
    bundle.command(["cgroup", "set", &path, "--resources", "/no/such"]).run().fails_saying(&["/no/such"]);
    remove(&bundle, &path).ok();
    bundle.assert_clean();
}
