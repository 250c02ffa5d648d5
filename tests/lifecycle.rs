//! create, start, state, kill, delete, run, pause, resume: transitions, and the words and codes engines rely on.

use std::fs;
use std::time::Duration;

use casemate_tests::{Bundle, Runtime, each, json, ours, wait_until};
use rustix::process::Signal;

const FOREVER: &[&str] = &["/bin/sleep", "1000"];

fn sleeper(rt: &Runtime) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(FOREVER);
    bundle
}

#[test]
fn run_gives_the_exit_code_and_the_output() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "echo out; echo err >&2; exit 7");
        let output = bundle.run().fails_with(7);
        assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
        bundle.assert_clean();
    });
}

#[test]
fn run_gives_128_and_the_signal_of_a_killed_container() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "kill -9 $$");
        bundle.without_namespace("pid");
        bundle.run().fails_with(137);
        bundle.assert_clean();
    });
}

#[test]
fn run_reaps_what_outlives_its_parent() {
    each(|rt| {
        // In a session of its own, and nobody's child but the subreaper's.
        let orphan = "setsid sh -c 'echo $$; exec sleep 0.2' & exit 0";
        let mut bundle =
            Bundle::sh(rt, &format!("sh -c \"{}\"; exec sleep 1000", orphan.replace('$', "\\$")));
        bundle.without_namespace("pid");
        let run = bundle.command(["run", bundle.id()]).spawn();
        wait_until("the orphan runs", || run.stdout().ends_with('\n'));
        let orphan = run.stdout().trim().parse::<u32>().expect("a process id");
        wait_until("it is gone", || !std::path::Path::new(&format!("/proc/{orphan}")).exists());
        bundle.command(["kill", bundle.id(), "KILL"]).run().ok();
        run.wait().fails_with(137);
        bundle.assert_clean();
    });
}

#[test]
fn run_reads_its_standard_input() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "read line; echo got $line");
        let output = bundle.command(["run", bundle.id()]).stdin(b"a word\n").run().ok();
        assert_eq!(output.text(), "got a word");
    });
}

#[test]
fn run_forwards_signals() {
    each(|rt| {
        let script = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        let bundle = Bundle::sh(rt, script);
        let run = bundle.command(["run", bundle.id()]).spawn();
        wait_until("the container is ready", || run.stdout().contains("ready"));
        run.signal(Signal::TERM);
        let output = run.wait().fails_with(3);
        assert_eq!(output.text(), "ready\nterm");
        bundle.assert_clean();
    });
}

#[test]
fn the_life_of_a_container() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "echo started; sleep 1000");
        let created = bundle.create().ok();
        assert_eq!(bundle.status(), "created");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(created.stdout(), "", "the process ran before start");
        bundle.start().ok();
        wait_until("the process runs", || created.stdout() == "started\n");
        assert_eq!(bundle.status(), "running");
        bundle.kill("KILL").ok();
        bundle.wait_status("stopped");
        assert_eq!(bundle.state()["pid"].as_i64().unwrap_or(0), 0, "a stopped container has no pid");
        bundle.delete().ok();
        bundle.assert_clean();
    });
}

#[test]
fn state_says_what_the_specification_asks_for() {
    each(|rt| {
        let mut bundle = sleeper(rt);
        bundle.edit(|c| c["annotations"] = json!({"org.example.key": "value"}));
        bundle.create().ok();
        let state = bundle.state();
        assert_eq!(state["id"], bundle.id());
        assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
        assert_eq!(state["bundle"], bundle.bundle_dir().to_str().unwrap());
        assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
        assert_eq!(state["annotations"]["org.example.key"], "value");
        let created = state["created"].as_str().unwrap_or_default();
        assert!(
            created.len() >= 20 && created.contains('T') && created.ends_with('Z'),
            "RFC 3339: {created:?}"
        );
        let pid = state["pid"].as_i64().expect("a pid");
        assert!(fs::metadata(format!("/proc/{pid}")).is_ok());
    });
}

/// What each command answers to a container in the wrong state. Engines recognise a missing and a dead container by
/// these words, so they are runc's to the letter.
#[test]
fn refusals_in_each_state() {
    each(|rt| {
        let bundle = sleeper(rt);
        let id = bundle.id();
        let refuse = |args: &[&str], code: i32, words: &str| {
            bundle.command(args).run().fails_with(code).fails_saying(&[words]);
        };
        for args in [
            ["state", id].as_slice(),
            &["start", id],
            &["kill", id, "KILL"],
            &["delete", id],
            &["pause", id],
            &["resume", id],
            &["ps", id],
            &["events", "--stats", id],
            &["update", "--pids-limit", "10", id],
        ] {
            refuse(args, 1, "container does not exist");
        }
        refuse(&["exec", id, "true"], 255, "container does not exist");
        bundle.command(["delete", "--force", id]).run().ok();

        bundle.create().ok();
        refuse(&["create", id], 1, "container with given ID already exists");
        refuse(&["run", id], 1, "container with given ID already exists");
        refuse(&["resume", id], 1, "container not paused");
        bundle.start().ok();
        refuse(&["start", id], 1, "cannot start an already running container");
        refuse(&["delete", id], 1, "that is not stopped: running");
        refuse(&["kill", id, "FOO"], 1, "unknown signal \"FOO\"");

        bundle.kill("KILL").ok();
        bundle.wait_status("stopped");
        refuse(&["kill", id, "KILL"], 1, "container not running");
        refuse(&["start", id], 1, "cannot start a container that has stopped");
        refuse(&["exec", id, "true"], 255, "cannot exec in a stopped container");
        refuse(&["pause", id], 1, "container not running");
        refuse(&["resume", id], 1, "container not paused");
        bundle.delete().ok();
        refuse(&["delete", id], 1, "container does not exist");
        bundle.assert_clean();
    });
}

