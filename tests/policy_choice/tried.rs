//! Audit only: told, and nothing changed.

use std::fs;
use std::os::unix::fs::symlink;

use casemate_tests::{Bundle, Value, json};

use super::{ask_for_new_privileges, call, host, new_privileges};

fn audited(bundle: &Bundle) -> Vec<Value> {
    let text = fs::read_to_string(bundle.dir().join("audit.jsonl")).unwrap_or_default();
    text.lines().map(parsed).collect()
}

fn parsed(line: &str) -> Value {
    line.parse().unwrap_or_else(|error| panic!("not JSON: {error}: {line}"))
}

#[test]
fn what_is_only_tried_is_logged_and_changes_nothing() {
    let (mut bundle, etc) = host("audit = true\n");
    ask_for_new_privileges(&mut bundle);
    assert_eq!(new_privileges(&bundle, &etc, &[]).ok().text(), "NoNewPrivs:\t0");
    let lines = audited(&bundle);
    let told = |lines: &[Value], action: &str, field: &str| {
        lines.iter().any(|line| {
            line["action"] == action
                && line["field"].as_str().is_some_and(|said| said.starts_with(field))
                && line["container"] == bundle.id()
                && line["policy"] == "hardened"
                && line["command"] == "create"
                && ["time", "rule", "asked", "allowed"].iter().all(|key| line[*key].is_string())
        })
    };
    assert!(told(&lines, "would-tighten", "process.noNewPrivileges"), "{lines:#?}");
    assert!(lines.iter().all(|line| line["action"] == "would-tighten"), "{lines:#?}");
    let mut told_once: Vec<_> =
        lines.iter().map(|line| format!("{} {}", line["field"], line["asked"])).collect();
    told_once.sort_unstable();
    told_once.dedup();
    assert_eq!(told_once.len(), lines.len(), "told more than once: {lines:#?}");
    // What would be denied passes too.
    fs::remove_file(bundle.dir().join("audit.jsonl")).unwrap();
    let (id, seen) = (bundle.id().to_owned(), bundle.dir().join("audit.jsonl"));
    bundle.without_namespace("network");
    let output = new_privileges(&bundle, &etc, &[]).ok();
    assert!(output.stderr().contains(seen.to_str().unwrap()), "{output}");
    let lines = audited(&bundle);
    let denied = lines.iter().find(|line| line["action"] == "would-deny").expect("a line for the denial");
    assert_eq!(denied["container"], id.as_str());
    assert!(denied["remedy"].as_str().is_some_and(|remedy| remedy.contains("network")), "{denied:#}");
    // Neither check nor plan is a container.
    let before = audited(&bundle).len();
    call(&bundle, &etc, &["plan"]).ok();
    call(&bundle, &etc, &["check"]).fails_with(3);
    assert_eq!(audited(&bundle).len(), before);
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let (mut bundle, etc) = host("audit = true\n");
    ask_for_new_privileges(&mut bundle);
    let victim = bundle.file("victim", "");
    symlink(&victim, bundle.dir().join("audit.jsonl")).unwrap();
    let output = new_privileges(&bundle, &etc, &[]).ok();
    assert!(output.stderr().contains("audit log"), "{output}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "", "the log was written through a link");
}

#[test]
fn exec_is_tried_where_its_container_was() {
    let (mut bundle, etc) = host("");
    bundle.args(&["/bin/sleep", "1000"]).edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    call(&bundle, &etc, &["--audit", "run", "-d", bundle.id()]).ok();
    let said = call(&bundle, &etc, &["exec", bundle.id(), "/bin/grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(said.ok().text(), "NoNewPrivs:\t0");
    let lines = audited(&bundle);
    assert!(lines.iter().any(|line| line["command"] == "exec"), "{lines:#?}");
    let state = call(&bundle, &etc, &["state", bundle.id()]).ok().json();
    assert_eq!(state["casemate"]["audit"], true, "{state:#}");
}
