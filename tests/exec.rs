//! exec: every flag, the process file, the codes and the words.

use std::fs;

use casemate_tests::{Bundle, Runtime, each, json, ours, skip, wait_until};

/// A running container to exec into; its configuration may be changed first.
fn running(rt: &Runtime, change: impl FnOnce(&mut Bundle)) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/sleep", "1000"]);
    change(&mut bundle);
    bundle.run_detached().ok();
    bundle
}

#[test]
fn output_input_and_exit_code() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let output = bundle.exec(&["/bin/sh", "-c", "echo out; echo err >&2; exit 9"]).fails_with(9);
        assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
        bundle.exec(&["/bin/sh", "-c", "kill -9 $$"]).fails_with(137);
        bundle.exec(&["/bin/sh", "-c", "kill -TERM $$"]).fails_with(143);
        let cat = bundle.command(["exec", bundle.id(), "cat"]).stdin(b"through").run().ok();
        assert_eq!(cat.stdout(), "through");
    });
}

#[test]
fn arguments_after_the_command_are_the_commands() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        assert_eq!(bundle.exec(&["echo", "--cwd", "-t", "--", "-e"]).ok().text(), "--cwd -t -- -e");
    });
}

#[test]
fn the_process_is_in_the_containers_namespaces_and_groups() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let script = "for n in pid mnt ipc uts net; do readlink /proc/self/ns/$n; done; cat /proc/1/comm";
        let inside = bundle.exec(&["/bin/sh", "-c", script]).ok().stdout();
        for kind in ["pid", "mnt", "ipc", "uts", "net"] {
            let link = fs::read_link(format!("/proc/{}/ns/{kind}", bundle.pid())).unwrap();
            assert!(inside.contains(link.to_str().unwrap()), "{kind}: {inside}");
        }
        assert!(inside.ends_with("sleep\n"), "{inside}");
        let groups = bundle.exec(&["cat", "/proc/self/cgroup"]).ok().stdout();
        let init = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
        assert_eq!(groups, init);
    });
}

#[test]
fn environment_and_directory() {
    each(|rt| {
        let bundle = running(rt, |b| {
            b.edit(|c| {
                c["process"]["env"].as_array_mut().unwrap().push(json!("FROM=config"));
                c["process"]["cwd"] = json!("/home");
            });
        });
        let run = |args: &[&str], script: &str| {
            let call = bundle.command(["exec"]).args(args).arg(bundle.id()).args(["/bin/sh", "-c", script]);
            call.run().ok().text()
        };
        assert_eq!(run(&[], "echo $FROM $PWD"), "config /home");
        assert_eq!(
            run(&["--env", "A=1", "--env", "B=x y", "--env", "FROM=flag"], "echo $A $B $FROM"),
            "1 x y flag"
        );
        assert_eq!(run(&["--cwd", "/tmp"], "pwd"), "/tmp");
        assert_eq!(run(&["--env", "PATH=/bin:/nope"], "echo $PATH"), "/bin:/nope");
    });
}

#[test]
fn user_and_groups() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let id = |args: &[&str]| {
            let call = bundle.command(["exec"]).args(args).args([bundle.id(), "cat", "/proc/self/status"]);
            let text = call.run().ok().stdout();
            let field = |name: &str| {
                let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
                line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            (field("Uid:")[0].clone(), field("Gid:")[0].clone(), field("Groups:").join(" "))
        };
        let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(id(&["--user", "1000:1001"]), three("1000", "1001", ""));
        assert_eq!(id(&["-u", "1000", "-g", "7", "-g", "8"]), three("1000", "0", "7 8"));
        assert_eq!(id(&["--user", "4242:4343"]), three("4242", "4343", ""));
        for bad in ["name", "1000:name", "-1", "1:2:3", "99999999999"] {
            let flag = format!("--user={bad}");
            let output = bundle.command(["exec", &flag, bundle.id(), "true"]).run();
            // runc takes `1:2:3` for `1:2`, and cuts a long number short.
            if rt.is_ours() || !["1:2:3", "99999999999"].contains(&bad) {
                output.fails_with(255);
            }
        }
    });
}

