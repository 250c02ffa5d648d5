//! Limits as the kernel shows them after we set them, on the side where this host has the controller.

use proptest::prelude::*;

use super::super::convert::{cpu_weight, io_weight, max, swap_max};
use super::{Place, resources_of, root};

/// What Docker asks for with `--memory --memory-reservation --cpus --cpu-shares --cpuset-cpus --pids-limit`, and the
/// zeros it adds of its own.
const DOCKER: &str = r#"{
    "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "disableOOMKiller": false},
    "cpu": {"shares": 512, "quota": 150000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 77},
    "blockIO": {"weight": 0}
}"#;

#[test]
fn limits_are_in_force() {
    root!();
    let place = Place::new();
    place.create(DOCKER);
    place.expect("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
    place.expect("memory", ("memory.soft_limit_in_bytes", "33554432"), ("memory.low", "33554432"));
    place.expect("cpu", ("cpu.shares", "512"), ("cpu.weight", "20"));
    place.expect("cpu", ("cpu.cfs_quota_us", "150000"), ("cpu.max", "150000 100000"));
    place.expect("cpu", ("cpu.cfs_period_us", "100000"), ("cpu.max", "150000 100000"));
    place.expect("cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"));
    place.expect("pids", ("pids.max", "77"), ("pids.max", "77"));
}

