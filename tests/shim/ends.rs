//! The end: of the process, of the shim, of whoever started it.

use std::time::{Duration, Instant};

use casemate_spec::wire::{Frame, Streams};
use casemate_tests::{Bundle, json, ours, skip, wait_until};
use rustix::process::Signal;

use crate::broker::{Shim, Taken, json_file, log_text, plain, process, runtime, stand_in, wait_gone};

#[test]
fn broker_and_daemon_may_be_gone() {
    let bundle = Bundle::sh(&ours(), "sleep 0.3; echo said to nobody; exit 6");
    let streams = Streams { log: json_file(), ..plain() };
    let (mut shim, connection) = Shim::start(&bundle, runtime(&bundle), streams);
    shim.leave();
    drop(connection);
    assert_eq!(shim.wait(), 0);
    assert_eq!(shim.report().unwrap().code, 6);
    assert_eq!(log_text(&bundle, "json.log"), "said to nobody\n");
}

#[test]
fn who_comes_later_finds_the_process() {
    let bundle = Bundle::sh(&ours(), "read line; echo $line");
    let streams = Streams { stdin: true, ..plain() };
    let (mut shim, first, pid) = Shim::started(&bundle, runtime(&bundle), streams);
    drop(first);
    let later = shim.connect();
    assert_eq!(later.take(), Taken::Running(pid));
    later.send(&Frame::Stdin(b"adopted\n"));
    assert_eq!(later.rest().stdout, b"adopted\n");
    shim.wait();
}

#[test]
fn the_report_is_there_when_the_end_is_told() {
    let bundle = Bundle::new(&ours());
    for _ in 0..20 {
        let (mut shim, connection, _) = Shim::started(&bundle, stand_in("exit 3"), plain());
        loop {
            if let Taken::Exited(exited) = connection.take() {
                assert_eq!(shim.report(), Some(exited));
                break;
            }
        }
        shim.wait();
    }
}

#[test]
fn only_the_processes_end_ends_it() {
    let bundle = Bundle::sh(&ours(), "echo up; sleep 0.5; exit 2");
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), plain());
    connection.expect("up");
    for signal in
        [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::PIPE, Signal::ALARM]
    {
        shim.signal(signal);
    }
    assert_eq!(connection.rest().exited.code, 2);
    assert_eq!(shim.wait(), 0);
}

#[test]
fn a_killed_shims_container_lives_on() {
    let bundle = Bundle::sh(&ours(), "sleep 1000");
    let (mut shim, connection, pid) = Shim::started(&bundle, runtime(&bundle), plain());
    shim.signal(Signal::KILL);
    shim.wait();
    assert_eq!(connection.take(), Taken::End);
    assert_eq!((bundle.status().as_str(), shim.report()), ("running", None));
    bundle.delete_force().ok();
    wait_gone(pid);
}

#[test]
fn a_process_that_closes_its_output_lives() {
    let bundle = Bundle::sh(&ours(), "exec >&- 2>&-; sleep 0.4; exit 8");
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), plain());
    assert!(!connection.has_something(Duration::from_millis(200)), "it has not ended");
    assert_eq!(connection.rest().exited.code, 8);
    shim.wait();
}

#[test]
fn who_inherits_the_streams_is_waited_for_but_not_for_ever() {
    let bundle = Bundle::new(&ours());
    let streams = || Streams { log: json_file(), ..plain() };
    // One that ends in time loses nothing.
    let script = "(sleep 0.5; echo late) & echo early; exit 4";
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in(script), streams());
    let rest = connection.rest();
    assert_eq!((rest.stdout.as_slice(), rest.exited.code), (&b"early\nlate\n"[..], 4));
    shim.wait();
    // Neither one that is silent nor one that never stops talking holds the report back.
    for heir in ["sleep 30", "while :; do echo noise; done"] {
        let script = format!("({heir}) & echo $! >&2; exit 5");
        let begun = Instant::now();
        let (mut shim, connection, _) = Shim::started(&bundle, stand_in(&script), plain());
        let rest = connection.rest();
        let took = begun.elapsed();
        assert!((2..20).contains(&took.as_secs()), "{heir}: {took:?}");
        assert_eq!(rest.exited.code, 5);
        shim.wait();
        let heir = String::from_utf8(rest.stderr).unwrap().trim().parse().unwrap();
        // The noisy one has died of its pipe's end.
        rustix::process::kill_process(process(heir), Signal::KILL).unwrap_or_default();
        wait_gone(heir);
    }
    assert_eq!(log_text(&bundle, "json.log"), "early\nlate\n");
}

#[test]
fn what_the_process_leaves_is_reaped() {
    let bundle = Bundle::new(&ours());
    let script = "for n in 1 2 3 4 5; do (sleep 0.0$n &); done; sleep 0.5; echo look; read line";
    let streams = Streams { stdin: true, stdin_once: true, ..plain() };
    let (mut shim, connection, pid) = Shim::started(&bundle, stand_in(script), streams);
    connection.expect("look");
    assert_eq!(crate::start::children(shim.pid()), [pid]);
    connection.send(&Frame::CloseStdin);
    connection.rest();
    shim.wait();
}

#[test]
fn want_of_memory_is_told() {
    let mut bundle = Bundle::sh(&ours(), "sleep 0.2; head -c 200m /dev/zero | tail");
    bundle.edit(|c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
        // The whole container goes with its first process.
        c["process"]["args"] = json!(["/bin/sh", "-c", "sleep 0.2; exec tail -c 200m /dev/zero"]);
    });
    let group = std::path::Path::new("/sys/fs/cgroup/memory");
    if !group.exists() && !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return skip("control groups are not mounted where everybody mounts them");
    }
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), plain());
    let exited = connection.rest().exited;
    assert_eq!((exited.code, exited.out_of_memory), (137, true));
    shim.wait();
    let bundle = Bundle::sh(&ours(), "kill -KILL $$; sleep 0.1; exit 9");
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), plain());
    assert!(!connection.rest().exited.out_of_memory);
    shim.wait();
    wait_until("the report is there", || shim.report().is_some());
}
