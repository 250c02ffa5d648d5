//! Namespaces: all eight kinds, new, joined by path or shared; user mappings; time offsets.

use std::fs;

use casemate_tests::{Bundle, Runtime, Value, each, json, ours};

const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("network", "net"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn link(pid: &str, file: &str) -> String {
    let path = format!("/proc/{pid}/ns/{file}");
    fs::read_link(&path).unwrap_or_else(|e| panic!("{path}: {e}")).to_string_lossy().into_owned()
}

fn sleeper(rt: &Runtime) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/sleep", "1000"]);
    bundle
}

fn map(bundle: &mut Bundle, host: u32) {
    let mapping = json!([{"containerID": 0, "hostID": host, "size": 65536}]);
    bundle.namespace("user", None);
    bundle.edit(|c| {
        c["linux"]["uidMappings"] = mapping.clone();
        c["linux"]["gidMappings"] = mapping;
    });
    bundle.hand_over(host, host);
}

/// runc 1.1 knows no time namespace.
fn knows(rt: &Runtime, kind: &str) -> bool {
    rt.is_ours() || kind != "time"
}

#[test]
fn new_namespaces_differ_and_absent_ones_are_the_callers() {
    each(|rt| {
        for (kind, file) in KINDS.into_iter().filter(|(kind, _)| knows(rt, kind)) {
            let mut bundle = sleeper(rt);
            match kind {
                "user" => map(&mut bundle, 100_000),
                _ => {
                    bundle.namespace(kind, None);
                }
            }
            bundle.run_detached().ok();
            assert_ne!(link(&bundle.pid().to_string(), file), link("self", file), "{kind}");
            bundle.delete_force().ok();
            if kind == "mount" || kind == "user" {
                continue;
            }
            bundle.without_namespace(kind);
            if kind == "uts" {
                bundle.edit(|c| drop(c.as_object_mut().unwrap().remove("hostname")));
            }
            bundle.run_detached().ok();
            assert_eq!(link(&bundle.pid().to_string(), file), link("self", file), "{kind}");
        }
    });
}

#[test]
fn namespaces_are_joined_by_path() {
    each(|rt| {
        let mut first = sleeper(rt);
        for kind in ["cgroup", "time"].into_iter().filter(|kind| knows(rt, kind)) {
            first.namespace(kind, None);
        }
        first.run_detached().ok();
        let pid = first.pid().to_string();
        let mut second = sleeper(rt);
        let kinds = ["pid", "ipc", "uts", "network", "cgroup", "time"];
        let kinds = kinds.into_iter().filter(|kind| knows(rt, kind));
        let files: Vec<_> = kinds.map(|kind| KINDS.into_iter().find(|(k, _)| *k == kind).unwrap()).collect();
        for (kind, file) in &files {
            second.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
        }
        second.edit(|c| drop(c.as_object_mut().unwrap().remove("hostname")));
        second.run_detached().ok();
        let other = second.pid().to_string();
        for (kind, file) in files {
            assert_eq!(link(&pid, file), link(&other, file), "{kind}");
        }
        assert_ne!(link(&pid, "mnt"), link(&other, "mnt"));
        let inside = second.exec(&["cat", "/proc/1/cmdline"]).ok().stdout();
        assert_eq!(
            inside, "/bin/sleep\x001000\0",
            "init of the shared pid namespace is the first container's"
        );
    });
}

#[test]
fn a_user_namespace_is_joined_with_those_it_owns() {
    each(|rt| {
        let mut first = sleeper(rt);
        map(&mut first, 100_000);
        first.run_detached().ok();
        let pid = first.pid().to_string();
        let mut second = Bundle::sh(rt, "id -u; id -g; sleep 1000");
        // runc wants the mappings even of a user namespace that is joined.
        map(&mut second, 100_000);
        for (kind, file) in [("user", "user"), ("network", "net"), ("ipc", "ipc")] {
            second.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
        }
        let output = second.run_detached().ok();
        assert_eq!(link(&pid, "user"), link(&second.pid().to_string(), "user"));
        casemate_tests::wait_until("it prints", || output.stdout().lines().count() == 2);
        assert_eq!(output.text(), "0\n0");
        let uid = fs::read_to_string(format!("/proc/{}/status", second.pid())).unwrap();
        assert!(uid.contains("Uid:\t100000\t100000"), "{uid}");
    });
}

#[test]
fn a_path_that_is_no_such_namespace_is_refused() {
    each(|rt| {
        for path in ["/proc/self/ns/uts", "/etc/hostname", "/nonexistent"] {
            let mut bundle = Bundle::new(rt);
            bundle.namespace("network", Some(path));
            bundle.run().fails_with(1);
            bundle.assert_clean();
        }
    });
}

#[test]
fn user_mappings() {
    each(|rt| {
        let mut bundle =
            Bundle::sh(rt, "cat /proc/self/uid_map /proc/self/gid_map; touch /made; stat -c %u /made; id -u");
        map(&mut bundle, 100_000);
        bundle.edit(|c| {
            c["linux"]["gidMappings"] = json!([
                {"containerID": 0, "hostID": 100_000, "size": 10},
                {"containerID": 10, "hostID": 300_000, "size": 100},
            ]);
        });
        let output = bundle.run().ok();
        let said: Vec<_> =
            output.stdout().lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(said, ["0 100000 65536", "0 100000 10", "10 300000 100", "0", "0"]);
        let made = fs::metadata(bundle.rootfs().join("made")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000);
    });
}

