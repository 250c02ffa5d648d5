//! From the start of a container to its end, as `docker` sees it.

use std::time::{Duration, Instant};

use casemate_tests::wait_until;

use crate::World;

/// A container in the background that ends at TERM.
fn sleeper(world: &World, name: &str, flags: &[&str]) {
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let words = [&["run", "-d", "--net", "none", "--name", name], flags, &["busybox", "sh", "-c", script]];
    world.ok(&words.concat());
    wait_until("it is up", || world.ok(&["logs", name]).contains("up"));
}

fn inspect(world: &World, name: &str, template: &str) -> String {
    world.ok(&["inspect", "--format", template, name])
}

#[test]
fn output_and_exit_status_arrive_and_nothing_stays() {
    let world = World::start();
    let output = world.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 5"]).fails_with(5);
    assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    let text = world.docker(["run", "--rm", "-i", "--net", "none", "busybox", "wc", "-c"]);
    assert_eq!(text.stdin(&vec![b'x'; 3_000_000]).run().ok().text(), "3000000");
    // The first process of a container is not ended by its own signals, but its child is.
    world.run(&[], &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).fails_with(137);
    world.stop();
}

#[test]
fn what_cannot_be_started_is_told_by_the_exit_status() {
    let world = World::start();
    world.run(&[], &["no-such-program"]).fails_with(127);
    world.run(&[], &["/etc"]).fails_with(126);
    world
        .docker(["run", "--net", "none", "--name", "stays", "busybox", "/no/such/file"])
        .run()
        .fails_with(127);
    let state = inspect(&world, "stays", "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}");
    assert_eq!(state, "created 127 false");
    world.docker(["run", "--net", "none", "no-such-image-anywhere:1"]).run().fails_with(125);
    world.stop();
}

