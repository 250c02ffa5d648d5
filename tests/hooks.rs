//! Hooks: six kinds, their order, their namespaces, the state on standard input, timeouts and failures.

use std::fs;
use std::time::{Duration, Instant};

use casemate_tests::{Bundle, Runtime, Value, each, json, ours};

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that appends a line to the bundle's `log`, by a shell given inside and outside the container.
fn hook(bundle: &Bundle, shell: &str, script: &str) -> Value {
    let log = bundle.dir().join("log");
    json!({"path": shell, "args": ["sh", "-c", script.replace("LOG", log.to_str().unwrap())], "env": ["PATH=/bin:/usr/bin"]})
}

fn log(bundle: &Bundle) -> Vec<String> {
    let text = fs::read_to_string(bundle.dir().join("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn with_hooks(rt: &Runtime, script: &str, hooks: impl FnOnce(&Bundle) -> Value) -> Bundle {
    let mut bundle = Bundle::sh(rt, script);
    // The log is seen at the same path inside, so that every kind of hook can write to it.
    let log = bundle.file("log", "");
    let log = log.to_str().unwrap().to_owned();
    bundle.mount(&log, "bind", &log, &["bind"]);
    let hooks = hooks(&bundle);
    bundle.edit(|c| c["hooks"] = hooks);
    bundle
}

#[test]
fn all_six_run_in_the_specified_order() {
    each(|rt| {
        let bundle = with_hooks(rt, "sleep 1000", |b| {
            let entry = |kind: &str| {
                let two = [1, 2].map(|n| hook(b, "/bin/sh", &format!("echo {kind}{n} >>LOG")));
                (kind.to_owned(), json!(two))
            };
            Value::Object(KINDS.into_iter().map(entry).collect())
        });
        bundle.create().ok();
        let both = |kinds: &[&str]| -> Vec<String> {
            kinds.iter().flat_map(|kind| [format!("{kind}1"), format!("{kind}2")]).collect()
        };
        let created: &[&str] = match rt.is_ours() {
            true => &["prestart", "createRuntime", "createContainer"],
            // runc 1.1 runs the poststart hooks at create.
            false => &["prestart", "createRuntime", "createContainer", "poststart"],
        };
        assert_eq!(log(&bundle), both(created));
        bundle.start().ok();
        let mut started = log(&bundle);
        bundle.kill("KILL").ok();
        bundle.wait_status("stopped");
        bundle.delete().ok();
        let mut all = log(&bundle);
        let mut expected = both(&KINDS);
        if !rt.is_ours() {
            [&mut started, &mut all, &mut expected].into_iter().for_each(|list| list.sort());
        }
        assert_eq!(all, expected);
        expected.retain(|line| !line.starts_with("poststop"));
        assert_eq!(started, expected);
    });
}

#[test]
fn each_receives_the_state_and_runs_where_it_belongs() {
    each(|rt| {
        let bundle = with_hooks(rt, "sleep 1000", |b| {
            let entry = |kind: &str| {
                let script = format!("echo {kind} $(readlink /proc/self/ns/mnt) $(tr -d '\\n\\t ') >>LOG");
                (kind.to_owned(), json!([hook(b, "/bin/sh", &script)]))
            };
            Value::Object(KINDS.into_iter().map(entry).collect())
        });
        bundle.create().ok();
        let pid = bundle.pid();
        bundle.start().ok();
        let own = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().to_string_lossy().into_owned();
        let host = fs::read_link("/proc/self/ns/mnt").unwrap().to_string_lossy().into_owned();
        bundle.delete_force().ok();
        let lines = log(&bundle);
        assert_eq!(lines.len(), 6, "{lines:#?}");
        let expected = [
            ("prestart", &host, &["created", "creating"][..], true),
            ("createRuntime", &host, &["created", "creating"], true),
            ("createContainer", &own, &["created", "creating"], true),
            ("startContainer", &own, &["created"], false),
            ("poststart", &host, &["running"], true),
            ("poststop", &host, &["stopped"], false),
        ];
        for (kind, namespace, statuses, with_pid) in expected {
            let line =
                lines.iter().find(|line| line.split(' ').next() == Some(kind)).expect("a line of each kind");
            let mut words = line.splitn(3, ' ');
            assert_eq!(words.next(), Some(kind));
            assert_eq!(words.next(), Some(namespace.as_str()), "{line}");
            let state: Value = serde_json(words.next().unwrap_or_default());
            assert_eq!(state["id"], bundle.id(), "{line}");
            assert_eq!(state["bundle"], bundle.bundle_dir().to_str().unwrap(), "{line}");
            assert!(state["ociVersion"].is_string(), "{line}");
            let status = state["status"].as_str().unwrap_or_default();
            // runc says `running` to startContainer hooks.
            assert!(statuses.contains(&status) || !rt.is_ours(), "{line}");
            // runc tells hooks that run inside the pid of their own pid namespace.
            if with_pid && (rt.is_ours() || kind != "createContainer") {
                assert_eq!(state["pid"].as_i64(), Some(pid.into()), "{line}");
            }
        }
    });
}

fn serde_json(text: &str) -> Value {
    text.parse().unwrap_or_else(|e| panic!("the hook's input is no JSON: {e}: {text}"))
}

#[test]
fn arguments_and_environment_of_a_hook_are_its_own() {
    each(|rt| {
        let bundle = with_hooks(rt, "true", |b| {
            let log = b.dir().join("log");
            let script = format!("echo \"$0 $1\" >>{0}; env | sort >>{0}", log.display());
            json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one two"], "env": ["ONLY=this"]}]})
        });
        bundle.command(["run", bundle.id()]).env("CALLER", "x").run().ok();
        let lines = log(&bundle);
        assert_eq!(lines[0], "zero one two");
        assert!(lines.contains(&"ONLY=this".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|l| l.starts_with("CALLER") || l.starts_with("CASE=")), "{lines:?}");
    });
}

#[test]
fn a_failing_hook_before_start_stops_the_creation() {
    each(|rt| {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let bundle = with_hooks(rt, "echo never", |b| {
                json!({
                    kind: [hook(b, "/bin/sh", "echo words of the hook >&2; exit 3"), hook(b, "/bin/sh", "echo second >>LOG")],
                    "poststop": [hook(b, "/bin/sh", "echo poststop >>LOG")],
                })
            });
            let output = bundle.create().fails_with(1);
            assert_eq!(output.stdout(), "");
            bundle.assert_clean();
            assert!(!log(&bundle).contains(&"second".to_owned()), "{kind}");
            // The engine shows the user why; without the hook's own words that is nothing.
            assert!(output.stderr().contains("hook"), "{output}");
            if rt.is_ours() {
                assert!(
                    output.stderr().contains("words of the hook") && output.stderr().contains(kind),
                    "{output}"
                );
            }
        }
    });
}

#[test]
fn a_failing_start_container_hook_stops_the_start() {
    each(|rt| {
        let bundle = with_hooks(
            rt,
            "echo never >>/tmp/ran",
            |b| json!({"startContainer": [hook(b, "/bin/sh", "exit 3")], "poststop": [hook(b, "/bin/sh", "echo poststop >>LOG")]}),
        );
        bundle.create().ok();
        let output = bundle.start();
        // runc reports success: its init dies after start has answered.
        assert!(!output.success() || !rt.is_ours(), "{output}");
        bundle.wait_status("stopped");
        assert!(!bundle.rootfs().join("tmp/ran").exists());
        bundle.delete().ok();
        assert_eq!(log(&bundle), ["poststop"]);
    });
}

/// The specification: log a warning and go on with the other hooks. runc 1.1 takes the container down.
#[test]
fn failing_hooks_after_start_do_not_undo_it() {
    let bundle = with_hooks(&ours(), "sleep 1000", |b| {
        json!({"poststart": [hook(b, "/bin/sh", "exit 3"), hook(b, "/bin/sh", "echo second >>LOG")],
               "poststop": [hook(b, "/bin/sh", "exit 4"), hook(b, "/bin/sh", "echo last >>LOG")]})
    });
    bundle.create().ok();
    bundle.start().ok();
    assert_eq!(bundle.status(), "running");
    assert_eq!(log(&bundle), ["second"]);
    bundle.delete_force().ok();
    assert_eq!(log(&bundle), ["second", "last"]);
}

#[test]
fn a_hook_has_its_time_and_no_more() {
    each(|rt| {
        let bundle = with_hooks(rt, "true", |b| {
            let mut slow = hook(b, "/bin/sh", "exec sleep 60");
            slow["timeout"] = json!(1);
            json!({"createRuntime": [slow]})
        });
        let began = Instant::now();
        bundle.create().fails_with(1);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(20), "{took:?}");
        // What the hook has started is the hook's affair; here the shell becomes the sleep.
        bundle.assert_clean();
    });
}

