//! Control groups: limits at creation, `update`, `events`, and the death by memory.

use std::fs;

use casemate_tests::{Bundle, Cgroups, Runtime, Value, each, json, ours, skip, wait_until};

const MIB: u64 = 1 << 20;

fn sleeper(rt: &Runtime, resources: Value) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.edit(|c| c["linux"]["resources"] = resources);
    bundle.run_detached().ok();
    bundle
}

/// One setting under its v1 and its v2 name.
fn read(cgroups: &Cgroups, controller: &str, v1: &str, v2: &str) -> String {
    cgroups.read(controller, if cgroups.is_v1(controller) { v1 } else { v2 })
}

#[test]
fn limits_are_set() {
    each(|rt| {
        let bundle = sleeper(
            rt,
            json!({
                "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 128 * MIB},
                "cpu": {"shares": 512, "quota": 25000, "period": 50000, "cpus": "0", "mems": "0"},
                "pids": {"limit": 17},
            }),
        );
        let groups = bundle.cgroups();
        assert_eq!(read(&groups, "memory", "memory.limit_in_bytes", "memory.max"), (64 * MIB).to_string());
        assert_eq!(
            read(&groups, "memory", "memory.soft_limit_in_bytes", "memory.low"),
            (32 * MIB).to_string()
        );
        assert_eq!(read(&groups, "pids", "pids.max", "pids.max"), "17");
        assert_eq!(read(&groups, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
        assert_eq!(read(&groups, "cpuset", "cpuset.mems", "cpuset.mems"), "0");
        if groups.is_v1("cpu") {
            assert_eq!(groups.read("cpu", "cpu.shares"), "512");
            assert_eq!(groups.read("cpu", "cpu.cfs_quota_us"), "25000");
            assert_eq!(groups.read("cpu", "cpu.cfs_period_us"), "50000");
        } else {
            assert_eq!(groups.read("cpu", "cpu.max"), "25000 50000");
        }
    });
}

#[test]
fn the_process_and_its_children_are_in_the_group() {
    each(|rt| {
        let bundle = sleeper(rt, json!({}));
        let pid = bundle.pid().to_string();
        for dir in bundle.cgroups().all() {
            if dir.parent().is_some_and(|p| p.ends_with("cgroup")) {
                // A hierarchy in which the runtime made no group.
                continue;
            }
            let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
            assert!(inside.lines().any(|line| line == pid), "{}", dir.display());
        }
        assert!(bundle.cgroups().dir("memory").unwrap().to_str().unwrap().contains(bundle.id()));
    });
}

#[test]
fn the_number_of_processes_is_limited() {
    each(|rt| {
        let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all";
        let mut bundle = Bundle::sh(rt, script);
        bundle.edit(|c| c["linux"]["resources"] = json!({"pids": {"limit": 6}}));
        let output = bundle.run();
        assert!(!output.stdout().contains("all") && output.stderr().contains("fork"), "{output}");
        bundle.edit(|c| c["linux"]["resources"] = json!({"pids": {"limit": 60}}));
        assert_eq!(bundle.run().ok().text(), "all");
    });
}

#[test]
fn the_named_path_is_used() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.args(&["/bin/sleep", "1000"]);
        let path = format!("/{}-parent/child", bundle.id());
        bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
        bundle.run_detached().ok();
        let dir = bundle.cgroups().dir("pids").unwrap();
        assert!(dir.ends_with(path.trim_start_matches('/')), "{}", dir.display());
        bundle.delete_force().ok();
        assert!(!dir.exists());
        // The parent belongs to whoever named it; engines make and remove it.
        for hierarchy in casemate_tests::Hierarchy::all() {
            fs::remove_dir(hierarchy.mount.join(path.trim_start_matches('/')).parent().unwrap()).ok();
        }
        bundle.assert_clean();
    });
}

#[test]
fn a_path_that_climbs_stays_inside() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.args(&["/bin/sleep", "1000"]);
        let path = format!("/../../../../{}", bundle.id());
        bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
        if bundle.run_detached().success() {
            let dir = bundle.cgroups().dir("pids").unwrap();
            assert!(dir.starts_with("/sys/fs/cgroup"), "{}", dir.display());
        }
        bundle.delete_force();
        bundle.assert_clean();
    });
}