#[test]
fn stop_asks_first_and_kills_later() {
    let world = World::start();
    sleeper(&world, "polite", &[]);
    world.ok(&["stop", "polite"]);
    assert_eq!(inspect(&world, "polite", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    assert_eq!(world.ok(&["logs", "polite"]), "up\nbye");
    world.ok(&["stop", "polite"]);
    world.ok(&[
        "run",
        "-d",
        "--net",
        "none",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; sleep 1000",
    ]);
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    world.ok(&["stop", "-t", "1", "deaf"]);
    assert!(begun.elapsed() >= Duration::from_secs(1), "killed before its time");
    assert_eq!(inspect(&world, "deaf", "{{.State.ExitCode}}"), "137");
    let script = "trap 'exit 8' USR1; echo up; while :; do sleep 0.05; done";
    let words =
        ["run", "-d", "--net", "none", "--name", "other", "--stop-signal", "USR1", "busybox", "sh", "-c"];
    world.ok(&[&words[..], &[script]].concat());
    wait_until("it is up", || world.ok(&["logs", "other"]).contains("up"));
    world.ok(&["stop", "-t", "5", "other"]);
    assert_eq!(inspect(&world, "other", "{{.State.ExitCode}}"), "8", "USR1 ended it");
    world.stop();
}

#[test]
fn signals_go_by_name_and_number() {
    let world = World::start();
    let script = "trap 'echo hup' HUP; trap 'exit 3' USR2; echo up; while :; do sleep 0.05; done";
    world.ok(&["run", "-d", "--net", "none", "--name", "sig", "busybox", "sh", "-c", script]);
    wait_until("it is up", || world.ok(&["logs", "sig"]).contains("up"));
    world.ok(&["kill", "-s", "SIGHUP", "sig"]);
    wait_until("it heard", || world.ok(&["logs", "sig"]).contains("hup"));
    world.docker(["kill", "-s", "NOPE", "sig"]).run().fails_saying(&["invalid signal: NOPE"]);
    world.ok(&["kill", "-s", "12", "sig"]);
    assert_eq!(world.ok(&["wait", "sig"]), "3");
    world.docker(["kill", "sig"]).run().fails_saying(&["cannot kill container", "is not running"]);
    world.stop();
}

#[test]
fn pausing_freezes_and_killing_thaws() {
    let world = World::start();
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    world.ok(&["run", "-d", "--net", "none", "--name", "pa", "busybox", "sh", "-c", script]);
    world.ok(&["pause", "pa"]);
    assert_eq!(inspect(&world, "pa", "{{.State.Status}} {{.State.Paused}}"), "paused true");
    let before = world.ok(&["logs", "--tail", "1", "pa"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.ok(&["logs", "--tail", "1", "pa"]), before);
    world.docker(["exec", "pa", "true"]).run().fails_saying(&["is paused"]);
    world.ok(&["unpause", "pa"]);
    wait_until("it goes on", || world.ok(&["logs", "--tail", "1", "pa"]) != before);
    world.ok(&["pause", "pa"]);
    world.ok(&["kill", "pa"]);
    assert_eq!(world.ok(&["wait", "pa"]), "137");
    world.stop();
}

#[test]
fn wait_knows_its_three_conditions() {
    let world = World::start();
    world.ok(&["create", "--net", "none", "--name", "wa", "busybox", "sh", "-c", "sleep 0.5; exit 4"]);
    let admin = world.client("casemate://default/root?groups=admin");
    let wait = |condition: &'static str| {
        let client = admin.clone();
        let path = format!("/v1.50/containers/wa/wait?condition={condition}");
        std::thread::spawn(move || client.request("POST", &path, None).json()["StatusCode"].clone())
    };
    assert_eq!(wait("not-running").join().expect("an answer"), 0, "it has never run");
    let (next, removed) = (wait("next-exit"), wait("removed"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!next.is_finished(), "nothing has ended yet");
    world.ok(&["start", "wa"]);
    let running = wait("not-running");
    assert_eq!(next.join().expect("an answer"), 4);
    assert_eq!(running.join().expect("an answer"), 4);
    assert_eq!(world.ok(&["ps", "-a", "--filter", "exited=4", "--format", "{{.Names}}"]), "wa");
    assert!(!removed.is_finished(), "it is still there");
    world.ok(&["rm", "wa"]);
    removed.join().expect("an answer");
    let reply = admin.request("POST", "/v1.50/containers/wa/wait?condition=soon", None);
    assert_eq!(reply.status, 400);
    world.stop();
}

#[test]
fn events_tell_a_life_once_and_in_order() {
    let world = World::start();
    let since = world.outside("date").args(["+%s"]).run().ok().text();
    world.run(&["--name", "ev"], &["sh", "-c", "exit 3"]).fails_with(3);
    std::thread::sleep(Duration::from_millis(1100));
    let until = world.outside("date").args(["+%s"]).run().ok().text();
    let format = "{{.Action}}:{{index .Actor.Attributes \"exitCode\"}}";
    let list = world.ok(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "type=container",
        "--format",
        format,
    ]);
    let actions: Vec<&str> = list.lines().collect();
    assert_eq!(actions, ["create:", "attach:", "start:", "die:3", "destroy:"]);
    world.stop();
}

#[test]
fn statistics_and_processes_are_dockers() {
    let world = World::start();
    sleeper(&world, "me", &["--memory", "64m"]);
    let line = world.ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "me"]);
    assert!(line.starts_with("me ") && line.contains("/ 64MiB"), "{line}");
    let admin = world.client("casemate://default/root?groups=admin");
    let both = admin.fetch("/v1.50/containers/me/stats?stream=0").json();
    assert!(both["precpu_stats"]["system_cpu_usage"].as_u64() > Some(0), "{both}");
    assert!(
        both["cpu_stats"]["system_cpu_usage"].as_u64() > both["precpu_stats"]["system_cpu_usage"].as_u64()
    );
    assert!(both["cpu_stats"]["online_cpus"].as_u64() > Some(0), "{both}");
    assert_eq!(both["name"], "/me");
    let one_shot = || {
        let begun = Instant::now();
        (admin.fetch("/v1.50/containers/me/stats?stream=0&one-shot=1").json(), begun.elapsed())
    };
    let (once, mut took) = one_shot();
    for _ in 0..5 {
        took = took.min(one_shot().1);
    }
    assert!(took < Duration::from_millis(900), "each time it waited for a second sample");
    assert_eq!(once["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    let top = world.ok(&["top", "me"]);
    let columns: Vec<&str> = top.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(columns, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(top.contains("sleep 0.05") || top.contains("sh -c"), "{top}");
    world.ok(&["kill", "me"]);
    world.docker(["top", "me"]).run().fails_saying(&["is not running"]);
    world.stop();
}

#[test]
fn want_of_memory_is_told_as_such() {
    let world = World::start();
    let since = world.outside("date").args(["+%s"]).run().ok().text();
    let run = |name: &str, policy: &str, script: &str| {
        let words = ["run", "-d", "--net", "none", "-m", "16m", "--restart", policy, "--name", name];
        world.ok(&[&words[..], &["-v", "marks:/marks", "busybox", "sh", "-c", script]].concat());
    };
    let state = |name: &str| {
        let template = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.RestartCount}}";
        world.ok(&["inspect", "--format", template, name])
    };
    run("eats", "no", "exec tail /dev/zero");
    assert_eq!(world.ok(&["wait", "eats"]), "137");
    assert_eq!(state("eats"), "exited 137 true 0");
    run("killed", "no", "exec sleep 1000");
    world.ok(&["kill", "killed"]);
    assert_eq!(state("killed"), "exited 137 false 0");
    // A restart policy takes it for the failure that it is.
    run("again", "on-failure:2", "exec tail /dev/zero");
    wait_until("it gives up", || state("again") == "exited 137 true 2");
    run("once", "on-failure:2", "[ -e /marks/once ] && exit 0; touch /marks/once; exec tail /dev/zero");
    wait_until("it is well in the end", || state("once") == "exited 0 false 1");
    let until = world.outside("date").args(["+%s", "-d", "1 second"]).run().ok().text();
    let format = "{{.Actor.Attributes.name}}";
    let words = ["events", "--since", &since, "--until", &until, "--filter", "event=oom", "--format", format];
    assert_eq!(world.ok(&words), "eats\nagain\nagain\nagain\nonce");
    world.stop();
}