#[test]
fn home_is_the_users() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let home = |user: &str| {
            bundle.command(["exec", "--user", user, bundle.id(), "sh", "-c", "echo $HOME"]).run().ok().text()
        };
        assert_eq!(home("1000"), "/home/user");
        assert_eq!(home("4242"), "/");
    });
}

#[test]
fn capabilities_and_no_new_privileges() {
    each(|rt| {
        let bundle = running(rt, |b| {
            b.capabilities(&["CAP_CHOWN"]);
            b.edit(|c| c["process"]["noNewPrivileges"] = json!(false));
        });
        let field = |args: &[&str], name: &str| {
            let call = bundle.command(["exec"]).args(args).args([bundle.id(), "cat", "/proc/self/status"]);
            let text = call.run().ok().stdout();
            text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        let chown = format!("{:016x}", 1);
        assert_eq!(field(&[], "CapBnd:"), chown);
        assert_eq!(field(&[], "CapEff:"), chown);
        let both = format!("{:016x}", 1 | 1 << 5);
        assert_eq!(field(&["--cap", "CAP_KILL"], "CapBnd:"), both);
        assert_eq!(field(&["--cap", "CAP_KILL"], "CapEff:"), both);
        assert_eq!(field(&[], "NoNewPrivs:"), "0");
        assert_eq!(field(&["--no-new-privs"], "NoNewPrivs:"), "1");
    });
}

#[test]
fn the_containers_seccomp_filter_holds_for_exec() {
    each(|rt| {
        let bundle = running(rt, |b| {
            b.edit(|c| {
                c["linux"]["seccomp"] = json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}],
                });
            });
        });
        bundle.exec(&["mkdir", "/tmp/x"]).fails_with(1).fails_saying(&["annot assign requested address"]);
        let status = bundle.exec(&["cat", "/proc/self/status"]).ok().stdout();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    });
}

/// What is done from outside is done before the program runs, or it does not run.
#[test]
fn a_process_whose_score_cannot_be_set_does_not_run() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse::<i32>().unwrap();
    if own == -1000 {
        return skip("the lowest score is this one's own");
    }
    let bundle = running(&ours(), |_| ());
    for run in 0..20 {
        let args = ["/bin/sh", "-c", "echo ran"];
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
            "oomScoreAdj": own - 1});
        let file = bundle.file("process.json", process.to_string());
        let output = bundle.command(["exec", "--process", file.to_str().unwrap(), bundle.id()]).run();
        if output.success() {
            return skip("a score may be lowered here: CAP_SYS_RESOURCE");
        }
        assert!(output.stderr().contains("set process.oomScoreAdj"), "{output}");
        assert_eq!(output.stdout(), "", "run {run}: it ran");
    }
}

#[test]
fn process_file() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let process = json!({
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [9], "umask": 0o77},
            "args": ["/bin/sh", "-c", "echo $WORD $PWD; umask; ulimit -n; cat /proc/self/oom_score_adj"],
            "env": ["PATH=/bin", "WORD=file"],
            "cwd": "/tmp",
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
            "oomScoreAdj": 33,
        });
        let file = bundle.file("process.json", process.to_string());
        let output = bundle.command(["exec", "--process", file.to_str().unwrap(), bundle.id()]).run().ok();
        let umask = if rt.is_ours() { "0077" } else { "0022" };
        let expected = format!("file /tmp\n{umask}\n64\n33");
        // runc 1.1 applies the umask and the score of the container, not of the process file.
        match rt.is_ours() {
            true => assert_eq!(output.text(), expected),
            false => assert!(output.text().starts_with("file /tmp\n"), "{output}"),
        }
        let missing = bundle.dir().join("none");
        bundle.command(["exec", "-p", missing.to_str().unwrap(), bundle.id()]).run().fails_with(255);
        let broken = bundle.file("broken.json", "{\"args\": [");
        bundle.command(["exec", "-p", broken.to_str().unwrap(), bundle.id()]).run().fails_with(255);
    });
}