#[test]
fn memory_and_swap_grow_and_shrink_together() {
    root!();
    let place = Place::new();
    let cgroup = place.create(r#"{"memory": {"limit": 33554432, "swap": 33554432}}"#);
    for (limit, swap) in
        [(67_108_864, 134_217_728), (16_777_216, 16_777_216), (8_388_608, -1), (33_554_432, 67_108_864)]
    {
        let update = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#);
        cgroup.apply(&resources_of(&update)).unwrap();
        let value = limit.to_string();
        place.expect("memory", ("memory.limit_in_bytes", &value), ("memory.max", &value));
        let swap_file = if place.is_v1("memory") { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" };
        if swap > 0 && place.path("memory").join(swap_file).exists() {
            let (both, alone) = (swap.to_string(), (swap - limit).to_string());
            place.expect("memory", (swap_file, &both), (swap_file, &alone));
        }
    }
    cgroup.apply(&resources_of(r#"{"memory": {"limit": -1}}"#)).unwrap();
    place.expect("memory", ("memory.limit_in_bytes", "9223372036854771712"), ("memory.max", "max"));
}

#[test]
fn a_refused_update_changes_nothing() {
    root!();
    let place = Place::new();
    let cgroup = place.create(DOCKER);
    let update =
        r#"{"memory": {"limit": 33554432}, "cpu": {"shares": 99, "quota": 1}, "pids": {"limit": 5}}"#;
    cgroup.apply(&resources_of(update)).unwrap_err();
    place.expect("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
    place.expect("cpu", ("cpu.shares", "512"), ("cpu.weight", "20"));
    assert_eq!(place.read("pids", "pids.max"), "77");
    cgroup.apply(&resources_of(r#"{"memory": {"limit": 33554432, "swappiness": 101}}"#)).unwrap_err();
    place.expect("memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864"));
}

#[test]
fn quota_period_and_burst_change_in_any_order() {
    root!();
    let place = Place::new();
    let cgroup = place.create(r#"{"cpu": {"quota": 20000, "period": 10000}}"#);
    for (quota, period, burst) in
        [(500_000, 1_000_000, 300_000), (2_000, 1_000, 1_000), (100_000, 100_000, 0)]
    {
        let update = format!(r#"{{"cpu": {{"quota": {quota}, "period": {period}, "burst": {burst}}}}}"#);
        cgroup.apply(&resources_of(&update)).unwrap();
        let [quota, burst, period] = [quota, burst, period].map(|value: i32| value.to_string());
        let max = format!("{quota} {period}");
        place.expect("cpu", ("cpu.cfs_quota_us", &quota), ("cpu.max", &max));
        place.expect("cpu", ("cpu.cfs_period_us", &period), ("cpu.max", &max));
        place.expect("cpu", ("cpu.cfs_burst_us", &burst), ("cpu.max.burst", &burst));
    }
    cgroup.apply(&resources_of(r#"{"cpu": {"quota": -1}}"#)).unwrap();
    place.expect("cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000"));
    cgroup.apply(&resources_of(r#"{"cpu": {"quota": 70000}}"#)).unwrap();
    cgroup.apply(&resources_of(r#"{"cpu": {"period": 200000}}"#)).unwrap();
    place.expect("cpu", ("cpu.cfs_quota_us", "70000"), ("cpu.max", "70000 200000"));
}

#[test]
fn shares_that_would_be_clamped_are_refused() {
    root!();
    let place = Place::new();
    if !place.is_v1("cpu") {
        return super::skip(module_path!(), "the cpu controller is not on cgroup v1");
    }
    let error = place.try_create(r#"{"cpu": {"shares": 9999999}}"#).unwrap_err();
    assert!(error.to_string().contains("the maximum allowed cpu-shares is 262144"), "{error}");
    let error = place.try_create(r#"{"cpu": {"shares": 1}}"#).unwrap_err();
    assert!(error.to_string().contains("the minimum allowed cpu-shares is 2"), "{error}");
}

#[test]
fn a_controller_the_host_lacks_is_named() {
    root!();
    let place = Place::new();
    let cases = [
        ("net_cls", r#"{"network": {"classID": 5}}"#),
        ("rdma", r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#),
    ];
    for (controller, resources) in cases {
        let known = std::fs::read_to_string("/proc/cgroups").unwrap();
        if place.is_v1(controller) || (controller == "rdma" && known.contains(controller)) {
            continue;
        }
        let error = place.try_create(resources).unwrap_err();
        assert!(error.to_string().contains(&format!("the {controller} controller is neither")), "{error}");
        assert!(error.remedy().unwrap().contains(controller));
        assert!(place.is_gone());
    }
    // Asking for no limit needs no controller.
    place
        .create(r#"{"network": {"classID": 0}, "rdma": {}, "blockIO": {"weight": 0}, "hugepageLimits": []}"#);
}

#[test]
fn unlimited_processes_are_written_as_such() {
    root!();
    let place = Place::new();
    let cgroup = place.create(r#"{"pids": {"limit": 9}}"#);
    assert_eq!(place.read("pids", "pids.max"), "9");
    cgroup.apply(&resources_of(r#"{"pids": {"limit": -1}}"#)).unwrap();
    assert_eq!(place.read("pids", "pids.max"), "max");
}

#[test]
fn huge_pages_are_limited_on_whichever_side_has_them() {
    root!();
    let place = Place::new();
    let bad = place.try_create(r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}"#).unwrap_err();
    let hugetlb_is_there = !bad.to_string().contains("controller");
    let asked = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;
    if !hugetlb_is_there {
        assert!(place.try_create(asked).unwrap_err().to_string().contains("hugetlb"));
        return;
    }
    assert!(bad.to_string().contains("no huge pages of size"), "{bad}");
    place.create(asked);
    if place.is_v1("hugetlb") {
        assert_eq!(place.read("hugetlb", "hugetlb.2MB.limit_in_bytes"), "4194304");
        assert_eq!(place.read("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes"), "4194304");
    } else {
        assert_eq!(place.read("", "hugetlb.2MB.max"), "4194304");
    }
}

#[test]
fn file_names_from_a_bundle_stay_file_names() {
    root!();
    let place = Place::new();
    for resources in [
        r#"{"unified": {"../../x.y": "1"}}"#,
        r#"{"unified": {"..": "1"}}"#,
        r#"{"unified": {"nodot": "1"}}"#,
        r#"{"hugepageLimits": [{"pageSize": "../2MB", "limit": 0}]}"#,
    ] {
        assert!(place.try_create(resources).is_err(), "{resources} was accepted");
        assert!(place.is_gone());
    }
}

#[test]
fn the_conversions_meet_at_the_ends() {
    assert_eq!([0, 1, 2, 1024, 262_144, u64::MAX].map(cpu_weight), [0, 1, 1, 39, 10_000, 10_000]);
    assert_eq!([0, 10, 1000].map(io_weight), [0, 1, 10_000]);
    assert_eq!([0, -1, 5].map(max), [None, Some("max".to_owned()), Some("5".to_owned())]);
}

proptest! {
    #[test]
    fn more_shares_never_weigh_less(a in 0_u64..300_000, b in 0_u64..300_000) {
        let (less, more) = (a.min(b), a.max(b));
        prop_assert!(cpu_weight(less) <= cpu_weight(more));
        prop_assert!(cpu_weight(more) <= 10_000);
        prop_assert_eq!(cpu_weight(more) == 0, more == 0);
    }

    #[test]
    fn more_block_weight_never_weighs_less(a in 0_u16..2000, b in 0_u16..2000) {
        prop_assert!(io_weight(a.min(b)) <= io_weight(a.max(b)));
        prop_assert!(io_weight(a) <= 10_000);
    }

    #[test]
    fn swap_is_what_the_sum_leaves(memory in 1_i64.., both in 1_i64..) {
        match swap_max(memory, both) {
            Ok(swap) => prop_assert_eq!(swap, Some(both - memory)),
            Err(_) => prop_assert!(both < memory),
        }
    }

    #[test]
    fn no_numbers_break_the_conversion(memory: i64, both: i64) {
        swap_max(memory, both).ok();
    }
}
