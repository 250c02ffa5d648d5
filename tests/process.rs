//! What `process` in the configuration makes of the container's first process, seen from inside.

use std::collections::BTreeMap;
use std::fs;

use casemate_tests::{Bundle, Runtime, Value, each, json, ours, skip};

/// The fields of `/proc/self/status` of a program run in the container.
fn status(bundle: &Bundle) -> BTreeMap<String, String> {
    let text = bundle.run().ok().stdout();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn cat(rt: &Runtime, file: &str) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/cat", file]);
    bundle
}

fn process(bundle: &mut Bundle, field: &str, value: Value) {
    bundle.edit(|c| c["process"][field] = value);
}

#[test]
fn user_and_groups() {
    each(|rt| {
        let mut bundle = cat(rt, "/proc/self/status");
        process(&mut bundle, "user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7, 2000000000]}));
        let status = status(&bundle);
        assert_eq!(status["Uid"], "1000 1000 1000 1000");
        assert_eq!(status["Gid"], "1001 1001 1001 1001");
        assert_eq!(status["Groups"], "5 7 2000000000");
    });
}

#[test]
fn no_group_of_the_caller_reaches_the_container() {
    each(|rt| {
        let bundle = cat(rt, "/proc/self/status");
        let call = bundle.command(["run", bundle.id()]).via(["setpriv", "--groups", "11,12"]);
        let output = call.run().ok();
        let groups = output.stdout().lines().find_map(|line| line.strip_prefix("Groups:").map(str::to_owned));
        assert_eq!(groups.unwrap_or_default().trim(), "", "{output}");
    });
}

#[test]
fn umask() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "umask");
        assert_eq!(bundle.run().ok().text(), "0022", "when none is given");
        process(&mut bundle, "user", json!({"uid": 0, "gid": 0, "umask": 0o27}));
        assert_eq!(bundle.run().ok().text(), "0027");
    });
}

#[test]
fn arguments_and_environment_arrive_unchanged() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.args(&[
            "/bin/printf",
            "[%s]",
            "",
            " a b ",
            "\"quoted\"",
            "new\nline",
            "ünïcode",
            "$PATH",
            "*",
        ]);
        assert_eq!(bundle.run().ok().stdout(), "[][ a b ][\"quoted\"][new\nline][ünïcode][$PATH][*]");
        bundle.args(&["/bin/env"]);
        process(&mut bundle, "env", json!(["PATH=/bin", "EMPTY=", "EQUALS=a=b", "SPACE= x ", "LINE=1"]));
        let env = bundle.run().ok().stdout();
        let mut lines: Vec<_> = env.lines().filter(|l| !l.starts_with("HOME=")).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["EMPTY=", "EQUALS=a=b", "LINE=1", "PATH=/bin", "SPACE= x "]);
    });
}

#[test]
fn nothing_of_the_callers_environment_leaks() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.args(&["/bin/env"]);
        let output = bundle.command(["run", bundle.id()]).env("SECRET", "value").run().ok();
        assert!(!output.stdout().contains("SECRET"), "{output}");
    });
}

#[test]
fn home_is_set_from_passwd_unless_given() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "echo $HOME");
        assert_eq!(bundle.run().ok().text(), "/root");
        process(&mut bundle, "user", json!({"uid": 1000, "gid": 1000}));
        assert_eq!(bundle.run().ok().text(), "/home/user");
        process(&mut bundle, "env", json!(["PATH=/bin", "HOME=/elsewhere"]));
        assert_eq!(bundle.run().ok().text(), "/elsewhere");
        process(&mut bundle, "env", json!(["PATH=/bin"]));
        process(&mut bundle, "user", json!({"uid": 4242, "gid": 1000}));
        assert_eq!(bundle.run().ok().text(), "/", "for a user who is not in passwd");
    });
}

#[test]
fn programs_are_found_in_the_containers_path() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        fs::create_dir(bundle.rootfs().join("tools")).unwrap();
        fs::copy("/bin/busybox", bundle.rootfs().join("tools/echo")).unwrap();
        bundle.args(&["echo", "found"]);
        process(&mut bundle, "env", json!(["PATH=/nowhere:/tools"]));
        assert_eq!(bundle.run().ok().text(), "found");
    });
}

#[test]
fn working_directory() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "pwd");
        process(&mut bundle, "cwd", json!("/home/user"));
        assert_eq!(bundle.run().ok().text(), "/home/user");
        // runc makes a missing one; engines rely on it for WORKDIR.
        process(&mut bundle, "cwd", json!("/made/on/demand"));
        assert_eq!(bundle.run().ok().text(), "/made/on/demand");
        process(&mut bundle, "cwd", json!("relative"));
        let output = bundle.run().fails_with(1);
        assert!(output.stderr().to_lowercase().contains("cwd"), "{output}");
        bundle.assert_clean();
    });
}

