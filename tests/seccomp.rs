//! Seccomp: every action, errno values, argument comparisons, architectures, flags and the notify listener.

use std::fs;

use casemate_tests::{Bundle, Runtime, Value, each, install_probe, json, ours, probe, wait_until};

const ENOSYS: &str = "errno 38";

/// A container under a filter that allows all but what `rules` say.
fn filtered(rt: &Runtime, script: &str, rules: Value) -> Bundle {
    let mut bundle = Bundle::sh(rt, script);
    install_probe(&bundle);
    bundle.edit(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    bundle
}

#[test]
fn errno_with_and_without_a_value() {
    each(|rt| {
        let script = "/probe syscall 83 /tmp/a 511; /probe syscall 90 /tmp 511; /probe syscall 39";
        let rules = json!([
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO"},
        ]);
        let said = filtered(rt, script, rules).run().ok().stdout();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[..2], ["errno 99", "errno 1"], "EPERM when no value is given");
        assert!(lines[2].parse::<u32>().is_ok(), "{said}");
    });
}

#[test]
fn deadly_actions() {
    each(|rt| {
        for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
            // SIGSYS is 31; the probe has one thread.
            let script = "/probe syscall 83 /tmp/a 511; echo $?";
            let rules = json!([{"names": ["mkdir"], "action": action}]);
            let bundle = filtered(rt, script, rules);
            let output = bundle.run();
            assert_eq!(output.text().lines().last(), Some("159"), "{action}: {output}");
        }
    });
}

#[test]
fn trace_without_a_tracer_and_log() {
    each(|rt| {
        let script = "/probe syscall 83 /tmp/a 511; /probe syscall 90 /tmp 511";
        let rules = json!([
            {"names": ["mkdir"], "action": "SCMP_ACT_TRACE"},
            {"names": ["chmod"], "action": "SCMP_ACT_LOG"},
        ]);
        assert_eq!(filtered(rt, script, rules).run().ok().text(), format!("{ENOSYS}\n0"));
    });
}

#[test]
fn the_default_action_and_its_errno() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "/probe syscall 83 /tmp/a 511");
        install_probe(&bundle);
        let docker = include_str!("../profiles/docker-default.json");
        let _: Value = docker.parse().expect("the profile is JSON");
        bundle.edit(|c| {
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 77,
                "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": [
                    "execve", "brk", "arch_prctl", "exit_group", "exit", "write", "read", "mmap", "munmap", "mprotect",
                    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "set_tid_address", "set_robust_list", "rseq",
                    "prlimit64", "getrandom", "readlink", "readlinkat", "newfstatat", "fstat", "getpid", "getppid",
                    "getuid", "clone", "clone3", "fork", "vfork", "wait4", "futex", "close", "open", "openat", "fcntl",
                    "dup2", "ioctl", "getcwd", "stat", "uname", "poll", "prctl", "geteuid", "getgid", "getegid",
                    "sigaltstack", "writev", "lseek", "getdents64", "access", "statx", "capget", "capset", "setuid",
                    "setgid", "setgroups", "chdir", "fchdir", "epoll_ctl", "epoll_pwait", "epoll_create1", "eventfd2",
                    "nanosleep", "sched_getaffinity", "tgkill", "gettid", "getdents", "socket", "connect", "sendto",
                    "close_range", "fstatfs", "pipe2", "seccomp", "setresuid", "setresgid", "umask", "faccessat2",
                    "faccessat", "execveat", "recvfrom", "sendmsg", "recvmsg", "madvise", "mremap", "keyctl"]}],
            });
        });
        assert_eq!(bundle.run().ok().text(), "errno 77");
    });
}

#[test]
fn comparisons_of_arguments() {
    each(|rt| {
        for (op, value, two, matching, other) in [
            ("SCMP_CMP_EQ", 0o777, 0, 0o777, 0o776),
            ("SCMP_CMP_NE", 0o777, 0, 0o776, 0o777),
            ("SCMP_CMP_LT", 0o600, 0, 0o577, 0o600),
            ("SCMP_CMP_LE", 0o600, 0, 0o600, 0o601),
            ("SCMP_CMP_GE", 0o600, 0, 0o600, 0o577),
            ("SCMP_CMP_GT", 0o600, 0, 0o601, 0o600),
            ("SCMP_CMP_MASKED_EQ", 0o700, 0o500, 0o577, 0o477),
        ] {
            let script = format!("/probe syscall 90 /tmp {matching}; /probe syscall 90 /tmp {other}");
            let rules = json!([{
                "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 55,
                "args": [{"index": 1, "value": value, "valueTwo": two, "op": op}],
            }]);
            assert_eq!(filtered(rt, &script, rules).run().ok().text(), "errno 55\n0", "{op}");
        }
    });
}