/// dockerd makes 126 and 127 of these, Podman knows them by their words.
#[test]
fn what_cannot_be_run() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        fs::write(bundle.rootfs().join("plain"), "no program").unwrap();
        for (program, words) in [
            ("nope", "executable file not found in $PATH"),
            ("/bin/nope", "no such file or directory"),
            ("/proc", "permission denied"),
            ("/plain", "permission denied"),
        ] {
            let exec = format!("exec: \"{program}\"");
            bundle.exec(&[program]).fails_with(255).fails_saying(&[
                "unable to start container process",
                &exec,
                words,
            ]);
        }
        let cwd = bundle.command(["exec", "--cwd", "/nope", bundle.id(), "true"]).run().fails_with(255);
        cwd.fails_saying(&["chdir to cwd (\"/nope\")", "no such file or directory"]);
        bundle.command(["exec", bundle.id()]).run().fails_with(255);
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn detached_with_a_pid_file() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let file = bundle.dir().join("exec.pid");
        let name = file.to_str().unwrap();
        bundle.command(["exec", "-d", "--pid-file", name, bundle.id(), "sleep", "999"]).run().ok();
        let pid: i32 = fs::read_to_string(&file).unwrap().parse().expect("a pid and nothing else");
        let command = format!("/proc/{pid}/cmdline");
        wait_until("it runs", || fs::read(&command).is_ok_and(|text| text == b"sleep\x00999\0"));
        let ns = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
        assert_eq!(ns(pid), ns(bundle.pid()));
        // Its parent is whoever called, or the subreaper: never a process of the runtime.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let parent = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let parent = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        assert!(!parent.starts_with("runc") && !parent.starts_with("runtime"), "{parent}");
        let ps = bundle.command(["ps", "--format", "json", bundle.id()]).run().ok().json();
        assert!(ps.as_array().unwrap().contains(&json!(pid)), "{ps}");
    });
}

#[test]
fn preserved_descriptors() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let file = bundle.file("three", "third\n");
        let exec = |flags: &[&str], script: &str| {
            let call = bundle.command(["exec"]).args(flags).args([bundle.id(), "sh", "-c", script]);
            call.prepared(&format!("exec 3<{}", file.display())).run()
        };
        assert_eq!(exec(&["--preserve-fds", "1"], "cat <&3").ok().text(), "third");
        assert!(!exec(&[], "cat <&3").success(), "descriptor 3 leaked");
    });
}

#[test]
fn a_paused_container_can_be_entered_when_asked() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        bundle.command(["pause", bundle.id()]).run().ok();
        bundle.exec(&["true"]).fails_with(255).fails_saying(&["cannot exec in a paused container"]);
        // The process freezes with the others; --ignore-paused only lets it be made.
        let exec = bundle.command(["exec", "--ignore-paused", bundle.id(), "true"]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(100));
        bundle.command(["resume", bundle.id()]).run().ok();
        exec.wait().ok();
    });
}

#[test]
fn a_sub_cgroup_is_entered_when_it_exists() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let pids = bundle.cgroups().dir("pids").expect("a pids control group");
        fs::create_dir(pids.join("sub")).unwrap();
        let cat = |flag: &str| {
            bundle.command(["exec", "--cgroup", flag, bundle.id(), "cat", "/proc/self/cgroup"]).run()
        };
        let inside = cat("pids:sub").ok().stdout();
        assert!(inside.lines().any(|l| l.contains(":pids:") && l.ends_with("/sub")), "{inside}");
        cat("pids:none").fails_with(255);
        cat("pids:../..").fails_with(255);
        fs::remove_dir(pids.join("sub")).unwrap();
    });
}

#[test]
fn exec_into_a_created_container() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "sleep 1000");
        bundle.create().ok();
        assert_eq!(bundle.exec(&["echo", "early"]).ok().text(), "early");
        assert_eq!(bundle.status(), "created");
        bundle.start().ok();
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn many_at_once() {
    each(|rt| {
        let bundle = running(rt, |_| ());
        let calls: Vec<_> = (0..10)
            .map(|n| {
                bundle.command(["exec", bundle.id(), "sh", "-c", &format!("echo {n}; exit {n}")]).spawn()
            })
            .collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.wait().fails_with(n as i32).text(), n.to_string());
        }
    });
}

/// runc reads the bundle's file again at every exec.
#[test]
fn the_bundle_is_not_read_again() {
    let bundle = running(&ours(), |_| ());
    bundle.raw_config(b"not a configuration");
    bundle.exec(&["true"]).ok();
    fs::remove_file(bundle.bundle_dir().join("config.json")).unwrap();
    bundle.exec(&["true"]).ok();
}