#[test]
fn a_working_directory_only_the_user_may_enter() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "pwd");
        let home = bundle.rootfs().join("home/user");
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&home, Some(1000), Some(1000)).unwrap();
        process(&mut bundle, "cwd", json!("/home/user"));
        process(&mut bundle, "user", json!({"uid": 1000, "gid": 1000}));
        assert_eq!(bundle.run().ok().text(), "/home/user");
    });
}

/// CHOWN is bit 0, KILL 5, NET_BIND_SERVICE 10, SYS_ADMIN 21.
#[test]
fn the_five_capability_sets() {
    each(|rt| {
        let mut bundle = cat(rt, "/proc/self/status");
        let sets = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        });
        process(&mut bundle, "capabilities", sets);
        process(&mut bundle, "user", json!({"uid": 1000, "gid": 1000}));
        let status = status(&bundle);
        // After execve of a plain file by a user without root's rights: only what is ambient stays.
        assert_eq!(status["CapBnd"], format!("{:016x}", 1 | 1 << 5 | 1 << 10));
        assert_eq!(status["CapInh"], format!("{:016x}", 1 << 5 | 1 << 10));
        assert_eq!(status["CapAmb"], format!("{:016x}", 1 << 10));
        assert_eq!(status["CapPrm"], format!("{:016x}", 1 << 10));
        assert_eq!(status["CapEff"], format!("{:016x}", 1 << 10));
    });
}

#[test]
fn root_gets_the_bounding_set_and_no_more() {
    each(|rt| {
        let mut bundle = cat(rt, "/proc/self/status");
        bundle.capabilities(&["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        let with = status(&bundle);
        let expected = format!("{:016x}", 1 | 1 << 21);
        assert_eq!([&with["CapBnd"], &with["CapPrm"], &with["CapEff"]], [&expected; 3]);
        assert_eq!(with["CapInh"], "0000000000000000");
        bundle.edit(|c| c["process"]["capabilities"] = json!({}));
        let without = status(&bundle);
        for set in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(without[set], "0000000000000000", "{set}");
        }
    });
}

#[test]
fn no_new_privileges() {
    each(|rt| {
        let mut bundle = cat(rt, "/proc/self/status");
        assert_eq!(status(&bundle)["NoNewPrivs"], "1");
        process(&mut bundle, "noNewPrivileges", json!(false));
        assert_eq!(status(&bundle)["NoNewPrivs"], "0");
    });
}

#[test]
fn resource_limits() {
    each(|rt| {
        let mut bundle = cat(rt, "/proc/self/limits");
        let limits = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_NPROC", "soft": 3000, "hard": 4000},
            {"type": "RLIMIT_AS", "soft": 1u64 << 40, "hard": u64::MAX},
        ]);
        process(&mut bundle, "rlimits", limits);
        let text = bundle.run().ok().stdout();
        let row = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
            line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("Max open files"), ["100", "200"]);
        assert_eq!(row("Max core file size"), ["0", "0"]);
        assert_eq!(row("Max processes"), ["3000", "4000"]);
        assert_eq!(row("Max address space"), [(1u64 << 40).to_string().as_str(), "unlimited"]);
    });
}

#[test]
fn a_bad_resource_limit_is_refused() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        process(&mut bundle, "rlimits", json!([{"type": "RLIMIT_BOGUS", "soft": 1, "hard": 1}]));
        bundle.run().fails_with(1).fails_saying(&["RLIMIT_BOGUS"]);
        bundle.assert_clean();
    });
}

#[test]
fn oom_score_adjustment() {
    each(|rt| {
        let mut bundle = cat(rt, "/proc/self/oom_score_adj");
        process(&mut bundle, "oomScoreAdj", json!(77));
        assert_eq!(bundle.run().ok().text(), "77");
        // Lowering it is a privilege of its own (CAP_SYS_RESOURCE), which the host may not grant.
        process(&mut bundle, "oomScoreAdj", json!(-500));
        let output = bundle.run();
        match output.success() {
            true => assert_eq!(output.text(), "-500"),
            false => drop(output.fails_saying(&[if rt.is_ours() {
                "process.oomScoreAdj"
            } else {
                "oom_score_adj"
            }])),
        }
    });
}

#[test]
fn without_an_oom_score_the_callers_is_kept() {
    each(|rt| {
        let bundle = cat(rt, "/proc/self/oom_score_adj");
        let mine = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(bundle.run().ok().text(), mine.trim());
    });
}

/// 1.1 of the specification and later; the reference here is older.
fn ours_with(script: &str, change: impl Fn(&mut Bundle)) -> Bundle {
    let mut bundle = Bundle::sh(&ours(), script);
    change(&mut bundle);
    bundle
}