#[test]
fn update_changes_the_limits() {
    each(|rt| {
        let bundle = sleeper(rt, json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}));
        let groups = bundle.cgroups();
        let update = |args: &[&str]| bundle.command(["update"]).args(args).arg(bundle.id()).run().ok();
        let memory = || read(&groups, "memory", "memory.limit_in_bytes", "memory.max");
        update(&["--memory", "50331648"]);
        assert_eq!(memory(), (48 * MIB).to_string());
        update(&["--memory", "96M", "--memory-swap", "192M"]);
        assert_eq!(memory(), (96 * MIB).to_string());
        update(&["--memory", "1073741824", "--memory-swap", "-1"]);
        assert_eq!(memory(), (1024 * MIB).to_string());
        update(&["--memory-reservation", "33554432"]);
        assert_eq!(
            read(&groups, "memory", "memory.soft_limit_in_bytes", "memory.low"),
            (32 * MIB).to_string()
        );
        update(&["--pids-limit", "33"]);
        assert_eq!(groups.read("pids", "pids.max"), "33");
        update(&["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
        assert_eq!(groups.read("cpuset", "cpuset.cpus"), "0");
        update(&["--cpu-quota", "30000", "--cpu-period", "60000", "--cpu-share", "256"]);
        if groups.is_v1("cpu") {
            assert_eq!(groups.read("cpu", "cpu.cfs_quota_us"), "30000");
            assert_eq!(groups.read("cpu", "cpu.shares"), "256");
        } else {
            assert_eq!(groups.read("cpu", "cpu.max"), "30000 60000");
        }
        assert_eq!(groups.read("pids", "pids.max"), "33", "what was not named is kept");
    });
}

#[test]
fn update_reads_resources_from_a_file_or_its_input() {
    each(|rt| {
        let bundle = sleeper(rt, json!({}));
        let groups = bundle.cgroups();
        let file = bundle.file("resources.json", json!({"pids": {"limit": 41}}).to_string());
        bundle.command(["update", "--resources", file.to_str().unwrap(), bundle.id()]).run().ok();
        assert_eq!(groups.read("pids", "pids.max"), "41");
        let resources = json!({"memory": {"limit": 80 * MIB}, "cpu": {"shares": 300}}).to_string();
        bundle.command(["update", "-r", "-", bundle.id()]).stdin(resources.as_bytes()).run().ok();
        let memory = read(&groups, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(memory, (80 * MIB).to_string());
        bundle.command(["update", "-r", "-", bundle.id()]).stdin(b"{\"memory\": ").run().fails_with(1);
        bundle.command(["update", "--memory", "lots", bundle.id()]).run().fails_with(1);
    });
}

#[test]
fn a_limit_below_the_use_is_refused_and_changes_nothing() {
    each(|rt| {
        let bundle = sleeper(rt, json!({"memory": {"limit": 64 * MIB}}));
        bundle.command(["update", "--cpuset-cpus", "4000", bundle.id()]).run().fails_with(1);
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn statistics() {
    each(|rt| {
        let bundle = sleeper(rt, json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}));
        let event = bundle.command(["events", "--stats", bundle.id()]).run().ok().json();
        assert_eq!(event["type"], "stats");
        assert_eq!(event["id"], bundle.id());
        let data = &event["data"];
        assert_eq!(data["pids"]["current"], 1);
        assert_eq!(data["pids"]["limit"], 20);
        assert_eq!(data["memory"]["usage"]["limit"], 64 * MIB);
        assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0), "{event}");
        assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 0), "{event}");
        assert!(data["cpu"]["throttling"].is_object() && data["blkio"].is_object(), "{event}");
    });
}

