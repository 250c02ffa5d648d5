//! The command line: names, flags, output shapes and exit codes as engines call them.

use std::fs;

use casemate_tests::{Bundle, Output, Runtime, Value, each, json, ours};

fn call(bundle: &Bundle, args: &[&str]) -> Output {
    bundle.tool(bundle.runtime().path().to_str().unwrap(), args).cwd(&bundle.bundle_dir()).run()
}

fn sleeper(rt: &Runtime) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/sleep", "1000"]);
    bundle
}

#[test]
fn version() {
    each(|rt| {
        let bundle = Bundle::new(rt);
        for flag in ["--version", "-v"] {
            let said = call(&bundle, &[flag]).ok().stdout();
            let first = said.lines().next().unwrap_or_default();
            // dockerd and containerd read the third word, and the line that begins with `spec:`.
            assert!(first.split(' ').nth(1) == Some("version") && first.split(' ').count() == 3, "{said}");
            assert!(said.lines().any(|l| l.starts_with("spec: 1.")), "{said}");
        }
    });
}

#[test]
fn help() {
    each(|rt| {
        let bundle = Bundle::new(rt);
        let said = call(&bundle, &["--help"]).ok().stdout();
        for command in [
            "create",
            "delete",
            "events",
            "exec",
            "features",
            "kill",
            "list",
            "pause",
            "ps",
            "resume",
            "run",
            "spec",
            "start",
            "state",
            "update",
            "checkpoint",
            "restore",
        ] {
            assert!(said.contains(command), "{command}: {said}");
            let help = call(&bundle, &[command, "--help"]).ok();
            assert!(help.stdout().len() > 40, "{help}");
        }
    });
}

const SHARED: &[&str] =
    &["--bundle", "--console-socket", "--pid-file", "--no-pivot", "--no-new-keyring", "--preserve-fds"];

const FLAGS: &[(&str, &[&str])] = &[
    ("create", SHARED),
    ("run", SHARED),
    ("run", &["--detach", "--keep"]),
    (
        "exec",
        &["--process", "--tty", "--user", "--additional-gids", "--cwd", "--env", "--cap", "--no-new-privs"],
    ),
    (
        "exec",
        &["--apparmor", "--process-label", "--detach", "--pid-file", "--console-socket", "--preserve-fds"],
    ),
    ("exec", &["--cgroup", "--ignore-paused"]),
    ("kill", &["--all"]),
    ("delete", &["--force"]),
    ("list", &["--format", "--quiet"]),
    ("ps", &["--format"]),
    ("events", &["--stats", "--interval"]),
    ("spec", &["--bundle", "--rootless"]),
    ("update", &["--resources", "--memory", "--memory-reservation", "--memory-swap", "--pids-limit"]),
    ("update", &["--cpu-period", "--cpu-quota", "--cpu-share", "--cpu-rt-period", "--cpu-rt-runtime"]),
    ("update", &["--cpuset-cpus", "--cpuset-mems", "--blkio-weight"]),
];

#[test]
fn every_flag_of_the_reference_is_known() {
    each(|rt| {
        let bundle = Bundle::new(rt);
        for (command, flags) in FLAGS {
            let help = call(&bundle, &[command, "--help"]).ok().stdout();
            for flag in *flags {
                assert!(help.contains(flag), "{command} {flag}: {help}");
            }
        }
        let global = call(&bundle, &["--help"]).ok().stdout();
        for flag in ["--root", "--log", "--log-format", "--debug", "--systemd-cgroup", "--rootless"] {
            assert!(global.contains(flag), "{flag}: {global}");
        }
    });
}

#[test]
fn wrong_calls_fail_and_touch_nothing() {
    each(|rt| {
        let bundle = sleeper(rt);
        for args in [
            ["create"].as_slice(),
            &["create", "a", "b"],
            &["create", "--nonsense", "a"],
            &["state"],
            &["kill"],
            &["delete", "a", "b"],
            &["run", "--preserve-fds", "many", "a"],
            &["list", "--format", "xml"],
            &["events", "--interval", "soon", "a"],
        ] {
            let output = bundle.command(args).run();
            assert!(!output.success(), "{output}");
            assert!(!output.stderr().contains("panicked"), "{output}");
        }
        assert!(!call(&bundle, &["nonsense"]).success());
        assert!(!call(&bundle, &["--log-format", "xml", "list"]).success() || !rt.is_ours());
        bundle.assert_clean();
    });
}

