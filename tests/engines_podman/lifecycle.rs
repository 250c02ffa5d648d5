//! run, exec, stop, pause: and the codes and words Podman makes of a runtime's.

use casemate_tests::engine::Case;
use casemate_tests::{Hierarchy, Terminal, cases, wait_until};

use crate::Podman;

pub const CASES: &[Case<Podman>] = cases![
    run_gives_output_and_exit_code,
    words_become_exit_codes,
    run_and_exec_on_a_terminal,
    stop_kill_wait_inspect,
    pause_and_unpause,
    exec_flags,
    restart_cp_logs_top,
];

fn run_gives_output_and_exit_code(podman: &Podman) {
    // Podman may attach too late to hear a program that ends at once.
    let output = podman.run(&[], &["sh", "-c", "echo out; echo err >&2; sleep 0.3; exit 7"]).fails_with(7);
    assert_eq!(output.stdout(), "out\n");
    assert!(output.stderr().contains("err\n"), "{output}");
    let args = podman.run_args(&["--rm", "-i"], &["cat"]);
    assert_eq!(podman.command(args).stdin(b"words\n").run().ok().stdout(), "words\n");
    podman.run(&["--rm"], &["sh", "-c", "exit 255"]).fails_with(255);
}

/// Podman recognises these by the runtime's words alone.
fn words_become_exit_codes(podman: &Podman) {
    let not_found = "OCI runtime attempted to invoke a command that was not found";
    let denied = "OCI permission denied";
    podman.run(&[], &["nosuch"]).fails_with(127).fails_saying(&[not_found]);
    podman.run(&[], &["/nosuch"]).fails_with(127).fails_saying(&[not_found]);
    podman.run(&[], &["/etc/passwd"]).fails_with(126).fails_saying(&[denied]);
    podman.background("words", &[], "exec sleep 1000");
    podman.command(["exec", "words", "nosuch"]).run().fails_with(127).fails_saying(&[not_found]);
    podman.command(["exec", "words", "/nosuch"]).run().fails_with(127).fails_saying(&[not_found]);
    podman.command(["exec", "words", "/etc/passwd"]).run().fails_with(126).fails_saying(&[denied]);
    podman.remove("words");
    // A container that never started can be removed like any other.
    podman.command(podman.run_args(&["--name", "words-failed"], &["nosuch"])).run().fails_with(127);
    podman.ok(&["rm", "words-failed"]);
}

fn run_and_exec_on_a_terminal(podman: &Podman) {
    let (mut terminal, files) = Terminal::open();
    terminal.resize(90, 20);
    let client =
        podman.command(podman.run_args(&["--rm", "-it", "--name", "tty"], &["sh"])).stdio(files).spawn();
    terminal.expect("#");
    terminal.send("tty; while test \"$(stty size)\" != '20 90'; do sleep 0.05; done; echo siz''ed\n");
    let text = terminal.expect("sized");
    assert!(text.contains("/dev/pts/0"), "{text}");
    let (mut second, files) = Terminal::open();
    let exec = podman.command(["exec", "-it", "tty", "sh"]).stdio(files).spawn();
    second.expect("#");
    second.send("tty; exit 6\n");
    let text = second.rest();
    assert!(text.contains("/dev/pts/"), "{text}");
    exec.wait().fails_with(6);
    terminal.send("exit 5\n");
    terminal.rest();
    client.wait().fails_with(5);
}

fn stop_kill_wait_inspect(podman: &Podman) {
    podman.background("stop", &[], "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done");
    wait_until("it set its trap", || podman.ok(&["logs", "stop"]).contains("up"));
    assert_eq!(podman.inspect("stop", "{{.State.Status}}"), "running");
    podman.ok(&["stop", "-t", "10", "stop"]);
    assert_eq!(podman.inspect("stop", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    podman.command(["kill", "stop"]).run().fails_saying(&["can only kill running containers"]);
    podman.ok(&["start", "stop"]);
    podman.ok(&["kill", "-s", "KILL", "stop"]);
    assert_eq!(podman.ok(&["wait", "stop"]), "137");
    podman.ok(&["rm", "stop"]);
    podman.command(["inspect", "stop"]).run().fails_saying(&["no such"]);
    podman.background("deaf", &[], "trap '' TERM; while :; do sleep 1; done");
    podman.ok(&["stop", "-t", "1", "deaf"]);
    assert_eq!(podman.inspect("deaf", "{{.State.ExitCode}}"), "137");
    podman.remove("deaf");
}

fn pause_and_unpause(podman: &Podman) {
    if podman.rootless && Hierarchy::all().iter().any(|h| h.controllers.iter().any(|c| c == "freezer")) {
        return; // Podman itself refuses: a user has no freezer on v1.
    }
    podman.background("pause", &[], "while :; do cut -d' ' -f1 /proc/uptime >/tmp/n; sleep 0.02; done");
    podman.ok(&["pause", "pause"]);
    assert_eq!(podman.inspect("pause", "{{.State.Status}}"), "paused");
    podman.command(["exec", "pause", "true"]).run().fails_saying(&["running"]);
    podman.ok(&["unpause", "pause"]);
    let count = || podman.ok(&["exec", "pause", "cat", "/tmp/n"]);
    let before = count();
    wait_until("it goes on", || count() != before);
    podman.ok(&["pause", "pause"]);
    podman.ok(&["rm", "-f", "-t", "0", "pause"]);
}

fn exec_flags(podman: &Podman) {
    podman.background("exec", &["-e", "OUTER=1"], "exec sleep 1000");
    podman.command(["exec", "exec", "sh", "-c", "exit 4"]).run().fails_with(4);
    let flags = ["exec", "-u", "user", "-w", "/var/tmp", "-e", "A=b c", "exec"];
    let show = ["sh", "-c", "id -u; id -G; pwd; echo $A; echo $OUTER"];
    assert_eq!(podman.ok(&[&flags[..], &show[..]].concat()), "1000\n1000 1001\n/var/tmp\nb c\n1");
    let echoed = podman.command(["exec", "-i", "exec", "cat"]).stdin(b"inside\n").run().ok();
    assert_eq!(echoed.stdout(), "inside\n");
    podman.ok(&["exec", "-d", "exec", "sh", "-c", "echo done >/tmp/done"]);
    wait_until("the detached process ended", || {
        podman.command(["exec", "exec", "test", "-s", "/tmp/done"]).run().success()
    });
    podman
        .command(["exec", "-w", "/nosuch", "exec", "true"])
        .run()
        .fails_saying(&["no such file or directory"]);
    podman.command(["exec", "nosuch-container", "true"]).run().fails_with(125);
    podman.remove("exec");
}

fn restart_cp_logs_top(podman: &Podman) {
    podman.background("again", &[], "echo x >>/starts; wc -l </starts; exec sleep 1000");
    wait_until("it runs", || podman.ok(&["logs", "again"]) == "1");
    podman.ok(&["restart", "-t", "0", "again"]);
    wait_until("it runs again", || podman.ok(&["logs", "again"]).ends_with('2'));
    let top = podman.ok(&["top", "again", "pid", "comm"]);
    assert!(top.contains("sleep"), "{top}");
    let file = podman.world.dir().join("image.tar");
    podman.ok(&["cp", &file.to_string_lossy(), "again:/tmp/in"]);
    podman.ok(&["exec", "again", "test", "-s", "/tmp/in"]);
    podman.remove("again");
}