#[test]
fn statistics_at_an_interval() {
    each(|rt| {
        let bundle = sleeper(rt, json!({}));
        let events = bundle.command(["events", "--interval", "100ms", bundle.id()]).spawn();
        wait_until("three lines", || events.stdout().lines().count() >= 3);
        let said = events.stdout();
        let event: Value = said.lines().next().unwrap().parse().expect("a line of JSON");
        assert_eq!(event["type"], "stats");
        // It ends with the container.
        bundle.delete_force().ok();
        events.wait().ok();
    });
}

#[test]
fn out_of_memory_kills_and_is_told() {
    each(|rt| {
        // Reading zeros into one line never ends, and never frees; the trigger file lets the listener be first.
        let script = "while ! test -e /go; do sleep 0.02; done; tr '\\0' x </dev/zero | sed s/y/z/; echo survived; sleep 1000";
        let mut bundle = Bundle::sh(rt, script);
        bundle.edit(|c| {
            c["linux"]["resources"] = json!({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}});
        });
        bundle.run_detached().ok();
        let events = bundle.command(["events", "--interval", "1h", bundle.id()]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(200));
        fs::write(bundle.rootfs().join("go"), "").unwrap();
        wait_until("the event", || events.stdout().contains("\"oom\""));
        let said = events.stdout();
        let event: Value =
            said.lines().find(|l| l.contains("\"oom\"")).unwrap().parse().expect("a line of JSON");
        assert_eq!(event["id"], bundle.id());
        bundle.delete_force().ok();
        events.wait();
    });
}

#[test]
fn huge_pages() {
    each(|rt| {
        let pages = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
        if !pages.into_iter().any(|e| e.file_name() == "hugepages-2048kB") {
            return skip("no huge pages of 2 MB");
        }
        let v1 =
            fs::read_to_string("/proc/self/cgroup").unwrap().lines().any(|line| line.contains(":hugetlb:"));
        if !v1 && !rt.is_ours() {
            // runc looks for a controller on the v1 side alone where there is one.
            return;
        }
        let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]});
        let bundle = sleeper(rt, limits);
        let groups = bundle.cgroups();
        assert_eq!(
            read(&groups, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"),
            (4 * MIB).to_string()
        );
    });
}

#[test]
fn io_weight_and_throttling() {
    each(|rt| {
        let Some(disk) = disk() else { return skip("no disk to limit") };
        let bundle = sleeper(
            rt,
            json!({
                "blockIO": {"throttleReadBpsDevice": [{"major": disk.0, "minor": disk.1, "rate": MIB}],
                            "throttleWriteIOPSDevice": [{"major": disk.0, "minor": disk.1, "rate": 100}]},
            }),
        );
        let groups = bundle.cgroups();
        if groups.is_v1("blkio") {
            let line = format!("{}:{} {}", disk.0, disk.1, MIB);
            assert_eq!(groups.read("blkio", "blkio.throttle.read_bps_device"), line);
            let line = format!("{}:{} 100", disk.0, disk.1);
            assert_eq!(groups.read("blkio", "blkio.throttle.write_iops_device"), line);
        } else {
            let line = groups.read("io", "io.max");
            assert!(line.contains("rbps=1048576") && line.contains("wiops=100"), "{line}");
        }
    });
}

/// The device number of a whole disk.
fn disk() -> Option<(u32, u32)> {
    let entries = fs::read_dir("/sys/block").ok()?.flatten();
    let disk = entries.map(|e| e.path()).find(|path| path.join("device").exists())?;
    let text = fs::read_to_string(disk.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn values_the_kernel_refuses_name_the_file() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.edit(|c| c["linux"]["resources"] = json!({"cpu": {"cpus": "4000"}}));
        bundle.run().fails_with(1).fails_saying(&["cpuset.cpus"]);
        bundle.assert_clean();
    });
}

/// Cache and bandwidth allocation needs hardware and a mounted resctrl; what is asked for is never silently dropped.
#[test]
fn cache_allocation_is_refused_with_a_reason() {
    let mut bundle = Bundle::new(&ours());
    bundle.edit(|c| c["linux"]["intelRdt"] = json!({"closID": "guests", "l3CacheSchema": "L3:0=f"}));
    bundle.run().fails_with(1).fails_saying(&["intelRdt"]);
    bundle.assert_clean();
}
