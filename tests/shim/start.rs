//! From the order to the exit status.

use casemate_spec::wire::{Outcome, Streams};
use casemate_tests::{Bundle, json, ours, wait_until};
use rustix::process::Signal;

use crate::broker::{Shim, json_file, log_lines, plain, process, runtime, stand_in, wait_gone};

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
    let scripts =
        [("true", 0), ("exit 1", 1), ("exit 127", 127), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)];
    for (script, code) in scripts {
        let bundle = Bundle::new(&ours());
        let (mut shim, connection, _) = Shim::started(&bundle, stand_in(script), plain());
        assert_eq!(connection.rest().exited.code, code, "{script}");
        assert_eq!(shim.wait(), 0);
        assert_eq!(shim.report().unwrap().code, code, "{script}");
    }
}

#[test]
fn an_exec_is_a_process_like_another() {
    let bundle = Bundle::sh(&ours(), "sleep 1000");
    bundle.run_detached().ok();
    let mut process = bundle.config()["process"].clone();
    // Signals are as a program expects them, though the shim keeps its own from itself.
    process["args"] = json!([
        "/bin/sh",
        "-c",
        "grep -E 'Sig(Blk|Ign)' /proc/self/status; read line; echo got $line; exit 3"
    ]);
    let file = bundle.file("process.json", process.to_string());
    let mut line = runtime(&bundle);
    let at = line.iter().position(|word| word == "run").unwrap();
    line.truncate(at);
    let words = ["exec", "--detach", "--process", file.to_str().unwrap(), bundle.id()];
    line.extend(words.map(str::to_owned));
    let streams = Streams { stdin: true, stdin_once: true, ..plain() };
    let (mut shim, connection, _) = Shim::started(&bundle, line, streams);
    connection.send(&casemate_spec::wire::Frame::Stdin(b"word\n"));
    let rest = connection.rest();
    let text = String::from_utf8(rest.stdout).unwrap();
    assert_no_signal_is_kept_back(&text);
    assert!(text.ends_with("got word\n"), "{text}");
    assert_eq!((rest.exited.code, shim.wait()), (3, 0));
}

#[test]
fn a_failed_start_is_told_in_the_runtimes_words() {
    let mut bundle = Bundle::new(&ours());
    bundle.args(&["/bin/nothing-here"]);
    let (mut shim, connection) = Shim::start(&bundle, runtime(&bundle), plain());
    let Outcome::Failed { message, code } = shim.outcome() else { panic!("it cannot have started") };
    assert_ne!(code, 0);
    assert!(message.starts_with("runtime: ") && message.contains("/bin/nothing-here"), "{message}");
    assert_eq!(connection.take(), crate::broker::Taken::End);
    assert_eq!((shim.wait(), shim.report()), (0, None));
    bundle.assert_clean();
}

#[test]
fn of_a_long_complaint_the_end_is_told_and_nobody_hangs() {
    let bundle = Bundle::new(&ours());
    let script = "head -c 500000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 42";
    let line = ["/bin/sh", "-c", script, "id"].map(str::to_owned).to_vec();
    let (mut shim, _connection) = Shim::start(&bundle, line, plain());
    let Outcome::Failed { message, code } = shim.outcome() else { panic!("it cannot have started") };
    assert_eq!((code, message.len()), (42, 16 << 10));
    assert!(
        message.ends_with("xxx\nthe reason\n") || message.ends_with("xthe reason\n"),
        "{}",
        message.len()
    );
    shim.wait();
}

#[test]
fn what_a_quick_process_says_on_stderr_is_output_not_a_complaint() {
    let bundle = Bundle::new(&ours());
    // The process has said all before its runtime ends.
    let script = r#"/bin/sh -c "head -c 300000 /dev/zero | tr '\0' y >&2" & echo $! >"$2"; sleep 0.3"#;
    let line = ["/bin/sh", "-c", script, "stand-in", "id"].map(str::to_owned).to_vec();
    let (mut shim, connection, _) = Shim::started(&bundle, line, plain());
    let rest = connection.rest();
    assert_eq!(rest.stderr.len(), 300_000);
    assert!(rest.stderr.iter().all(|byte| *byte == b'y'));
    shim.wait();
}

#[test]
fn a_runtime_that_cannot_be_run_is_a_failure() {
    let bundle = Bundle::new(&ours());
    for line in [vec!["/nothing/here".to_owned(), "id".to_owned()], vec![]] {
        let (mut shim, _connection) = Shim::start(&bundle, line, plain());
        let Outcome::Failed { message, code } = shim.outcome() else { panic!("it cannot have started") };
        assert!(message.starts_with("casemate-shim: run the runtime") && code == 1, "{message}");
        assert_eq!(shim.wait(), 0);
    }
}

#[test]
fn a_runtime_that_hangs_is_ended_with_all_it_began() {
    for signal in [Signal::TERM, Signal::KILL] {
        let bundle = Bundle::new(&ours());
        let script = "sleep 1000 & sleep 1000 & echo begun >&2; wait";
        let line = ["/bin/sh", "-c", script, "id"].map(str::to_owned).to_vec();
        let (mut shim, _connection) = Shim::start(&bundle, line, plain());
        let group = || children(shim.pid());
        wait_until("the runtime hangs", || group().iter().any(|pid| children(*pid).len() == 2));
        let mut all = group();
        all.extend(group().into_iter().flat_map(children));
        assert_eq!(all.len(), 3);
        match signal {
            // Asked to, it ends everything and says so.
            Signal::TERM => {
                shim.signal(signal);
                let Outcome::Failed { message, .. } = shim.outcome() else { panic!("it was called off") };
                assert!(message.contains("called off"), "{message}");
            }
            // Killed, it goes together with its group, which is its own.
            _ => rustix::process::kill_process_group(process(shim.pid()), signal).unwrap(),
        }
        shim.wait();
        all.into_iter().for_each(wait_gone);
        bundle.assert_clean();
    }
}

#[test]
fn a_birth_that_is_called_off_leaves_no_container() {
    let mut bundle = Bundle::sh(&ours(), "echo it runs; sleep 1000");
    bundle.edit(|c| {
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]});
    });
    let (mut shim, _connection) = Shim::start(&bundle, runtime(&bundle), plain());
    wait_until("the hook hangs", || children(shim.pid()).iter().any(|pid| children(*pid).len() > 1));
    shim.signal(Signal::TERM);
    assert!(matches!(shim.outcome(), Outcome::Failed { .. }));
    shim.wait();
    // What the runtime had on the disk is the broker's to delete, as after any crash of it.
    bundle.delete_force();
    bundle.assert_clean();
}

#[test]
fn nonsense_in_place_of_an_order_is_refused() {
    use std::process::{Command, Stdio};
    for stdin in [Stdio::null(), Stdio::piped()] {
        let mut child =
            Command::new(crate::broker::program()).stdin(stdin).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text.starts_with("casemate-shim: receive the order: "), "{text}");
    }
}

/// Of a process that has printed two lines of its status. The C library's own two real-time signals are ignored in
/// whatever its posix_spawn(3) starts.
pub fn assert_no_signal_is_kept_back(text: &str) {
    for name in ["SigBlk:\t", "SigIgn:\t"] {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).expect(text);
        let set = u64::from_str_radix(value, 16).unwrap() & !(0b11 << 31);
        assert_eq!(set, 0, "{text}");
    }
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
