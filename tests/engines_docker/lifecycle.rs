//! run, stop, kill, pause, restart, remove: and the codes and words dockerd makes of a runtime's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use casemate_tests::engine::{Case, wait_patiently};
use casemate_tests::engine_docker::{Docker, IMAGE};
use casemate_tests::{cases, wait_until};

pub const CASES: &[Case<Docker>] = cases![
    run_gives_output_and_exit_code,
    a_missing_program_is_127,
    a_program_that_is_none_is_126,
    a_failed_start_leaves_a_created_container,
    background_logs_wait_inspect,
    rm_flag_removes,
    stop_asks_then_kills,
    stop_signal_is_used,
    kill_sends_signals,
    a_process_killed_from_outside,
    pause_and_unpause,
    restart_and_start_again,
    restart_policy_counts,
    healthcheck_turns_healthy_and_unhealthy,
    create_then_start_attached,
    init_reaps,
    twenty_at_once,
    build_runs_its_steps,
    commit_and_rename,
];

fn run_gives_output_and_exit_code(docker: &Docker) {
    let output = docker.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).fails_with(7);
    assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
    let args = docker.run_args(&["-i"], &["cat"]);
    let echoed = docker.command(args).stdin(b"one\ntwo\n").run().ok();
    assert_eq!(echoed.stdout(), "one\ntwo\n");
    docker.run(&[], &["sh", "-c", "kill -9 $$; echo survived"]);
}

fn a_missing_program_is_127(docker: &Docker) {
    let said = "executable file not found in $PATH";
    docker.run(&[], &["nosuch"]).fails_with(127).fails_saying(&["exec: \"nosuch\"", said]);
    docker.run(&[], &["/nosuch"]).fails_with(127).fails_saying(&["no such file or directory"]);
    docker.run(&["-w", "/tmp"], &["./nosuch"]).fails_with(127);
}

fn a_program_that_is_none_is_126(docker: &Docker) {
    docker.run(&[], &["/etc/passwd"]).fails_with(126).fails_saying(&["permission denied"]);
    docker.run(&[], &["/etc"]).fails_with(126);
    // Executable, yet in no format the kernel knows: only execve can say so, when the container has started.
    let dir = docker.world().make_dir("no-program");
    fs::write(dir.join("x"), [1, 2, 3, 4]).expect("write a file");
    fs::set_permissions(dir.join("x"), fs::Permissions::from_mode(0o755)).expect("make it executable");
    let mount = format!("{}:/data", dir.display());
    let output = docker.run(&["-v", &mount], &["/data/x"]);
    assert!(!output.success(), "{output}");
    output.fails_saying(&["exec format error"]);
}

fn a_failed_start_leaves_a_created_container(docker: &Docker) {
    docker.ok(&["create", "--runtime", "tested", "--name", "cannot-start", IMAGE, "nosuch"]);
    docker.command(["start", "cannot-start"]).run().fails_saying(&["executable file not found"]);
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(docker.ok(&["inspect", "--format", state, "cannot-start"]), "created 127");
    docker.ok(&["rm", "cannot-start"]);
}

fn background_logs_wait_inspect(docker: &Docker) {
    let container = docker.background("background", &[], "echo begun; sleep 0.5; echo done >&2; exit 3");
    assert_eq!(container.inspect("{{.State.Status}} {{.State.Running}}"), "running true");
    assert!(container.inspect("{{.State.Pid}}").parse::<u32>().is_ok_and(|pid| pid > 1));
    assert_eq!(container.inspect("{{.HostConfig.Runtime}}"), "tested");
    assert_eq!(container.wait(), 3);
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}"), "exited 3 0");
    let logs = docker.command(["logs", "background"]).run().ok();
    assert_eq!((logs.stdout().as_str(), logs.stderr().as_str()), ("begun\n", "done\n"));
}

fn rm_flag_removes(docker: &Docker) {
    docker.run(&["--name", "gone"], &["true"]).ok();
    docker.command(["inspect", "gone"]).run().fails_saying(&["No such object"]);
    let running = docker.sleeper("rm-running", &[]);
    docker.command(["rm", "rm-running"]).run().fails_saying(&["You cannot remove a running container"]);
    running.does("rm", &["-f"]);
    docker.command(["inspect", "rm-running"]).run().fails_saying(&["No such object"]);
}

