//! Configurations that are wrong: one line saying where, exit code 1, nothing left, and never a crash.

use casemate_tests::{Bundle, Output, Value, each, json, ours};

/// `run` and `create` refuse it in one line that names the place, and leave nothing.
fn refused(bundle: &Bundle, place: &str) {
    for output in [bundle.run(), bundle.create()] {
        refusal(&output, place);
    }
    bundle.assert_clean();
}

fn refusal(output: &Output, place: &str) {
    assert_eq!(output.code(), 1, "{output}");
    assert_eq!(output.stdout(), "", "{output}");
    let said = output.stderr();
    let mut lines = said.lines();
    let line = lines.next().unwrap_or_default();
    assert!(line.starts_with(&format!("runtime: config.json: {place}")), "wanted {place:?}: {output}");
    assert!(line.len() < 1000 && lines.all(|l| l.starts_with("hint: ")), "one line: {output}");
}

/// The place that the message has to name, and what is wrong there.
struct Fault(&'static str, fn(&mut Value));

/// Ours alone: the reference lets much of this pass, crashes at some of it, and names no places.
fn each_refused(faults: &[Fault]) {
    let mut bundle = Bundle::new(&ours());
    bundle.run().ok();
    let sound = bundle.config().clone();
    for Fault(place, change) in faults {
        bundle.edit(|c| {
            *c = sound.clone();
            change(c);
        });
        refused(&bundle, place);
    }
}

#[test]
fn values_of_the_wrong_type() {
    each_refused(&[
        Fault("process.args[2]: ", |c| c["process"]["args"] = json!(["a", "b", 5])),
        Fault("process.env: ", |c| c["process"]["env"] = json!("PATH=/bin")),
        Fault("process.user.uid: ", |c| c["process"]["user"]["uid"] = json!(-1)),
        Fault("process.user.gid: ", |c| c["process"]["user"]["gid"] = json!(1u64 << 33)),
        Fault("process.terminal: ", |c| c["process"]["terminal"] = json!("yes")),
        Fault("process.rlimits[0].soft: ", |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": "many", "hard": 1}]);
        }),
        Fault("root: ", |c| c["root"] = json!("rootfs")),
        Fault("root.readonly: ", |c| c["root"]["readonly"] = json!(1)),
        Fault("hostname: ", |c| c["hostname"] = json!(["a"])),
        Fault("mounts: ", |c| c["mounts"] = json!({})),
        Fault("mounts[1].options[0]: ", |c| c["mounts"][1]["options"] = json!([null])),
        Fault("linux.namespaces[0].type", |c| c["linux"]["namespaces"][0] = json!({"type": 7})),
        Fault("linux.uidMappings[0].size: ", |c| {
            c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": "all"}]);
        }),
        Fault("linux.resources.memory.limit: ", |c| {
            c["linux"]["resources"] = json!({"memory": {"limit": "64M"}});
        }),
        Fault("linux.maskedPaths[0]: ", |c| c["linux"]["maskedPaths"] = json!([{}])),
        Fault("annotations", |c| c["annotations"] = json!({"key": 5})),
        Fault("hooks.prestart[0].path: ", |c| c["hooks"] = json!({"prestart": [{"path": 5}]})),
    ]);
}

#[test]
fn values_no_container_can_have() {
    each_refused(&[
        Fault("process.args: ", |c| c["process"]["args"] = json!([])),
        Fault("process.cwd: ", |c| c["process"]["cwd"] = json!("relative")),
        Fault("process.rlimits[0].type: ", |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]);
        }),
        Fault("linux.namespaces[", |c| c["linux"]["namespaces"][0] = json!({"type": "none"})),
        Fault("linux.rootfsPropagation: ", |c| c["linux"]["rootfsPropagation"] = json!("sideways")),
        Fault("linux.sysctl", |c| c["linux"]["sysctl"] = json!({"vm.swappiness": "1"})),
        Fault("linux.seccomp.defaultAction: ", |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_NONE"})
        }),
        Fault("ociVersion: ", |c| c["ociVersion"] = json!("one")),
        Fault("process.cwd: is required", |c| drop(c["process"].as_object_mut().unwrap().remove("cwd"))),
        Fault("root: is required", |c| drop(c.as_object_mut().unwrap().remove("root"))),
        Fault("process.args[1]: ", |c| c["process"]["args"] = json!(["a", "b\0c"])),
        Fault("process.env[0]: ", |c| c["process"]["env"] = json!(["NOEQUALS"])),
        Fault("mounts[0].destination: ", |c| c["mounts"][0] = json!({"type": "proc"})),
        Fault("hooks.createRuntime[0].path: ", |c| {
            c["hooks"] = json!({"createRuntime": [{"path": "relative"}]})
        }),
        Fault("linux.namespaces[", |c| c["linux"]["namespaces"][1] = json!({"type": "pid"})),
        Fault("ociVersion: ", |c| c["ociVersion"] = json!("2.0.0")),
    ]);
}

