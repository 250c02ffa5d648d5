//! Resources: what is asked for is what the kernel's files say, at create and after update.

use casemate_tests::json;

use crate::Case;
use crate::fixture::{Container, Group};
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "limits", place: Host::has_cgroups, run: limits },
    Case { name: "no_limits_touch_nothing", place: Host::has_cgroups, run: no_limits_touch_nothing },
    Case { name: "unlimited_words", place: Host::has_cgroups, run: unlimited_words },
    Case { name: "unified", place: Host::has_cgroups, run: unified },
    Case { name: "unknown_unified_file", place: Host::has_cgroups, run: unknown_unified_file },
    Case { name: "huge_pages", place: huge_pages_delegated, run: huge_pages },
    Case { name: "io_throttle", place: Host::has_cgroups, run: io_throttle },
    Case { name: "io_weight", place: Host::has_cgroups, run: io_weight },
    Case { name: "update", place: Host::has_cgroups, run: update },
    Case { name: "update_from_file", place: Host::has_cgroups, run: update_from_file },
    Case { name: "pids_limit_holds", place: Host::has_cgroups, run: pids_limit_holds },
    Case { name: "stats", place: Host::has_cgroups, run: stats },
    Case { name: "bad_limit_leaves_nothing", place: Host::has_cgroups, run: bad_limit_leaves_nothing },
];

/// A user's systemd manager hands out no hugetlb: systemd knows no such controller.
fn huge_pages_delegated(host: &Host) -> bool {
    host.delegated && !(host.systemd && host.rootless)
}

fn limits(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 50},
    }));
    container.up().expect(&[
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        // The OCI's swap is memory and swap together, the kernel's is swap alone.
        ("memory.swap.max", "33554432"),
        ("cpu.weight", "20"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "50"),
    ]);
    container.down();
}

fn no_limits_touch_nothing(host: &Host) {
    let container = Container::sleeping(host);
    let group = container.up();
    let pids = group.read("pids.max");
    // systemd gives every unit a number of its own.
    assert!(host.systemd || pids == "max", "pids.max is {pids}");
    group.expect(&[
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("cpu.max", "max 100000"),
        ("cpuset.cpus", ""),
    ]);
    container.down();
}

fn unlimited_words(host: &Host) {
    let mut container = Container::sleeping(host);
    container
        .limit(json!({"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}));
    container.up().expect(&[
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("cpu.max", "max 100000"),
        ("pids.max", "max"),
    ]);
    container.down();
}

fn unified(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"unified": {
        "memory.max": "83886080", "memory.high": "50331648", "memory.min": "4194304", "cpu.weight": "77",
        "cpu.max": "30000 100000", "pids.max": "77", "cpuset.cpus": "0-1", "memory.oom.group": "1",
    }}));
    container.up().expect(&[
        ("memory.max", "83886080"),
        ("memory.high", "50331648"),
        ("memory.min", "4194304"),
        ("cpu.weight", "77"),
        ("cpu.max", "30000 100000"),
        ("pids.max", "77"),
        ("cpuset.cpus", "0-1"),
        ("memory.oom.group", "1"),
    ]);
    container.down();
}

fn unknown_unified_file(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"unified": {"memory.nonsense": "1"}}));
    container.bundle.run_detached().fails_saying(&["memory.nonsense"]);
    container.bundle.delete_force();
    container.bundle.assert_clean();
    container.limit(json!({"unified": {"../escape": "1"}}));
    assert!(!container.bundle.run_detached().success(), "a path as a unified key is accepted");
}

fn huge_pages(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}));
    container.up().expect(&[("hugetlb.2MB.max", "4194304")]);
    container.down();
}

fn io_throttle(host: &Host) {
    let (major, minor) = disk();
    let mut container = Container::sleeping(host);
    let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    container.limit(json!({"blockIO": {
        "throttleReadBpsDevice": device(1 << 20), "throttleWriteIOPSDevice": device(300),
    }}));
    let line = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=300");
    container.up().expect(&[("io.max", &line)]);
    container.down();
}

fn io_weight(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"blockIO": {"weight": 500}}));
    let group = container.up();
    let weight = group.read("io.bfq.weight");
    assert_eq!(weight.lines().next().map(|line| line.trim_start_matches("default ")), Some("500"));
    container.down();
}

fn disk() -> (u64, u64) {
    let text = std::fs::read_to_string("/sys/block/nvme0n1/dev").expect("read the disk's number");
    let (major, minor) = text.trim().split_once(':').expect("major:minor");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

fn update(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}));
    let group = container.up();
    let id = container.bundle.id();
    let update = |flags: &[&str]| container.bundle.command(["update"]).args(flags).arg(id).run().ok();
    update(&["--memory", "33554432", "--memory-swap", "33554432"]);
    group.expect(&[("memory.max", "33554432"), ("memory.swap.max", "0"), ("pids.max", "50")]);
    update(&["--memory", "100663296", "--memory-swap", "-1"]);
    group.expect(&[("memory.max", "100663296"), ("memory.swap.max", "max")]);
    update(&["--pids-limit", "20", "--cpu-share", "2048", "--cpu-quota", "25000", "--cpu-period", "50000"]);
    group.expect(&[("pids.max", "20"), ("cpu.weight", "79"), ("cpu.max", "25000 50000")]);
    update(&["--cpuset-cpus", "1", "--memory-reservation", "16777216"]);
    group.expect(&[("cpuset.cpus", "1"), ("memory.low", "16777216"), ("pids.max", "20")]);
    update(&["--cpu-quota", "-1"]);
    assert!(group.read("cpu.max").starts_with("max "), "cpu.max is {}", group.read("cpu.max"));
    container.down();
}

fn update_from_file(host: &Host) {
    let container = Container::sleeping(host);
    let group = container.up();
    let wish = json!({"memory": {"limit": 50_331_648}, "pids": {"limit": 33}});
    let update = container.bundle.command(["update", "-r", "-", container.bundle.id()]);
    update.stdin(wish.to_string().as_bytes()).run().ok();
    group.expect(&[("memory.max", "50331648"), ("pids.max", "33")]);
    container.down();
}

fn pids_limit_holds(host: &Host) {
    let mut container = Container::sh(host, "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait");
    container.limit(json!({"pids": {"limit": 4}}));
    let output = container.bundle.run();
    assert!(output.stderr().contains("fork"), "nine processes fit into four: {output}");
    container.bundle.assert_clean();
}

fn stats(host: &Host) {
    let mut container =
        Container::sh(host, "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; exec sleep 1000");
    container.limit(json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}));
    let group: Group = container.up();
    casemate_tests::wait_until("it has used the processor", || group.entry("cpu.stat", "usage_usec") > 0);
    let id = container.bundle.id();
    let stats = container.bundle.command(["events", "--stats", id]).run().ok().json();
    let number = |path: &str| {
        stats.pointer(path).and_then(|v| v.as_u64()).unwrap_or_else(|| panic!("{path}: {stats}"))
    };
    assert_eq!((stats["type"].as_str(), stats["id"].as_str()), (Some("stats"), Some(id)));
    assert_eq!(number("/data/memory/usage/limit"), 64 << 20);
    assert!(number("/data/memory/usage/usage") > 0);
    assert!(number("/data/cpu/usage/total") > 0);
    assert_eq!(number("/data/pids/limit"), 50);
    assert!(number("/data/pids/current") >= 1);
    container.down();
}

fn bad_limit_leaves_nothing(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"cpu": {"cpus": "77"}}));
    assert!(!container.bundle.run_detached().success(), "a processor that is not there is accepted");
    container.bundle.delete_force();
    container.bundle.assert_clean();
}