#[test]
fn wide_arguments_are_compared_whole() {
    each(|rt| {
        // lseek(-1, offset, whence): the offset is 64 bits wide; EBADF (9) is the call's own answer.
        let script =
            "/probe syscall 8 -1 0x100000005 0; /probe syscall 8 -1 5 0; /probe syscall 8 -1 0x300000005 0";
        let rules = json!([{
            "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 55,
            "args": [{"index": 1, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_EQ"}],
        }]);
        assert_eq!(filtered(rt, script, rules).run().ok().text(), "errno 55\nerrno 9\nerrno 9");
    });
}

#[test]
fn several_conditions_and_several_rules() {
    each(|rt| {
        let call = |whence: u32, offset: u32| format!("/probe syscall 8 -1 {offset} {whence}; ");
        let script = [call(0, 1), call(0, 2), call(1, 1), call(2, 9)].concat();
        let rules = json!([
            {"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 51,
             "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 52,
             "args": [{"index": 2, "value": 2, "op": "SCMP_CMP_EQ"}]},
        ]);
        assert_eq!(filtered(rt, &script, rules).run().ok().text(), "errno 51\nerrno 9\nerrno 9\nerrno 52");
    });
}

/// The 32-bit entry and x32 reach the same kernel: a filter that does not speak of them must not let them through.
#[cfg(target_arch = "x86_64")]
#[test]
fn other_architectures() {
    each(|rt| {
        // 39 is mkdir to i386, 83 to x86_64; without arguments both answer EFAULT (14) when they are allowed.
        let script = "/probe i386 39; echo $?; /probe syscall 83 0; /probe syscall 0x40000053 0; echo $?";
        let run = |archs: Value| {
            let mut bundle = filtered(
                rt,
                script,
                json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 66}]),
            );
            bundle.edit(|c| c["linux"]["seccomp"]["architectures"] = archs);
            bundle.run().ok().stdout().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let all = run(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
        assert_eq!(all[..3], ["errno 66", "0", "errno 66"]);
        assert_eq!(all[3], "errno 66", "x32: {all:?}");
        let native = run(json!(["SCMP_ARCH_X86_64"]));
        assert_eq!(native[..2], ["159", "errno 66"], "a foreign architecture is killed: {native:?}");
        assert!(!native.contains(&"errno 14".to_owned()), "{native:?}");
    });
}

#[test]
fn the_filter_of_docker_lets_a_shell_live_and_keeps_the_rest_out() {
    each(|rt| {
        // unshare, mount, keyctl and a number no kernel has: the last is ENOSYS, so that libcs fall back.
        let script = "ls / >/dev/null && echo fine; /probe syscall 272 0x20000; /probe syscall 165; \
                      /probe syscall 250 0; /probe syscall 900; cat /proc/self/status | grep Seccomp:";
        let mut bundle = Bundle::sh(rt, script);
        install_probe(&bundle);
        bundle.edit(|c| c["linux"]["seccomp"] = docker_profile());
        let said = bundle.run().ok().stdout();
        let expected = ["fine", "errno 1", "errno 1", "errno 1", ENOSYS, "Seccomp:\t2"];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    });
}

/// Docker's default as an engine hands it over: rules for capabilities the container has not are left out.
fn docker_profile() -> Value {
    let profile: Value =
        include_str!("../profiles/docker-default.json").parse().expect("the profile is JSON");
    let rules = profile["syscalls"].as_array().expect("rules").iter();
    let kept = rules.filter(|rule| {
        let wants = |key: &str| rule["includes"][key].as_array().is_some_and(|list| !list.is_empty());
        let other_arch = rule["includes"]["arches"].as_array().is_some_and(|a| !a.contains(&json!("amd64")));
        !wants("caps") && !other_arch
    });
    let kept: Vec<Value> = kept
        .map(|rule| {
            let mut rule = rule.clone();
            for key in ["includes", "excludes", "comment", "name"] {
                rule.as_object_mut().expect("a rule").remove(key);
            }
            rule
        })
        .collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": kept,
    })
}