#[test]
fn documents_that_are_no_json() {
    let bundle = Bundle::new(&ours());
    bundle.run().ok();
    let whole = bundle.config().to_string();
    let mut texts: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "[]",
        "null",
        "5",
        "\"text\"",
        "{\"a\":}",
        "{} {}",
        "\u{feff}{}",
        "{\"ociVersion\": \"1.0.2\",}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    texts.push(b"{\"hostname\": \"\xff\xfe\"}".to_vec());
    texts.push(vec![0; 4096]);
    texts.extend((1..8).map(|n| whole.as_bytes()[..whole.len() * n / 8].to_vec()));
    for text in &texts {
        bundle.raw_config(text);
        let output = bundle.run();
        refusal(&output, "");
    }
    bundle.assert_clean();
}

#[test]
fn a_missing_or_strange_file() {
    each(|rt| {
        let bundle = Bundle::new(rt);
        let path = bundle.bundle_dir().join("config.json");
        std::fs::remove_file(&path).unwrap();
        let output = bundle.run().fails_with(1);
        assert!(output.stderr().contains("config.json"), "{output}");
        std::fs::create_dir(&path).unwrap();
        bundle.run().fails_with(1);
        bundle.assert_clean();
    });
    // Reading a fifo would wait for a writer who never comes.
    let bundle = Bundle::new(&ours());
    let path = bundle.bundle_dir().join("config.json");
    std::fs::remove_file(&path).unwrap();
    bundle.tool("mkfifo", &[path.to_str().unwrap()]).run().ok();
    bundle.run().fails_with(1);
}

#[test]
fn depth_and_size_are_bounded() {
    let rt = ours();
    let bundle = Bundle::new(&rt);
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"annotations\": {}1{}}}", open.repeat(100_000), close.repeat(100_000));
        bundle.raw_config(deep.as_bytes());
        refusal(&bundle.run(), "");
    }
    let large = format!("{{\"annotations\": {{\"a\": \"{}\"}}}}", "x".repeat(17 << 20));
    bundle.raw_config(large.as_bytes());
    refusal(&bundle.run(), "");
    // Many small values, each costing more in memory than in the file.
    let many = format!("{{\"annotations\": [{}0]}}", "0,".repeat(7 << 20));
    bundle.raw_config(many.as_bytes());
    let limit = bundle.command(["run", bundle.id()]).prepared("ulimit -v 1500000");
    refusal(&limit.run(), "");
    bundle.assert_clean();
}

#[test]
fn up_to_16_mib_are_read() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "echo fine");
        let filler = "x".repeat(1 << 20);
        bundle.edit(|c| {
            let entries = (0..15).map(|n| (format!("filler{n}"), json!(filler)));
            c["annotations"] = Value::Object(entries.collect());
        });
        assert_eq!(bundle.run().ok().text(), "fine");
    });
}

#[test]
fn unknown_properties_are_ignored() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "echo fine");
        bundle.edit(|c| {
            c["someday"] = json!({"a": [1, 2]});
            c["process"]["someday"] = json!(true);
            c["linux"]["someday"] = json!(["x"]);
            c["vm"] = json!({"kernel": {"path": "/x"}});
        });
        assert_eq!(bundle.run().ok().text(), "fine");
    });
    let mut bundle = Bundle::sh(&ours(), "echo fine");
    bundle.edit(|c| c["process"]["someday"] = json!(true));
    let output =
        bundle.tool(bundle.runtime().path().to_str().unwrap(), &["--debug", "--policy", "oci", "--root"]);
    let output =
        output.arg(bundle.state_dir()).args(["run", bundle.id()]).cwd(&bundle.bundle_dir()).run().ok();
    assert!(output.stderr().contains("process.someday"), "reported at debug level: {output}");
}

/// Every single byte of a good document damaged in turn would take too long; a stride that is prime to everything
/// visits all kinds of places.
#[test]
fn damaged_documents_never_crash_it() {
    let bundle = Bundle::new(&ours());
    let whole = bundle.config().to_string().into_bytes();
    for (round, at) in (0..whole.len()).step_by(13).enumerate() {
        let mut damaged = whole.clone();
        damaged[at] = [b'"', b'0', b'{', b'}', 0xff, b'-', b'e', b'\\'][round % 8];
        bundle.raw_config(&damaged);
        let output = bundle.command(["create", bundle.id()]).run();
        assert!([0, 1].contains(&output.code()), "at {at}: {output}");
        assert!(!output.stderr().contains("panicked"), "{output}");
        bundle.delete_force().ok();
    }
    bundle.assert_clean();
}

#[test]
fn the_log_says_it_in_the_form_that_engines_read() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.edit(|c| c["process"]["args"] = json!(["a", 5]));
        let log = bundle.dir().join("log");
        let run = |format: &str| {
            std::fs::remove_file(&log).ok();
            let call = bundle
                .tool(rt.path().to_str().unwrap(), &["--log", log.to_str().unwrap(), "--log-format", format]);
            call.arg("--root")
                .arg(bundle.state_dir())
                .args(["run", bundle.id()])
                .cwd(&bundle.bundle_dir())
                .run()
                .fails_with(1);
            std::fs::read_to_string(&log).unwrap()
        };
        let json = run("json");
        let entry: Value = json.lines().last().unwrap().parse().expect("a line of JSON");
        assert_eq!(entry["level"], "error");
        assert!(entry["msg"].as_str().is_some_and(|m| !m.is_empty() && entry["time"].is_string()), "{entry}");
        let text = run("text");
        assert!(
            text.contains("level=error") && text.contains("msg=\"") && text.contains("time=\""),
            "{text}"
        );
    });
}