#[test]
fn a_hook_that_does_not_read_or_does_not_exist() {
    each(|rt| {
        let bundle = with_hooks(
            rt,
            "echo ran",
            |b| json!({"createRuntime": [hook(b, "/bin/sh", "exec <&-; exit 0")]}),
        );
        assert_eq!(bundle.run().ok().text(), "ran");
        let bundle =
            with_hooks(rt, "echo ran", |_| json!({"createRuntime": [{"path": "/nonexistent/hook"}]}));
        bundle.run().fails_with(1).fails_saying(&["/nonexistent/hook", "no such file or directory"]);
        bundle.assert_clean();
        let bundle = with_hooks(rt, "echo ran", |_| json!({"createRuntime": [{"path": "relative"}]}));
        bundle.run().fails_with(1);
        bundle.assert_clean();
    });
}

#[test]
fn create_runtime_hooks_may_work_on_the_network_namespace() {
    each(|rt| {
        let bundle = with_hooks(rt, "ip addr show lo", |b| {
            let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | head -1); \
                          nsenter -t $pid -n ip addr add 192.0.2.7/32 dev lo || echo failed >>LOG";
            json!({"createRuntime": [hook(b, "/bin/bash", &script.replace("nsenter", "/usr/bin/nsenter")
                .replace("ip addr add", "/bin/busybox ip addr add"))]})
        });
        let output = bundle.run().ok();
        assert!(output.stdout().contains("192.0.2.7"), "{output} {:?}", log(&bundle));
    });
}