#[test]
fn list() {
    each(|rt| {
        let bundle = sleeper(rt);
        let empty = bundle.command(["list"]).run().ok().stdout();
        let head: Vec<_> = empty.split_whitespace().collect();
        assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        assert_eq!(bundle.command(["list", "--quiet"]).run().ok().stdout(), "");
        let none = bundle.command(["list", "--format", "json"]).run().ok().text();
        assert!(none == "null" || none == "[]", "{none}");
        bundle.create().ok();
        let other = bundle.other_id("second");
        bundle.command(["run", "-d", &other]).run().ok();
        let ids = bundle.command(["list", "-q"]).run().ok().stdout();
        assert_eq!(ids.lines().collect::<Vec<_>>(), [bundle.id(), &other]);
        let table = bundle.command(["list"]).run().ok().stdout();
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..3], [bundle.id(), &bundle.pid().to_string(), "created"]);
        assert_eq!(row[3], bundle.bundle_dir().to_str().unwrap());
        assert_eq!(row[5], "root");
        let list = bundle.command(["list", "-f", "json"]).run().ok().json();
        assert_eq!(list[1]["id"], other);
        assert_eq!(list[1]["status"], "running");
        for key in ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"] {
            assert!(!list[0][key].is_null(), "{key}: {list}");
        }
    });
}

#[test]
fn ps() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "sleep 500 & sleep 501 & wait");
        bundle.run_detached().ok();
        casemate_tests::wait_until("three processes run", || {
            bundle.command(["ps", "-f", "json", bundle.id()]).run().ok().json().as_array().map(Vec::len)
                == Some(3)
        });
        let pids = bundle.command(["ps", "--format", "json", bundle.id()]).run().ok().json();
        assert!(pids.as_array().unwrap().contains(&json!(bundle.pid())));
        let table = bundle.command(["ps", bundle.id()]).run().ok().stdout();
        assert!(table.lines().next().unwrap().contains("PID") && table.lines().count() == 4, "{table}");
        let custom = bundle.command(["ps", bundle.id(), "-o", "pid,comm"]).run().ok().stdout();
        assert_eq!(custom.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
        assert_eq!(custom.lines().count(), 4, "{custom}");
    });
}

#[test]
fn spec_writes_a_bundle_that_runs() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        let config = bundle.bundle_dir().join("config.json");
        let exists = call(&bundle, &["spec"]);
        assert!(!exists.success() && exists.stderr().contains("xist"), "{exists}");
        fs::remove_file(&config).unwrap();
        call(&bundle, &["spec"]).ok();
        let mut spec: Value = fs::read_to_string(&config).unwrap().parse().unwrap();
        assert_eq!(spec["process"]["args"], json!(["sh"]));
        assert_eq!(spec["process"]["terminal"], true);
        assert_eq!(spec["root"]["path"], "rootfs");
        assert_eq!(spec["hostname"], if rt.is_ours() { spec["hostname"].clone() } else { json!("runc") });
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["echo", "from the template"]);
        bundle.edit(|c| *c = spec);
        assert_eq!(bundle.run().ok().text(), "from the template");
        let elsewhere = bundle.dir().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        call(&bundle, &["spec", "--bundle", elsewhere.to_str().unwrap(), "--rootless"]).ok();
        let rootless: Value = fs::read_to_string(elsewhere.join("config.json")).unwrap().parse().unwrap();
        let kinds = rootless["linux"]["namespaces"].as_array().unwrap();
        assert!(kinds.iter().any(|n| n["type"] == "user"), "{rootless}");
        assert!(rootless["linux"]["uidMappings"].is_array(), "{rootless}");
    });
}