#[test]
fn pause_stops_and_resume_continues() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "while :; do echo x; sleep 0.01; done");
        let output = bundle.run_detached().ok();
        wait_until("it writes", || !output.stdout().is_empty());
        bundle.command(["pause", bundle.id()]).run().ok();
        assert_eq!(bundle.status(), "paused");
        let before = output.stdout().len();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(output.stdout().len(), before, "it ran while paused");
        bundle.command(["pause", bundle.id()]).run().fails_saying(&["container not running"]);
        let exec = bundle.exec(&["true"]).fails_with(255);
        assert!(exec.stderr().contains("cannot exec in a paused container"), "{exec}");
        bundle.command(["resume", bundle.id()]).run().ok();
        assert_eq!(bundle.status(), "running");
        wait_until("it writes again", || output.stdout().len() > before);
    });
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.run_detached().ok();
        bundle.command(["pause", bundle.id()]).run().ok();
        bundle.kill("KILL").ok();
        bundle.command(["resume", bundle.id()]).run();
        bundle.wait_status("stopped");
        bundle.delete().ok();
        bundle.assert_clean();
    });
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.run_detached().ok();
        bundle.command(["pause", bundle.id()]).run().ok();
        bundle.delete_force().ok();
        bundle.assert_clean();
    });
}

#[test]
fn delete_removes_a_container_that_was_never_started() {
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.create().ok();
        bundle.delete().ok();
        bundle.assert_clean();
    });
}

#[test]
fn delete_force_kills() {
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.run_detached().ok();
        bundle.delete_force().ok();
        bundle.assert_clean();
        bundle.run_detached().ok();
        bundle.delete_force().ok();
    });
}

#[test]
fn delete_works_without_the_bundle() {
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.run_detached().ok();
        fs::remove_dir_all(bundle.bundle_dir()).unwrap();
        let anywhere = |args: &[&str]| bundle.command(args).cwd(bundle.dir()).run().ok();
        anywhere(&["kill", bundle.id(), "KILL"]);
        wait_until("it is stopped", || anywhere(&["state", bundle.id()]).json()["status"] == "stopped");
        anywhere(&["delete", bundle.id()]);
        bundle.assert_clean();
    });
}

#[test]
fn init_that_dies_before_start_is_stopped() {
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.create().ok();
        let pid = rustix::process::Pid::from_raw(bundle.pid()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        bundle.wait_status("stopped");
        bundle.start().fails_saying(&["cannot start a container that has stopped"]);
        bundle.delete().ok();
        bundle.assert_clean();
    });
}

#[test]
fn run_detached_and_kept() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "exit 5");
        bundle.command(["run", "--keep", bundle.id()]).run().fails_with(5);
        assert_eq!(bundle.status(), "stopped");
        bundle.delete().ok();
        bundle.assert_clean();
        bundle.run_detached().ok();
        bundle.wait_status("stopped");
        bundle.delete().ok();
        bundle.assert_clean();
    });
}

#[test]
fn pid_file_holds_the_pid_and_nothing_else() {
    each(|rt| {
        let bundle = sleeper(rt);
        let file = bundle.dir().join("pid");
        let name = file.to_str().unwrap();
        bundle.command(["create", "--pid-file", name, bundle.id()]).run().ok();
        assert_eq!(fs::read_to_string(&file).unwrap(), bundle.pid().to_string());
        bundle.delete_force().ok();
        bundle.command(["run", "-d", "--pid-file", name, bundle.id()]).run().ok();
        assert_eq!(fs::read_to_string(&file).unwrap(), bundle.pid().to_string());
    });
}

#[test]
fn bundle_is_the_current_directory_or_named() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "exit 4");
        let id = bundle.id();
        bundle.command(["run", id]).run().fails_with(4);
        bundle.command(["run", "--bundle", "bundle", id]).cwd(bundle.dir()).run().fails_with(4);
        bundle
            .command(["run", "-b", bundle.bundle_dir().to_str().unwrap(), id])
            .cwd("/".as_ref())
            .run()
            .fails_with(4);
        bundle.command(["run", "-b", "nowhere", id]).cwd(bundle.dir()).run().fails_with(1);
        bundle.assert_clean();
    });
}

