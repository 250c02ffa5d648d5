//! The gate itself, the report and the grade.

use std::time::{Duration, Instant};

use super::*;

const GOOD: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"]}}"#;

fn parsed(text: &str) -> Config {
    casemate_spec::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_bundle_passes_to_the_letter() {
    for (name, text) in engines::TEXTS {
        let asked = parsed(text);
        let admitted = judge(asked.clone(), &Policy::oci(), &host()).unwrap();
        assert_eq!(admitted.config(), &asked, "{name}");
        assert_eq!(admitted.changes(), []);
        assert_eq!(admitted.confinement(), &Confinement::default());
        assert_eq!(admitted.policy(), &Policy::oci());
        assert!(admitted.protections().iter().all(|row| row.asked == row.enforced), "{name}");
    }
}

#[test]
fn every_violation_is_said_in_one_line() {
    let bad = parsed(r#"{"ociVersion":"9","root":{"path":"rootfs"},"process":{"cwd":"x","args":["sh"]}}"#);
    for policy in Policy::BUILTIN.map(policy) {
        let denied = judge(bad.clone(), &policy, &host()).unwrap_err();
        assert!(denied.is_malformed());
        assert_eq!(denied.violations().len(), 2);
        assert_eq!(
            Error::from(denied).to_string(),
            "config.json: ociVersion: expected a version 1.x.y, found \"9\"; process.cwd: expected an absolute path, \
             found \"x\""
        );
    }
}

#[test]
fn a_flood_of_violations_stays_readable() {
    let env = vec!["\"x\""; 5000].join(",");
    let bad = format!(
        r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"process":{{"cwd":"/","args":["a"],"env":[{env}]}}}}"#
    );
    let denied = judge(parsed(&bad), &Policy::oci(), &host()).unwrap_err();
    assert_eq!(denied.violations().len(), 5000);
    let text = denied.to_string();
    assert!(text.ends_with("; and 4980 more") && text.len() < 2000, "{text}");
}

#[test]
fn a_bundle_without_a_linux_section_is_everything_of_the_hosts() {
    assert!(judge(parsed(GOOD), &Policy::oci(), &host()).is_ok());
    let denied = judge(parsed(GOOD), &policy("hardened"), &host()).unwrap_err();
    assert_eq!(rules_of(&denied), ["namespaces"; 5]);
}

/// A new user namespace without ids is an error of the bundle's, unless the policy has ids to give.
#[test]
fn a_user_namespace_without_ids() {
    let user = json!({"type": "user"});
    let asked = docker_with(|c| c["linux"]["namespaces"].as_array_mut().unwrap().push(user));
    assert!(judge(asked.clone(), &Policy::oci(), &host()).unwrap_err().is_malformed());
    let admitted = judge(asked, &policy("hardened"), &host()).unwrap();
    assert!(matches!(admitted.confinement().user_namespace, UserNamespace::Own { .. }));
    assert_eq!(admitted.config().spec.linux().as_ref().unwrap().uid_mappings(), &None);
}

#[test]
fn the_report_has_a_row_for_every_protection() {
    let admitted = judge(config(&docker()), &policy("hardened"), &host()).unwrap();
    let rows = admitted.protections();
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names, crate::protections::ALL.map(|(name, _)| name));
    let row = |name: &str| {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        (row.asked.as_str(), row.enforced.as_str(), row.rule.as_str())
    };
    assert_eq!(
        row("user-namespace"),
        ("the host's", "its own range of 65536 ids", "user_namespace.mode = \"own\"")
    );
    assert_eq!(row("no-new-privileges"), ("off", "on", "no_new_privs = \"on\""));
    assert_eq!(row("read-only-root"), ("writable", "read-only", "rootfs.read_only = true"));
    assert_eq!(row("memory"), ("unlimited", "1GiB", "limits.memory = \"1GiB\""));
    assert_eq!(row("swap"), ("unlimited", "none", "limits.swap = false"));
    assert_eq!(row("pids"), ("unlimited", "512", "limits.pids = 512"));
    assert_eq!(row("devices").1, "the standard ones");
    assert_eq!(row("namespaces").1, "mount network uts pid ipc cgroup");
    assert!(row("seccomp").1.contains("the policy's and the bundle's"));
    let none = HostFacts { landlock_abi: 0, ..host() };
    let admitted = judge(config(&docker()), &policy("hardened"), &none).unwrap();
    let row = admitted.protections().iter().find(|row| row.name == "landlock").unwrap();
    assert_eq!(row.enforced, "none: the kernel has no Landlock");
}

/// What an older kernel lacks is said, not left out.
#[test]
fn the_report_says_what_the_kernel_lacks() {
    let row = |abi: u32, policy: &Policy| {
        let facts = HostFacts { landlock_abi: abi, ..host() };
        let admitted = judge(config(&docker()), policy, &facts).unwrap();
        let rows = admitted.protections().iter();
        rows.filter(|row| row.name == "landlock").map(|row| row.enforced.clone()).collect::<String>()
    };
    let open = written("extends = \"baseline\"\nlandlock.bind_tcp = [80]");
    assert_eq!(row(7, &open), "writes beneath /; TCP bind [80]; no abstract sockets outside");
    assert_eq!(
        row(2, &open),
        "writes beneath /; not restricted by this kernel's ABI 2: truncation (ABI 3), TCP bind (ABI 4), \
         ioctl of devices (ABI 5), abstract sockets (ABI 6)"
    );
}

#[test]
fn grades_follow_the_policies() {
    let graded = |name: &str, text: &str| grade(&judge(parsed(text), &policy(name), &host()).unwrap());
    let all = Policy::BUILTIN.map(|name| graded(name, engines::text("docker")));
    for pair in all.windows(2) {
        assert!(pair[0].exposure < pair[1].exposure, "{pair:#?}");
    }
    let words = all.each_ref().map(|grade| grade.word);
    assert_eq!(words, ["safe", "safe", "ok", "medium"], "{:?}", all.each_ref().map(|g| g.exposure));
    let privileged = graded("oci", engines::text("docker-privileged"));
    assert_eq!(privileged.word, "unsafe", "{}", privileged.exposure);
    for grade in all.iter().chain([&privileged]) {
        let sum: f64 = grade.rows.iter().map(|row| row.exposure).sum();
        assert!((sum - grade.exposure).abs() < 1e-9 && (0.0..=10.0).contains(&sum));
        assert!(grade.rows.iter().all(|row| (row.missing == 0) == row.exposes.is_empty()));
    }
}

/// Not a test of speed, which a busy machine would fail: it tells. The budget is a millisecond.
#[test]
fn what_judging_costs() {
    let asked = config(&docker());
    for name in Policy::BUILTIN {
        let read = policy(name);
        let reading = fastest(|| (), |()| policy(name));
        let judging = fastest(|| asked.clone(), |config| judge(config, &read, &host()).unwrap());
        eprintln!("{name}: read in {} µs, judged in {} µs", reading.as_micros(), judging.as_micros());
    }
}

/// The least of many times: what others do on the machine only adds.
fn fastest<A, B>(prepare: impl Fn() -> A, run: impl Fn(A) -> B) -> Duration {
    let once = |_| {
        let prepared = prepare();
        let begun = Instant::now();
        let made = run(prepared);
        let took = begun.elapsed();
        drop(made);
        took
    };
    (0..100).map(once).min().unwrap()
}