#[test]
fn scheduler_policies() {
    for (policy, extra, expected) in [
        ("SCHED_BATCH", json!({"nice": 5}), "3 5"),
        ("SCHED_IDLE", json!({}), "5 0"),
        ("SCHED_FIFO", json!({"priority": 7}), "1 0"),
        ("SCHED_RR", json!({"priority": 8, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}), "2 0"),
        ("SCHED_OTHER", json!({"nice": 3}), "0 3"),
    ] {
        // Fields 41 and 19 of stat(5): the policy and nice, of the shell itself.
        let script = "set -- $(cat /proc/$$/stat); shift 18; nice=$1; shift 22; echo $1 $nice";
        let bundle = ours_with(script, |bundle| {
            let mut scheduler = extra.clone();
            scheduler["policy"] = json!(policy);
            process(bundle, "scheduler", scheduler);
        });
        let output = bundle.run();
        if policy.ends_with("FIFO") || policy.ends_with("RR") {
            // A v1 cpu control group without a realtime budget refuses these; then the error has to say so.
            if !output.success() {
                assert!(output.stderr().contains("schedul"), "{output}");
                continue;
            }
        }
        assert_eq!(output.ok().text(), expected, "{policy}");
    }
}

#[test]
fn io_priority() {
    for (class, priority, expected) in [
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
    ] {
        let bundle = ours_with("ionice -p $$", |bundle| {
            process(bundle, "ioPriority", json!({"class": class, "priority": priority}));
        });
        let output = bundle.run();
        assert!(output.stdout().contains(expected), "{class}: {output}");
    }
}

#[test]
fn personality() {
    let with = |domain: &str| {
        ours_with("cat /proc/self/personality; uname -m", |bundle| {
            bundle.edit(|c| c["linux"]["personality"] = json!({"domain": domain}));
        })
    };
    // PER_LINUX32 is 8, and shows a 32-bit machine.
    let linux32 = with("LINUX32").run().ok().text();
    assert!(linux32.starts_with("00000008\n") && !linux32.ends_with("x86_64"), "{linux32}");
    assert!(with("LINUX").run().ok().text().starts_with("00000000\n"));
    let solaris = with("SOLARIS");
    solaris.run().fails_with(1).fails_saying(&["SOLARIS"]);
}

#[test]
fn cpu_affinity_of_exec() {
    let mut bundle = Bundle::new(&ours());
    bundle.args(&["/bin/sleep", "1000"]);
    process(&mut bundle, "execCPUAffinity", json!({"initial": "0", "final": "1"}));
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return skip("one processor only");
    }
    bundle.run_detached().ok();
    let status = bundle.exec(&["/bin/cat", "/proc/self/status"]).ok().stdout();
    assert!(status.contains("Cpus_allowed_list:\t1\n"), "{status}");
}

#[test]
fn memory_policy() {
    let bundle = ours_with("cat /proc/self/numa_maps", |bundle| {
        bundle.edit(|c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"}));
    });
    let output = bundle.run();
    if !fs::exists("/proc/self/numa_maps").unwrap() {
        output.fails_saying(&["memoryPolicy"]);
        return;
    }
    let output = output.ok();
    assert!(output.stdout().contains(" bind:0 "), "{output}");
}

#[test]
fn a_session_keyring_of_its_own_unless_refused() {
    each(|rt| {
        if !fs::exists("/proc/keys").unwrap() {
            return skip("the kernel shows no keys");
        }
        let bundle = cat(rt, "/proc/keys");
        let output = bundle.run().ok();
        assert!(output.stdout().contains(&format!("_ses.{}", bundle.id())), "{output}");
        // A fresh id: the kernel forgets an unused keyring only after a while.
        let bundle = cat(rt, "/proc/keys");
        let output = bundle.command(["run", "--no-new-keyring", bundle.id()]).run().ok();
        assert!(!output.stdout().contains(bundle.id()), "{output}");
    });
}

#[test]
fn security_modules_that_are_off_are_an_error() {
    if fs::read_to_string("/sys/kernel/security/lsm")
        .is_ok_and(|l| l.contains("apparmor") || l.contains("selinux"))
    {
        return skip("a security module is on");
    }
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        process(&mut bundle, "apparmorProfile", json!("some-profile"));
        bundle.run().fails_with(1).fails_saying(&["pparmor"]);
        bundle.assert_clean();
        let mut bundle = Bundle::new(rt);
        process(&mut bundle, "selinuxLabel", json!("system_u:system_r:container_t:s0"));
        bundle.run().fails_with(1).fails_saying(&["elinux"]);
        bundle.assert_clean();
    });
}
