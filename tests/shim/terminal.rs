//! Terminals.

use std::time::Duration;

use casemate_spec::wire::{Frame, Streams};
use casemate_tests::{Bundle, json, ours};

use crate::broker::{Connection, Shim, Taken, json_file, log_text, runtime};

fn start(script: &str) -> (Bundle, Shim, Connection) {
    let mut bundle = Bundle::sh(&ours(), script);
    // A shell asks for the size before anybody could tell it: the broker writes it down twice.
    bundle.edit(|c| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = json!({"height": 33, "width": 91});
    });
    let options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    bundle.mount("/dev/pts", "devpts", "devpts", &options);
    let streams =
        Streams { tty: true, size: Some((33, 91)), stdin: true, stdin_once: true, log: json_file() };
    let (shim, connection, _) = Shim::started(&bundle, runtime(&bundle), streams);
    (bundle, shim, connection)
}

#[test]
fn a_terminal_carries_both_ways() {
    let (bundle, mut shim, connection) =
        start("test -t 0 && test -t 1 && test -t 2 && echo all; stty size; read x; echo got $x; exit 5");
    let said = connection.expect("33 91");
    assert!(said.contains("all\r\n"), "{said}");
    connection.send(&Frame::Stdin(b"word\n"));
    connection.expect("got word\r\n");
    assert_eq!(connection.rest().exited.code, 5);
    assert_eq!(shim.wait(), 0);
    assert!(log_text(&bundle, "json.log").contains("got word\r\n"));
    // Neither socket nor pid file stays.
    let entries = std::fs::read_dir(bundle.dir().join("shim")).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["exit.json", "shim.sock"]);
}

#[test]
fn the_window_is_followed() {
    let (_bundle, mut shim, connection) =
        start("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done");
    connection.expect("ready");
    shim.connect().send(&Frame::Resize(44, 88));
    connection.expect("44 88");
    connection.rest();
    shim.wait();
}

#[test]
fn a_writers_end_is_not_the_terminals_but_control_d_is() {
    let (_bundle, mut shim, connection) = start("cat; echo end");
    let writer = shim.connect();
    writer.send(&Frame::Stdin(b"one\n"));
    writer.send(&Frame::CloseStdin);
    connection.expect("one\r\none\r\n");
    drop(writer);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!connection.has_something(Duration::ZERO));
    connection.send(&Frame::Stdin(b"\x04"));
    connection.expect("end");
    connection.rest();
    shim.wait();
}

#[test]
fn keys_make_signals() {
    let (_bundle, mut shim, connection) =
        start("trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.02; done");
    connection.expect("ready");
    connection.send(&Frame::Stdin(b"\x03"));
    connection.expect("interrupted");
    assert_eq!(connection.rest().exited.code, 6);
    shim.wait();
}

#[test]
fn a_terminal_that_nobody_has_open_for_a_while_lives_on() {
    // As an init does that opens its console for each message.
    let script = "exec <&- >&- 2>&-; sleep 0.3; echo still here >/dev/pts/0; sleep 0.3; exit 4";
    let (_bundle, mut shim, connection) = start(script);
    let before = cpu_time(&shim);
    connection.expect("still here");
    assert!(cpu_time(&shim) - before < 10, "the shim is busy waiting");
    assert_eq!(connection.rest().exited.code, 4);
    shim.wait();
}

#[test]
fn typing_that_nobody_reads_holds_back_no_output() {
    let (bundle, mut shim, connection) =
        start("stty raw -echo; while [ ! -e /tmp/go ]; do echo out; sleep 0.02; done");
    connection.expect("out");
    let writer = shim.connect();
    for _ in 0..20 {
        writer.try_send(&Frame::Stdin(&[b'x'; 30_000]));
    }
    // Another connection still sets the window, and output comes.
    shim.connect().send(&Frame::Resize(10, 20));
    for _ in 0..5 {
        connection.expect("out");
    }
    std::fs::write(bundle.rootfs().join("tmp/go"), "").unwrap();
    loop {
        if let Taken::Exited(exited) = connection.take() {
            assert_eq!(exited.code, 0);
            break;
        }
    }
    shim.wait();
}

/// Clock ticks that a shim has run for.
fn cpu_time(shim: &Shim) -> u64 {
    let stat = shim.proc("stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