#[test]
fn a_command_that_cannot_be_run_fails_the_creation() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        let plain = bundle.rootfs().join("plain");
        fs::write(&plain, "no program").unwrap();
        let cases = [
            ("nope", "executable file not found in $PATH"),
            ("/bin/nope", "no such file or directory"),
            ("/proc", "permission denied"),
            ("/plain", "permission denied"),
        ];
        for (program, words) in cases {
            bundle.args(&[program]);
            bundle.run().fails_with(1).fails_saying(&[&format!("exec: \"{program}\""), words]);
            bundle.create().fails_with(1).fails_saying(&[words]);
            bundle.assert_clean();
        }
    });
}

#[test]
fn of_many_creates_with_one_id_one_wins() {
    // Not runc: it looks before it makes the directory, so that both of two creates may fail, or leave a process behind.
    let bundle = sleeper(&ours());
    let racers: Vec<_> = (0..8).map(|_| bundle.command(["create", bundle.id()]).spawn()).collect();
    let outputs: Vec<_> = racers.into_iter().map(|racer| racer.wait()).collect();
    assert_eq!(outputs.iter().filter(|o| o.success()).count(), 1, "{outputs:?}");
    let losers = outputs.iter().filter(|o| !o.success());
    losers.for_each(|o| assert!(o.stderr().contains("already exists"), "{o}"));
    assert_eq!(bundle.status(), "created");
    bundle.start().ok();
    bundle.delete_force().ok();
    bundle.assert_clean();
}

#[test]
fn kill_takes_names_and_numbers() {
    each(|rt| {
        let script = "for s in HUP INT USR1 USR2 RTMIN; do trap \"echo $s\" $s; done; echo ready; \
                      while :; do sleep 0.02; done";
        let bundle = Bundle::sh(rt, script);
        let output = bundle.run_detached().ok();
        wait_until("it is ready", || output.stdout().contains("ready"));
        for (given, seen) in [("HUP", "HUP"), ("SIGINT", "INT"), ("10", "USR1"), ("usr2", "USR2")] {
            bundle.kill(given).ok();
            wait_until(&format!("{seen} arrives"), || output.stdout().contains(seen));
        }
        for bad in ["0x9", "-1", "65", "SIGNOPE"] {
            bundle.command(["kill", bundle.id(), "--", bad]).run();
            assert_eq!(bundle.status(), "running", "after signal {bad}");
        }
        bundle.command(["kill", bundle.id()]).run().ok();
        let pid = rustix::process::Pid::from_raw(bundle.pid()).unwrap();
        // Nothing handles TERM, and init of a pid namespace does not die of what it does not handle.
        assert!(rustix::process::test_kill_process(pid).is_ok());
    });
}

#[test]
fn kill_all_and_delete_reach_every_process_without_a_pid_namespace() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "sleep 1000 & setsid sleep 1000 & echo ready; sleep 1000");
        bundle.without_namespace("pid");
        let output = bundle.run_detached().ok();
        wait_until("it is ready", || output.stdout().contains("ready"));
        bundle.command(["kill", "--all", bundle.id(), "KILL"]).run().ok();
        bundle.wait_status("stopped");
        bundle.delete().ok();
        bundle.assert_clean();

        let output = bundle.run_detached().ok();
        wait_until("it is ready", || output.stdout().contains("ready"));
        bundle.delete_force().ok();
        bundle.assert_clean();
    });
}

#[test]
fn ids_that_are_no_names_are_refused() {
    each(|rt| {
        let bundle = sleeper(rt);
        let long = "a".repeat(1025);
        for id in ["", "../x", "a/b", "a b", "..", ".", "/x", "a\nb", "ä", &long] {
            let output = bundle.command(["create", "--", id]).run().fails_with(1);
            assert!(output.stderr().trim_end().lines().count() <= 2, "{output}");
            bundle.command(["state", "--", id]).run().fails_with(1);
            bundle.command(["delete", "--", id]).run().fails_with(1);
        }
        bundle.assert_clean();
    });
}

/// A process that has the pid of a dead container's init is nobody's to signal. runc compares start times too.
#[test]
fn a_reused_pid_is_never_signalled() {
    each(|rt| {
        let bundle = sleeper(rt);
        bundle.run_detached().ok();
        let pid = bundle.pid();
        bundle.kill("KILL").ok();
        bundle.wait_status("stopped");
        let Some(innocent) = with_pid(&bundle, pid) else {
            return casemate_tests::skip("the kernel gave the pid to nobody, or to somebody else");
        };
        assert_eq!(bundle.status(), "stopped");
        bundle.kill("KILL").fails_with(1);
        bundle.command(["kill", "--all", bundle.id(), "KILL"]).run();
        bundle.delete_force().ok();
        assert!(fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text == b"sleep\x00777\0"));
        drop(innocent);
    });
}

/// A process with the pid asked for, if it can be had: the kernel is told the last pid it gave (proc(5), ns_last_pid).
fn with_pid(bundle: &Bundle, pid: i32) -> Option<casemate_tests::Running> {
    for _ in 0..200 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let child = bundle.tool("sleep", &["777"]).spawn();
        if child.pid() == pid {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