#[test]
fn without_no_new_privileges_too() {
    each(|rt| {
        let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]);
        let mut bundle =
            filtered(rt, "/probe syscall 83 /tmp/a 511; grep NoNewPrivs /proc/self/status", rules);
        bundle.edit(|c| {
            c["process"]["noNewPrivileges"] = json!(false);
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        assert_eq!(bundle.run().ok().text(), "errno 99\nNoNewPrivs:\t0");
    });
}

#[test]
fn unknown_names_are_ignored_and_unknown_words_refused() {
    each(|rt| {
        let rules = json!([{"names": ["no_such_call", "mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]);
        assert_eq!(filtered(rt, "/probe syscall 83 /tmp/a 511", rules).run().ok().text(), "errno 99");
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut bundle = filtered(rt, "true", json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]));
            bundle.edit(|c| change(&mut c["linux"]["seccomp"]));
            bundle.run().fails_with(1);
            bundle.assert_clean();
        };
        refused(&|s| s["syscalls"][0]["action"] = json!("SCMP_ACT_NONSENSE"));
        refused(&|s| s["architectures"] = json!(["SCMP_ARCH_NONSENSE"]));
        refused(&|s| s["syscalls"][0]["args"] = json!([{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]));
        refused(&|s| s["syscalls"][0]["args"] = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_ALMOST"}]));
        refused(&|s| s["flags"] = json!(["SECCOMP_FILTER_FLAG_NONSENSE"]));
    });
}

#[test]
fn flags_are_accepted() {
    each(|rt| {
        for flag in ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"] {
            // runc 1.1.5 knows only some of them.
            if !rt.is_ours() && flag.ends_with("LOG") {
                continue;
            }
            let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]);
            let mut bundle = filtered(rt, "/probe syscall 83 /tmp/a 511", rules);
            bundle.edit(|c| c["linux"]["seccomp"]["flags"] = json!([flag]));
            let output = bundle.run();
            assert!(output.text() == "errno 99" || !rt.is_ours(), "{flag}: {output}");
        }
    });
}

#[test]
fn a_listener_answers_for_the_kernel() {
    each(|rt| {
        let script = "/probe syscall 90 /tmp 511; /probe syscall 83 /tmp/made 511";
        let mut bundle =
            filtered(rt, script, json!([{"names": ["chmod", "mkdir"], "action": "SCMP_ACT_NOTIFY"}]));
        let socket = bundle.dir().join("agent");
        bundle.edit(|c| {
            c["linux"]["seccomp"]["listenerPath"] = json!(socket);
            c["linux"]["seccomp"]["listenerMetadata"] = json!("some metadata");
        });
        let agent = bundle.tool(probe().to_str().unwrap(), &["agent", socket.to_str().unwrap(), "2"]).spawn();
        wait_until("the agent listens", || agent.stdout().contains("listening"));
        let output = bundle.run().ok();
        assert_eq!(output.text(), "errno 88\n0");
        let heard = agent.wait().ok().stdout();
        let message: Value =
            heard.lines().nth(1).unwrap().parse().expect("the container process state is JSON");
        assert_eq!(message["fds"], json!(["seccompFd"]), "{message}");
        assert_eq!(message["metadata"], "some metadata");
        assert!(message["pid"].as_i64().is_some_and(|pid| pid > 1), "{message}");
        assert_eq!(message["state"]["id"], bundle.id());
        assert!(heard.contains("answered 90") && heard.contains("answered 83"), "{heard}");
        fs::remove_file(socket).ok();
    });
}

#[test]
fn a_listener_that_is_not_there_is_an_error() {
    each(|rt| {
        let mut bundle = filtered(rt, "true", json!([{"names": ["chmod"], "action": "SCMP_ACT_NOTIFY"}]));
        bundle.run().fails_with(1);
        bundle.assert_clean();
        bundle.edit(|c| c["linux"]["seccomp"]["listenerPath"] = json!("/nonexistent/socket"));
        bundle.run().fails_with(1);
        bundle.assert_clean();
    });
}

#[test]
fn the_filter_is_on_in_exec_with_a_process_file() {
    let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]);
    let bundle = filtered(&ours(), "sleep 1000", rules);
    bundle.run_detached().ok();
    let process = json!({"args": ["/probe", "syscall", "83", "/tmp/a", "511"], "cwd": "/", "env": [], "user": {"uid": 0, "gid": 0}});
    let file = bundle.file("process.json", process.to_string());
    let output = bundle.command(["exec", "-p", file.to_str().unwrap(), bundle.id()]).run().ok();
    assert_eq!(output.text(), "errno 99");
}