#[test]
fn the_template_asks_for_what_the_references_asks_for() {
    let Some(reference) = casemate_tests::reference() else {
        return casemate_tests::skip("runc is not installed");
    };
    let template = |rt: &Runtime| -> Value {
        let bundle = Bundle::new(rt);
        fs::remove_file(bundle.bundle_dir().join("config.json")).unwrap();
        call(&bundle, &["spec"]).ok();
        fs::read_to_string(bundle.bundle_dir().join("config.json")).unwrap().parse().unwrap()
    };
    let (mine, theirs) = (template(&ours()), template(&reference));
    for pointer in [
        "/process/capabilities/bounding",
        "/process/rlimits",
        "/process/noNewPrivileges",
        "/process/env",
        "/process/cwd",
        "/root",
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/linux/resources",
        "/linux/namespaces",
    ] {
        let (a, b) = (mine.pointer(pointer), theirs.pointer(pointer));
        match (a, b) {
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                let missing: Vec<_> = b.iter().filter(|item| !a.contains(item)).collect();
                assert!(missing.is_empty(), "{pointer}: {missing:?} are not in {a:?}");
            }
            _ => assert_eq!(a, b, "{pointer}"),
        }
    }
}

#[test]
fn features() {
    each(|rt| {
        let bundle = Bundle::new(rt);
        let features = call(&bundle, &["features"]).ok().json();
        assert_eq!(features["ociVersionMin"], "1.0.0");
        assert!(features["ociVersionMax"].as_str().is_some_and(|v| v.starts_with("1.")));
        let has = |pointer: &str, word: &str| {
            let list = features.pointer(pointer).and_then(Value::as_array);
            assert!(list.is_some_and(|l| l.contains(&json!(word))), "{pointer} {word}: {features}");
        };
        for hook in
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
        {
            has("/hooks", hook);
        }
        for option in ["bind", "rbind", "ro", "nosuid", "rprivate", "tmpcopyup"] {
            has("/mountOptions", option);
        }
        for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
            has("/linux/namespaces", kind);
        }
        has("/linux/capabilities", "CAP_SYS_ADMIN");
        has("/linux/seccomp/actions", "SCMP_ACT_NOTIFY");
        has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ");
        has("/linux/seccomp/archs", "SCMP_ARCH_X86_64");
        assert_eq!(features.pointer("/linux/cgroup/v1"), Some(&json!(true)));
        assert_eq!(features.pointer("/linux/cgroup/v2"), Some(&json!(true)));
    });
}

#[test]
fn checkpoint_and_restore_say_why_not() {
    let bundle = sleeper(&ours());
    for args in [["checkpoint", "--image-path", "/x", "id"], ["restore", "--work-path", "/x", "id"]] {
        let output = bundle.command(args).run().fails_with(1);
        assert!(
            output.stderr().contains("not supported") && output.stderr().lines().count() <= 2,
            "{output}"
        );
    }
}

#[test]
fn plan_prints_and_does_nothing() {
    let bundle = &mut sleeper(&ours());
    bundle.edit(|c| {
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/touch", "args": ["touch", "/nonexistent/x"]}]})
    });
    let before = fs::read_dir(bundle.rootfs()).unwrap().count();
    let said = bundle.command(["plan", bundle.bundle_dir().to_str().unwrap()]).run().ok().stdout();
    assert!(said.lines().count() > 10, "{said}");
    assert_eq!(bundle.command(["plan"]).run().ok().stdout(), said, "the current directory is the default");
    assert_eq!(fs::read_dir(bundle.rootfs()).unwrap().count(), before);
    bundle.assert_clean();
    bundle.edit(|c| c["process"]["args"] = json!([1]));
    bundle.command(["plan"]).run().fails_with(1).fails_saying(&["config.json: process.args[0]: "]);
}

#[test]
fn an_unknown_policy_is_an_error() {
    let bundle = sleeper(&ours());
    let call = |policy: &str| {
        let call = bundle.tool(bundle.runtime().path().to_str().unwrap(), &["--policy", policy, "--root"]);
        call.arg(bundle.state_dir()).args(["create", bundle.id()]).cwd(&bundle.bundle_dir()).run()
    };
    call("nonsense").fails_with(1).fails_saying(&["nonsense"]);
    call("oci").ok();
}

#[test]
fn a_closed_output_is_no_crash() {
    let bundle = Bundle::new(&ours());
    let pipe = format!(
        "{} features | head -c 1 >/dev/null; {0} --help >&-; {0} list >/dev/full",
        bundle.runtime().path().display()
    );
    let output = bundle.tool("sh", &["-c", &pipe]).run();
    assert!(!output.stderr().contains("panicked"), "{output}");
}
