//! SIGKILL of any `runtime` process at any instruction, then `delete --force`: nothing is left.
//!
//! strace kills the runtime as it enters one of its system calls; between two calls nothing outside its own memory
//! changes, so the calls are all the instants there are. Ours alone: the reference makes no such promise.

use std::collections::BTreeMap;
use std::fs;

use casemate_tests::{Bundle, Runtime, json, ours, skip};

/// How many instants one command is killed at; they are spread evenly over its calls.
const INSTANTS: usize = 40;

/// A container with something of everything that could be left: mounts, limits, a hook, a terminal's devpts.
fn bundle(rt: &Runtime) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance"]);
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
    bundle.edit(|c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 50},
                                         "devices": [{"allow": false, "access": "rwm"}]});
        c["linux"]["maskedPaths"] = json!(["/proc/keys"]);
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
    });
    bundle
}

fn has_strace() -> bool {
    std::process::Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// The system calls that the command makes, in order, each as strace counts it: its name, and the how manieth of that
/// name it is in its process.
fn calls(bundle: &Bundle, args: &[&str], follow: bool) -> Vec<(String, usize)> {
    let trace = bundle.dir().join("trace");
    let mut strace = vec!["strace", "-o", trace.to_str().unwrap()];
    strace.extend(follow.then_some("-f"));
    bundle.command(args).via(strace).run();
    let text = fs::read_to_string(&trace).unwrap();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        // With -f each line begins with its process.
        let (process, call) = if follow { line.split_once(' ').unwrap_or_default() } else { ("", line) };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let nth = seen.entry((process, name)).or_insert(0);
        *nth += 1;
        calls.push((name.to_owned(), *nth));
    }
    calls
}

/// Kills the command at every chosen instant; `prepare` makes what it works on, `after` looks at what it left.
fn sweep(args: &[&str], follow: bool, prepare: impl Fn(&Bundle), after: impl Fn(&Bundle)) {
    sweep_with(|_| (), args, follow, prepare, after);
}

fn sweep_with(
    change: impl Fn(&mut Bundle),
    args: &[&str],
    follow: bool,
    prepare: impl Fn(&Bundle),
    after: impl Fn(&Bundle),
) {
    if !has_strace() {
        return skip("strace is not installed");
    }
    let rt = ours();
    let mut bundle = bundle(&rt);
    change(&mut bundle);
    let id = bundle.id().to_owned();
    let args: Vec<&str> = args.iter().map(|arg| if *arg == "ID" { id.as_str() } else { arg }).collect();
    prepare(&bundle);
    let calls = calls(&bundle, &args, follow);
    bundle.delete_force().ok();
    assert!(calls.len() > 20, "{args:?} makes {} calls", calls.len());
    let most = INSTANTS.min(calls.len());
    let mut killed = 0;
    for (name, nth) in (0..most).filter_map(|n| calls.get(n * calls.len() / most)) {
        prepare(&bundle);
        let inject = format!("inject={name}:signal=KILL:when={nth}");
        let mut strace = vec!["strace", "-o", "/dev/null", "-e", &inject];
        strace.extend(follow.then_some("-f"));
        killed += usize::from(!bundle.command(&args).via(strace).run().success());
        after(&bundle);
        let deleted = bundle.delete_force();
        assert!(deleted.success(), "after a kill at {name} {nth} of {args:?}: {deleted}");
        let left = casemate_tests::find_leaks(bundle.id(), bundle.dir(), &bundle.state_dir());
        assert!(left.is_empty(), "left behind by a kill at {name} {nth} of {args:?}: {left:#?}");
    }
    // Not every run takes the same way to its end.
    assert!(killed * 4 > most * 3, "only {killed} of {most} kills came true");
    // The id is free again, and nothing that was interrupted stands in the way.
    bundle.edit(|c| c["process"]["args"] = json!(["/bin/true"]));
    bundle.run().ok();
}

#[test]
fn create() {
    sweep(&["create", "ID"], false, |_| (), |_| ());
}

/// With its children followed, the container's first process is killed too, wherever it has come to. In the foreground,
/// so that the trace ends.
#[test]
fn run_and_the_first_process() {
    let short = |bundle: &mut Bundle| {
        bundle.args(&["/bin/true"]);
    };
    sweep_with(short, &["run", "ID"], true, |_| (), |_| ());
}

#[test]
fn run_detached() {
    sweep(&["run", "-d", "ID"], false, |_| (), |_| ());
}

#[test]
fn start() {
    let prepare = |bundle: &Bundle| drop(bundle.create().ok());
    sweep(&["start", "ID"], false, prepare, |_| ());
}

#[test]
fn delete() {
    let prepare = |bundle: &Bundle| {
        bundle.run_detached().ok();
        bundle.kill("KILL").ok();
        bundle.wait_status("stopped");
    };
    sweep(&["delete", "ID"], false, prepare, |_| ());
}

#[test]
fn delete_force() {
    let prepare = |bundle: &Bundle| drop(bundle.run_detached().ok());
    sweep(&["delete", "--force", "ID"], false, prepare, |_| ());
}

#[test]
fn exec_leaves_the_container_usable() {
    let prepare = |bundle: &Bundle| drop(bundle.run_detached().ok());
    let after = |bundle: &Bundle| {
        assert_eq!(bundle.status(), "running");
        bundle.exec(&["true"]).ok();
    };
    sweep(&["exec", "ID", "true"], true, prepare, after);
}

#[test]
fn pause_and_update() {
    let prepare = |bundle: &Bundle| drop(bundle.run_detached().ok());
    sweep(&["pause", "ID"], false, prepare, |_| ());
    sweep(&["update", "--memory", "80000000", "ID"], false, prepare, |bundle| {
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn kills_by_the_clock() {
    let rt = ours();
    let bundle = bundle(&rt);
    for tick in 0..60 {
        let run = bundle.command(["run", bundle.id()]).spawn();
        std::thread::sleep(std::time::Duration::from_micros(tick * 400));
        run.signal(rustix::process::Signal::KILL);
        run.wait();
        bundle.delete_force().ok();
        bundle.assert_clean();
    }
}