fn stop_asks_then_kills(docker: &Docker) {
    let polite =
        docker.background("stop-polite", &[], "trap 'echo asked; exit 5' TERM; echo up; sleep 100 & wait");
    wait_until("it set its trap", || polite.logs().contains("up"));
    polite.does("stop", &["-t", "10"]);
    assert_eq!(polite.inspect("{{.State.ExitCode}}"), "5");
    assert!(polite.logs().ends_with("asked"));
    let deaf = docker.background("stop-deaf", &[], "trap '' TERM; echo up; while :; do sleep 1; done");
    wait_until("it set its trap", || deaf.logs().contains("up"));
    deaf.does("stop", &["-t", "1"]);
    assert_eq!(deaf.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 false");
}

fn stop_signal_is_used(docker: &Docker) {
    let script = "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done";
    let container = docker.background("stop-signal", &["--stop-signal", "USR1"], script);
    wait_until("it set its trap", || container.logs().contains("up"));
    container.does("stop", &[]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "9");
}

fn kill_sends_signals(docker: &Docker) {
    let script = "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done";
    let container = docker.background("kill", &[], script);
    wait_until("it set its traps", || container.logs().contains("up"));
    container.does("kill", &["-s", "USR1"]);
    wait_until("the first signal came", || container.logs().contains("usr1"));
    container.does("kill", &["-s", "1"]);
    wait_until("the second signal came", || container.logs().contains("hup"));
    container.does("kill", &[]);
    assert_eq!(container.wait(), 137);
    docker.command(["kill", "kill"]).run().fails_saying(&["is not running"]);
}

fn a_process_killed_from_outside(docker: &Docker) {
    let container = docker.sleeper("killed-outside", &[]);
    let pid = container.inspect("{{.State.Pid}}");
    docker.world().inside(["kill", "-9", &pid]).run().ok();
    assert_eq!(container.wait(), 137);
    docker.command(["exec", "killed-outside", "true"]).run().fails_saying(&["is not running"]);
}

fn pause_and_unpause(docker: &Docker) {
    let container =
        docker.background("pause", &["-v", "/counter"], "while :; do echo . >>/counter/n; sleep 0.02; done");
    let count = |docker: &Docker| docker.sh(&["--volumes-from", "pause"], "wc -c </counter/n");
    wait_until("it counts", || count(docker) != "0");
    container.does("pause", &[]);
    assert_eq!(
        container.inspect("{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
        "paused true true"
    );
    let before = count(docker);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(count(docker), before, "a paused container went on");
    container.exec(&[], &["true"]).fails_saying(&["is paused"]);
    docker.command(["pause", "pause"]).run().fails_saying(&["already paused"]);
    container.does("unpause", &[]);
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    wait_until("it goes on", || count(docker) != before);
    container.does("pause", &[]);
    container.does("rm", &["-f"]);
}

fn restart_and_start_again(docker: &Docker) {
    let container = docker.background("restart", &[], "echo x >>/starts; wc -l </starts; exec sleep 1000");
    wait_until("it runs", || container.logs() == "1");
    let pid = container.inspect("{{.State.Pid}}");
    container.does("restart", &["-t", "0"]);
    wait_until("it runs again", || container.logs() == "1\n2");
    assert_ne!(container.inspect("{{.State.Pid}}"), pid);
    container.does("stop", &["-t", "0"]);
    assert_eq!(container.inspect("{{.State.Status}}"), "exited");
    container.does("start", &[]);
    wait_until("it runs a third time", || container.logs() == "1\n2\n3");
}

fn restart_policy_counts(docker: &Docker) {
    let container = docker.background("restart-policy", &["--restart", "on-failure:2"], "exit 4");
    wait_patiently("the policy gives up", || {
        container.inspect("{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}") == "2 exited 4"
    });
}

fn healthcheck_turns_healthy_and_unhealthy(docker: &Docker) {
    let flags = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "200ms", "--health-retries", "1"];
    let container = docker.background("health", &flags, "touch /tmp/ok; exec sleep 1000");
    wait_patiently("it is healthy", || container.inspect("{{.State.Health.Status}}") == "healthy");
    container.sh("rm /tmp/ok");
    wait_patiently("it is unhealthy", || container.inspect("{{.State.Health.Status}}") == "unhealthy");
}

fn create_then_start_attached(docker: &Docker) {
    docker.ok(&[
        "create",
        "-i",
        "--runtime",
        "tested",
        "--name",
        "attached",
        IMAGE,
        "sh",
        "-c",
        "cat; exit 6",
    ]);
    let output = docker.command(["start", "-ai", "attached"]).stdin(b"words\n").run().fails_with(6);
    assert_eq!(output.stdout(), "words\n");
    docker.ok(&["rm", "attached"]);
}

fn init_reaps(docker: &Docker) {
    let script = "(sh -c 'sleep 0.1 & exit 0'); sleep 0.5; cat /proc/1/comm; ps -o stat,comm | grep -c ^Z";
    let output = docker.run(&["--init"], &["sh", "-c", script]).fails_with(1);
    assert_eq!(output.text(), "docker-init\n0");
}

fn twenty_at_once(docker: &Docker) {
    let names: Vec<String> = (0..20).map(|n| format!("twenty-{n}")).collect();
    let running: Vec<_> = names
        .iter()
        .map(|name| {
            docker
                .command(docker.run_args(&["--name", name], &["sh", "-c", "hostname >/tmp/h; cat /tmp/h"]))
                .spawn()
        })
        .collect();
    let hosts: std::collections::BTreeSet<_> =
        running.into_iter().map(|run| run.wait().ok().text()).collect();
    assert_eq!(hosts.len(), 20, "{hosts:?}");
}

fn build_runs_its_steps(docker: &Docker) {
    let dir = docker.world().make_dir("build");
    let text = format!(
        "FROM {IMAGE}\nRUN echo built >/made && id -u >>/made\nUSER user\nRUN test $(id -u) = 1000\n"
    );
    std::fs::write(dir.join("Dockerfile"), text).expect("write a Dockerfile");
    docker.ok(&["build", "-q", "-t", "built", &dir.to_string_lossy()]);
    assert_eq!(docker.ok(&["run", "--rm", "built", "cat", "/made"]), "built\n0");
    let text = format!("FROM {IMAGE}\nRUN exit 5\n");
    std::fs::write(dir.join("Dockerfile"), text).expect("write a Dockerfile");
    let failing = docker.command(["build", "--no-cache", &dir.to_string_lossy()]).run();
    failing.fails_saying(&["returned a non-zero code: 5"]);
}

fn commit_and_rename(docker: &Docker) {
    let container = docker.background("commit", &[], "echo kept >/file; sleep 1000");
    wait_until("it wrote its file", || container.exec(&[], &["test", "-s", "/file"]).success());
    // Commit pauses the container while it reads.
    container.does("commit", &[]);
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    assert!(container.does("diff", &[]).contains("A /file"));
}
