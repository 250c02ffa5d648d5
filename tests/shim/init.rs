//! `docker-init`: the other role of the same program, in a container's first place.

use std::fs;

use casemate_spec::wire::{Frame, Streams};
use casemate_tests::{Bundle, Output, json, ours};

use crate::broker::{Shim, plain, program, runtime};

fn with_init(args: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(&ours());
    let place = bundle.rootfs().join("sbin");
    fs::create_dir(&place).unwrap();
    fs::copy(program(), place.join("docker-init")).unwrap();
    let line: Vec<_> = ["/sbin/docker-init", "--"].iter().chain(args).copied().collect();
    bundle.args(&line);
    bundle
}

/// Runs it, and gives the bundle too, in which the output is.
fn run(args: &[&str], code: i32) -> (Bundle, Output) {
    let bundle = with_init(args);
    let output = bundle.run().fails_with(code);
    (bundle, output)
}

#[test]
fn it_ends_as_its_program_ends() {
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 127", 127), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        run(&["sh", "-c", script], code);
    }
}

#[test]
fn a_program_that_cannot_be_run_is_told_in_dockers_words() {
    let (_bundle, output) = run(&["no-such-program", "x"], 127);
    assert_eq!(
        output.stderr(),
        "docker-init: exec: \"no-such-program\": executable file not found in $PATH\n"
    );
    let (_bundle, output) = run(&["/no/such/program"], 127);
    assert_eq!(
        output.stderr(),
        "docker-init: exec: \"/no/such/program\": no such file or directory (ENOENT)\n"
    );
    let (_bundle, output) = run(&["/etc/passwd"], 126);
    assert_eq!(output.stderr(), "docker-init: exec: \"/etc/passwd\": permission denied (EACCES)\n");
    run(&[], 1);
}

#[test]
fn signals_are_handed_on_and_none_is_kept_back() {
    let script = "for s in HUP INT QUIT USR1 USR2 TERM CONT WINCH; do trap \"echo $s\" $s; done; \
                  grep -E 'Sig(Blk|Ign)' /proc/self/status; \
                  for s in HUP INT QUIT USR1 USR2 TERM CONT WINCH; do kill -s $s 1; sleep 0.1; done; exit 9";
    let (_bundle, output) = run(&["sh", "-c", script], 9);
    let text = output.stdout();
    crate::start::assert_no_signal_is_kept_back(&text);
    assert!(text.ends_with("HUP\nINT\nQUIT\nUSR1\nUSR2\nTERM\nCONT\nWINCH\n"), "{text}");
}

#[test]
fn a_real_time_signal_reaches_the_program() {
    // SIGRTMIN+2 ends who does not expect it.
    run(&["sh", "-c", "kill -36 1; sleep 10"], 128 + 36);
}

#[test]
fn orphans_are_reaped() {
    let script = "for n in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit'; done; sleep 0.6; \
                  echo zombies; grep -l 'State:.Z' /proc/[0-9]*/status; exit 0";
    let (_bundle, output) = run(&["sh", "-c", script], 0);
    assert_eq!(output.stdout(), "zombies\n");
}

#[test]
fn it_runs_what_docker_runs_where_no_other_process_is_its_own() {
    let mut bundle = with_init(&["sh", "-c", "sh -c 'sleep 0.1 & exit'; echo $PPID; sleep 0.3; exit 6"]);
    bundle.without_namespace("pid");
    let output = bundle.run().fails_with(6);
    assert!(output.stdout().trim().parse::<u32>().unwrap() > 1);
}

#[test]
fn its_program_is_in_front_of_the_terminal() {
    let script = "echo $$; cut -d' ' -f5,8 /proc/$$/stat; stty size >/dev/null && echo front; read x; echo got $x; sleep 1000";
    let mut bundle = with_init(&["sh", "-c", script]);
    bundle.edit(|c| c["process"]["terminal"] = json!(true));
    let options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    bundle.mount("/dev/pts", "devpts", "devpts", &options);
    let streams = Streams { tty: true, stdin: true, ..plain() };
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), streams);
    let said = connection.expect("front");
    assert!(said.starts_with("2\r\n2 2\r\n"), "{said}");
    connection.send(&Frame::Stdin(b"word\n"));
    connection.expect("got word");
    // Keys are for the program's group.
    connection.send(&Frame::Stdin(b"\x03"));
    assert_eq!(connection.rest().exited.code, 130);
    shim.wait();
}
