//! Restart policies, and what becomes of containers when the daemon's programs end.

use std::time::Duration;

use casemate_tests::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::World;

fn inspect(world: &World, name: &str, template: &str) -> String {
    world.ok(&["inspect", "--format", template, name])
}

#[test]
fn policies_start_again_and_stop() {
    let world = World::start();
    let run = |name: &str, policy: &str, script: &str| {
        world.ok(&[
            "run",
            "-d",
            "--net",
            "none",
            "--name",
            name,
            "--restart",
            policy,
            "busybox",
            "sh",
            "-c",
            script,
        ]);
    };
    run("three", "on-failure:3", "echo run; exit 2");
    wait_until("it gives up", || inspect(&world, "three", "{{.State.Status}}") == "exited");
    assert_eq!(inspect(&world, "three", "{{.RestartCount}} {{.State.ExitCode}}"), "3 2");
    assert_eq!(world.ok(&["logs", "three"]), "run\nrun\nrun\nrun");
    run("well", "on-failure", "exit 0");
    wait_until("it is done", || inspect(&world, "well", "{{.State.Status}}") == "exited");
    assert_eq!(inspect(&world, "well", "{{.RestartCount}}"), "0");
    run("always", "always", "exit 0");
    wait_until("it has come back", || {
        inspect(&world, "always", "{{.RestartCount}}").parse::<u32>().is_ok_and(|n| n > 2)
    });
    world.ok(&["stop", "always"]);
    let count = inspect(&world, "always", "{{.RestartCount}}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(inspect(&world, "always", "{{.State.Status}} {{.RestartCount}}"), format!("exited {count}"));
    run("killed", "always", "sleep 1000");
    world.ok(&["kill", "killed"]);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(inspect(&world, "killed", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    world.stop();
}

#[test]
fn restart_by_hand_keeps_even_what_removes_itself() {
    let world = World::start();
    let words =
        ["run", "-d", "--rm", "--net", "none", "--name", "re", "busybox", "sh", "-c", "echo up; sleep 1000"];
    world.ok(&words);
    let before = inspect(&world, "re", "{{.State.StartedAt}}");
    world.ok(&["restart", "-t", "0", "re"]);
    assert_ne!(inspect(&world, "re", "{{.State.StartedAt}}"), before);
    assert_eq!(world.ok(&["logs", "re"]), "up\nup");
    world.ok(&["kill", "re"]);
    wait_until("it is gone", || world.ok(&["ps", "-aq"]).is_empty());
    world.stop();
}

#[test]
fn what_runs_outlives_the_daemon() {
    let mut world = World::start();
    let count = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit 3";
    world.ok(&["run", "-d", "--net", "none", "--name", "count", "busybox", "sh", "-c", count]);
    world.ok(&["run", "-d", "--net", "none", "--name", "short", "busybox", "sh", "-c", "sleep 0.3; exit 5"]);
    world.ok(&["run", "-d", "--rm", "--net", "none", "--name", "gone", "busybox", "sleep", "0.3"]);
    world.ok(&["run", "-di", "--net", "none", "--name", "cat", "busybox", "cat"]);
    let pid = inspect(&world, "cat", "{{.State.Pid}}");
    world.crash_daemon();
    assert_eq!(inspect(&world, "cat", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    world.crash_and_restart_broker();
    assert_eq!(inspect(&world, "cat", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    wait_until("it has ended", || inspect(&world, "short", "{{.State.Status}}") == "exited");
    assert_eq!(inspect(&world, "short", "{{.State.ExitCode}}"), "5");
    assert_eq!(world.ok(&["wait", "count"]), "3");
    let expected: Vec<String> = (1..=200).map(|number: u32| number.to_string()).collect();
    assert_eq!(world.ok(&["logs", "count"]), expected.join("\n"), "no line is lost");
    wait_until("what removes itself is gone", || {
        !world.ok(&["ps", "-a", "--format", "{{.Names}}"]).contains("gone")
    });
    assert_eq!(world.docker(["exec", "cat", "echo", "still here"]).run().ok().text(), "still here");
    world.ok(&["rm", "-f", "cat"]);
    world.stop();
}

#[test]
fn a_removal_that_the_broker_is_not_there_for_leaves_nothing_dead() {
    let mut world = World::start();
    world.ok(&["create", "--net", "none", "--name", "new", "busybox", "true"]);
    world.ok(&["run", "--net", "none", "--name", "ran", "busybox", "true"]);
    // It takes no more questions, and dies with those that were asked.
    let broker = i32::try_from(world.broker_pid()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(broker, Signal::STOP).expect("stopped");
    let clients = ["new", "ran"].map(|name| world.docker(["rm", name]).spawn());
    for name in ["new", "ran"] {
        wait_until("it is being removed", || inspect(&world, name, "{{.State.Status}}") == "removing");
    }
    world.crash_and_restart_broker();
    for client in clients {
        assert!(!client.wait().success());
    }
    for (name, before) in [("new", "created"), ("ran", "exited")] {
        // The next daemon may have come to do what the last was asked.
        let there = world.docker(["inspect", "--format", "{{.State.Status}}", name]).run();
        if there.success() {
            assert_eq!(there.text(), before);
            world.ok(&["rm", name]);
        }
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    world.stop();
}
