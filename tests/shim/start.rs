//! From the order to the exit status.

use casemate_spec::wire::{Outcome, Streams};
use casemate_tests::{Bundle, json, ours, wait_until};
use rustix::process::Signal;

use crate::broker::{Shim, json_file, log_lines, log_text, plain, process, runtime, stand_in, wait_gone};

#[test]
fn a_container_runs_and_its_end_is_told() {
    let bundle = Bundle::sh(&ours(), "echo out; echo err >&2; exit 7");
    let streams = Streams { log: json_file(), ..plain() };
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), streams);
    let rest = connection.rest();
    assert_eq!((rest.stdout.as_slice(), rest.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!((rest.exited.code, rest.exited.lost, rest.exited.out_of_memory), (7, false, false));
    assert_eq!(shim.wait(), 0);
    assert_eq!(shim.report(), Some(rest.exited));
    let mut lines = log_lines(&bundle, "json.log");
    lines.sort_by_key(|line| line["stream"].to_string());
    assert_eq!((&lines[0]["log"], &lines[0]["stream"]), (&json!("err\n"), &json!("stderr")));
    assert_eq!((&lines[1]["log"], &lines[1]["stream"]), (&json!("out\n"), &json!("stdout")));
    bundle.delete().ok();
    bundle.assert_clean();
}

#[test]
fn exit_statuses_are_the_processes() {
    for (script, code) in
        [("true", 0), ("exit 1", 1), ("exit 127", 127), ("kill -9 $$", 137), ("kill -s KILL $$", 137)]
    {
        let bundle = Bundle::new(&ours());
        let (mut shim, connection, _) = Shim::started(&bundle, stand_in(script), plain());
        assert_eq!(connection.rest().exited.code, code, "{script}");
        assert_eq!(shim.wait(), 0);
        assert_eq!(shim.report().unwrap().code, code, "{script}");
    }
}
