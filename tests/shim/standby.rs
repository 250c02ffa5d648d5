//! A shim whose runtime stands by: both are there before there is an order.

use casemate_spec::wire::{Frame, Outcome, Streams};
use casemate_tests::{Bundle, ours, wait_until};

use crate::broker::{Spare, Taken, json_file, log_text, plain, runtime, wait_gone};

/// A spare whose runtime waits: the runtime's process id.
#[track_caller]
fn runtime_of(spare: &Spare) -> i32 {
    let children = || {
        let file = format!("/proc/{0}/task/{0}/children", spare.pid());
        std::fs::read_to_string(file).unwrap_or_default()
    };
    // It runs itself again from a file that no container reaches before it waits.
    let waits = |pid: &str| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        read("cmdline").ends_with("\0standby\0") && !exe.to_string_lossy().contains("/target/")
    };
    wait_until("a runtime stands by", || children().split_whitespace().any(waits));
    children().trim().parse().expect("one child")
}

#[test]
fn a_runtime_that_stands_by_is_told_and_runs_the_container() {
    let bundle = Bundle::sh(&ours(), "echo out; read line; echo $line >&2; exit 7");
    let spare = Spare::start(&bundle);
    let standby = runtime_of(&spare);
    let streams = Streams { log: json_file(), stdin: true, stdin_once: true, ..plain() };
    let (mut shim, connection) = spare.order(&bundle, runtime(&bundle), streams);
    let Outcome::Started { pid } = shim.outcome() else { panic!("it cannot be started") };
    assert_eq!(connection.take(), Taken::Running(pid));
    wait_gone(standby);
    assert_eq!(shim.proc("comm"), "casemate-shim\n");
    assert!(!bundle.dir().join("shim/pid").exists(), "nobody wrote the process down");
    connection.send(&Frame::Stdin(b"word\n"));
    let rest = connection.rest();
    assert_eq!((rest.stdout.as_slice(), rest.stderr.as_slice()), (&b"out\n"[..], &b"word\n"[..]));
    assert_eq!((rest.exited.code, shim.wait()), (7, 0));
    assert_eq!(log_text(&bundle, "json.log").len(), "out\nword\n".len());
    bundle.delete().ok();
    bundle.assert_clean();
}

#[test]
fn what_it_cannot_start_is_told_in_its_words() {
    let mut bundle = Bundle::new(&ours());
    bundle.args(&["/bin/nothing-here"]);
    let spare = Spare::start(&bundle);
    runtime_of(&spare);
    let (mut shim, connection) = spare.order(&bundle, runtime(&bundle), plain());
    let Outcome::Failed { message, code } = shim.outcome() else { panic!("it cannot have started") };
    assert_ne!(code, 0);
    assert!(message.starts_with("runtime: ") && message.contains("/bin/nothing-here"), "{message}");
    assert_eq!((connection.take(), shim.wait()), (Taken::End, 0));
    bundle.assert_clean();
}

#[test]
fn a_spare_that_nobody_needs_ends_with_its_runtime() {
    let bundle = Bundle::new(&ours());
    let spare = Spare::start(&bundle);
    let standby = runtime_of(&spare);
    // It takes its name after it has started the runtime.
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", spare.pid())).unwrap();
    wait_until("it is called a spare", || name() == "casemate-spare\n");
    assert_eq!(spare.dismiss(), 0);
    wait_gone(standby);
    bundle.assert_clean();
}

#[test]
fn another_runtime_is_started_anew() {
    let bundle = Bundle::new(&ours());
    let spare = Spare::start(&bundle);
    let standby = runtime_of(&spare);
    let (mut shim, connection) = spare.order(&bundle, crate::broker::stand_in("exit 5"), plain());
    assert!(matches!(shim.outcome(), Outcome::Started { .. }));
    wait_gone(standby);
    assert_eq!((connection.rest().exited.code, shim.wait()), (5, 0));
}