#[test]
fn capabilities_in_a_user_namespace_are_of_that_namespace() {
    each(|rt| {
        let script = "mount -t tmpfs none /tmp && echo mounted; hostname changed && hostname; \
                      ip link set lo up && echo up; chroot / true && echo chrooted";
        let mut bundle = Bundle::sh(rt, script);
        map(&mut bundle, 100_000);
        bundle.capabilities(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT"]);
        assert_eq!(bundle.run().ok().text(), "mounted\nchanged\nup\nchrooted");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(bundle.id()));
    });
}

#[test]
fn exec_in_a_user_namespace() {
    each(|rt| {
        let mut bundle = sleeper(rt);
        map(&mut bundle, 100_000);
        bundle.run_detached().ok();
        let output =
            bundle.command(["exec", "--user", "5:6", bundle.id(), "sh", "-c", "id -u; id -g"]).run().ok();
        assert_eq!(output.text(), "5\n6");
        assert_eq!(bundle.exec(&["sh", "-c", "id -u; cat /proc/self/setgroups"]).ok().text(), "0\nallow");
    });
}

#[test]
fn mappings_are_checked() {
    each(|rt| {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut bundle = Bundle::new(rt);
            map(&mut bundle, 100_000);
            bundle.edit(change);
            bundle.run().fails_with(1);
            bundle.assert_clean();
        };
        refused(&|c| {
            c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 10},
                                              {"containerID": 5, "hostID": 100, "size": 10}]);
        });
        refused(&|c| c["process"]["user"]["uid"] = json!(70_000));
    });
}

#[test]
fn hostname_and_domainname() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "hostname; cat /proc/sys/kernel/domainname");
        bundle.edit(|c| c["hostname"] = json!("a-name.example"));
        assert!(bundle.run().ok().stdout().starts_with("a-name.example\n"));
        bundle.without_namespace("uts");
        bundle.run().fails_with(1).fails_saying(&["hostname", "UTS namespace"]);
        bundle.assert_clean();
        assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "a-name.example");
    });
    let mut bundle = Bundle::sh(&ours(), "cat /proc/sys/kernel/domainname");
    bundle.edit(|c| c["domainname"] = json!("domain.example"));
    assert_eq!(bundle.run().ok().text(), "domain.example");
}

#[test]
fn time_offsets() {
    let mut bundle = Bundle::sh(&ours(), "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime");
    bundle.namespace("time", None);
    bundle.edit(|c| {
        c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 5},
                                           "monotonic": {"secs": 172_800, "nanosecs": 0}});
    });
    let output = bundle.run().ok();
    let said: Vec<_> =
        output.stdout().lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(said.contains(&"monotonic 172800 0".to_owned()), "{output}");
    assert!(said.contains(&"boottime 1000000 5".to_owned()), "{output}");
    assert!(said.last().unwrap().parse::<u64>().unwrap() >= 1_000_000, "{output}");
    bundle.without_namespace("time");
    bundle.run().fails_with(1).fails_saying(&["timeOffsets"]);
    bundle.assert_clean();
}

#[test]
fn a_namespace_may_be_named_once_only() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.edit(|c| c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"})));
        bundle.run().fails_with(1);
        bundle.edit(|c| c["linux"]["namespaces"].as_array_mut().unwrap()[5] = json!({"type": "nonsense"}));
        bundle.run().fails_with(1);
        bundle.assert_clean();
    });
}

#[test]
fn loopback_is_up_in_a_new_network_namespace() {
    each(|rt| {
        let bundle =
            Bundle::sh(rt, "cat /sys/class/net/lo/flags 2>/dev/null; ip addr show lo; ls /proc/net | wc -l");
        let output = bundle.run().ok();
        assert!(output.stdout().contains("127.0.0.1"), "{output}");
    });
}

#[test]
fn init_of_a_pid_namespace_takes_the_others_with_it() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "sleep 1000 & setsid sleep 1000 & echo $$; exit 0");
        assert_eq!(bundle.run().ok().text(), "1");
        bundle.assert_clean();
    });
}

/// runc would make the container's mounts on the host.
#[test]
fn without_a_mount_namespace_nothing_runs() {
    let mut bundle = Bundle::new(&ours());
    bundle.without_namespace("mount");
    bundle.run().fails_with(1).fails_saying(&["mount namespace"]);
    bundle.assert_clean();
}

/// `netDevices` moves a device of the caller's network namespace, which is a private one here, with its addresses.
#[test]
fn network_devices_move_in() {
    let make = "ip link add v0 type veth peer name v1 && ip addr add 192.0.2.9/24 dev v0 && \
                ip link set v0 up && ip link set v1 up || exit 99; exec \"$@\"";
    let mut bundle = Bundle::sh(&ours(), "ip addr show dev inside; ip addr show dev v0");
    let run = |bundle: &Bundle| {
        bundle.command(["run", bundle.id()]).via(["unshare", "-n", "sh", "-c", make, "sh"]).run()
    };
    bundle.edit(|c| c["linux"]["netDevices"] = json!({"v0": {"name": "inside"}}));
    let output = run(&bundle);
    if output.code() == 99 {
        return casemate_tests::skip("no veth devices, or no ip(8)");
    }
    let said = output.stdout();
    assert!(said.contains("192.0.2.9/24") && said.contains(",UP") && !said.contains(": v0"), "{output}");
    bundle.edit(|c| c["linux"]["netDevices"] = json!({"v1": {}}));
    bundle.args(&["/bin/ip", "link", "show", "dev", "v1"]);
    assert!(run(&bundle).ok().stdout().contains("v1"));
    bundle.edit(|c| c["linux"]["netDevices"] = json!({"absent0": {}}));
    run(&bundle).fails_with(1).fails_saying(&["absent0"]);
    // Without a network namespace of its own there is nowhere to move to.
    bundle.without_namespace("network");
    run(&bundle).fails_with(1);
    bundle.assert_clean();
}
