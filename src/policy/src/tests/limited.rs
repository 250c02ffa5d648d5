//! Limits: what holds when nothing is asked, and what holds whatever is asked.

use super::*;

#[test]
fn what_is_tighter_already_stays() {
    let asked = docker_with(|c| {
        c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 64 << 20});
        c["linux"]["resources"]["pids"] = json!({"limit": 20});
        c["linux"]["resources"]["cpu"] = json!({"quota": 20_000, "period": 100_000});
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 64, "soft": 32}]);
    });
    let before = serde_json::to_value(&asked.spec).unwrap();
    let (spec, _) = enforced(asked, &policy("strict"));
    assert_eq!(spec["linux"]["resources"]["memory"], before["linux"]["resources"]["memory"]);
    assert_eq!(spec["linux"]["resources"]["pids"], before["linux"]["resources"]["pids"]);
    assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 20_000);
    assert_eq!(spec["process"]["rlimits"][0], before["process"]["rlimits"][0]);
}

/// What is asked is heeded where the policy has no ceiling, and cut where it has one.
#[test]
fn ceilings_cut_what_is_asked() {
    let asked = || {
        docker_with(|c| {
            c["linux"]["resources"]["memory"] = json!({"limit": 8u64 << 30, "swap": 16u64 << 30});
            c["linux"]["resources"]["pids"] = json!({"limit": 9999});
            c["linux"]["resources"]["cpu"] = json!({"quota": 400_000, "period": 100_000, "burst": 300_000});
        })
    };
    let (spec, _) = enforced(asked(), &policy("hardened"));
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 8u64 << 30);
    assert_eq!(spec["linux"]["resources"]["memory"]["swap"], 8u64 << 30);
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 9999);
    let ceiling = written("limits.memory_max = \"2GiB\"\nlimits.pids_max = 1000\nlimits.cpus_max = 1.5");
    let (spec, changes) = enforced(asked(), &ceiling);
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 2u64 << 30);
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 1000);
    assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 150_000);
    assert_eq!(spec["linux"]["resources"]["cpu"]["burst"], 150_000);
    let cpu = changes.iter().find(|change| change.field.ends_with("cpu.quota")).unwrap();
    assert_eq!((cpu.asked.as_str(), cpu.enforced.as_str()), ("4.000", "1.500 CPUs"));
}

/// The unified hierarchy's files by name would have the last word.
#[test]
fn settings_by_file_name_do_not_go_around_the_limits() {
    let unified = |value: Value| {
        let (spec, _) =
            enforced(docker_with(|c| c["linux"]["resources"]["unified"] = value), &policy("strict"));
        spec["linux"]["resources"]["unified"].clone()
    };
    let loose =
        json!({"memory.max": "max", "memory.swap.max": "1G", "pids.max": "100000", "cpu.max": "max 100000"});
    assert_eq!(unified(loose), json!({}));
    let tight =
        json!({"memory.max": "1000000", "memory.swap.max": "0", "pids.max": "5", "cpu.max": "1000 100000"});
    assert_eq!(unified(tight.clone()), tight);
    assert_eq!(unified(json!({"memory.high": "max"})), json!({"memory.high": "max"}));
}

#[test]
fn nothing_is_exempt_from_being_killed_for_memory() {
    let (spec, changes) = enforced(
        docker_with(|c| {
            c["process"]["oomScoreAdj"] = json!(-1000);
            c["linux"]["resources"]["memory"] = json!({"disableOOMKiller": true});
        }),
        &policy("hardened"),
    );
    assert_eq!(spec["process"]["oomScoreAdj"], -999);
    assert_eq!(spec["linux"]["resources"]["memory"]["disableOOMKiller"], false);
    assert_eq!(changes.iter().filter(|change| change.rule == "limits").count(), 5);
}

#[test]
fn limits_of_getrlimit() {
    let (spec, _) = enforced(
        docker_with(|c| {
            c["process"]["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "hard": 1u64 << 40, "soft": 1024},
                {"type": "RLIMIT_CORE", "hard": u64::MAX, "soft": 0},
            ]);
        }),
        &policy("hardened"),
    );
    let expected = json!([
        {"type": "RLIMIT_NOFILE", "hard": 1_048_576, "soft": 1024},
        {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
    ]);
    assert_eq!(spec["process"]["rlimits"], expected);
}

/// A user without a control group of one's own still gets containers; what is asked for is still bounded.
#[test]
fn a_caller_without_control_groups() {
    let none =
        HostFacts { no_limits: Some("no control group".to_owned()), in_user_namespace: true, ..host() };
    let admitted = judge(config(&docker()), &policy("strict"), &none).unwrap();
    let spec = serde_json::to_value(&admitted.config().spec).unwrap();
    assert_eq!(spec["linux"]["resources"]["pids"], Value::Null);
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], Value::Null);
    let row = admitted.protections().iter().find(|row| row.name == "memory").unwrap();
    assert_eq!(row.enforced, "unlimited: no control group");
    let asked = docker_with(|c| c["linux"]["resources"]["pids"] = json!({"limit": 50}));
    let bounded = written("limits.pids_max = 10");
    let admitted = judge(asked, &bounded, &none).unwrap();
    let spec = serde_json::to_value(&admitted.config().spec).unwrap();
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 10);
}

#[test]
fn nobody_goes_before_everybody() {
    let asked = || {
        docker_with(|c| {
            c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -20});
            c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 0});
        })
    };
    let (spec, _) = enforced(asked(), &policy("baseline"));
    assert_eq!(spec["process"]["scheduler"]["nice"], 0);
    assert_eq!(spec["process"]["ioPriority"]["class"], "IOPRIO_CLASS_BE");
}
