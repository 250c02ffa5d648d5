//! `check`, `grade`, `state` and denials: what a policy makes of a bundle, said to people and to programs.

use std::fs;

use casemate_tests::{Bundle, Output, Value, json, ours};

fn check(bundle: &Bundle, args: &[&str]) -> Output {
    bundle.command(["check"]).args(args).run()
}

fn rows(report: &Value) -> &Vec<Value> {
    report["protections"].as_array().expect("protections")
}

#[test]
fn an_admitted_bundle_is_0_and_a_denied_one_3() {
    let mut bundle = Bundle::new(&ours());
    bundle.policy("hardened");
    check(&bundle, &[]).ok();
    bundle.without_namespace("network");
    let denied = check(&bundle, &[]).fails_with(3);
    for said in ["denied", "linux.namespaces", "shared_with_host"] {
        assert!(denied.stdout().contains(said), "{said}: {denied}");
    }
    check(&bundle, &["--policy", "oci"]).ok();
    // A policy after the subcommand wins over one before it, and BUNDLE may be named.
    let path = bundle.bundle_dir();
    bundle.command(["check", path.to_str().unwrap(), "--policy", "baseline"]).run().ok();
    // What is no container's at all is an error like any other.
    bundle.edit(|c| c["process"]["cwd"] = json!("relative"));
    check(&bundle, &[]).fails_with(1).fails_saying(&["config.json: process.cwd: "]);
    bundle.raw_config(b"{");
    check(&bundle, &[]).fails_with(1);
    check(&bundle, &["/nowhere"]).fails_with(1).fails_saying(&["/nowhere"]);
    bundle.assert_clean();
}

#[test]
fn every_protection_has_a_row_under_every_policy() {
    let bundle = Bundle::new(&ours());
    let mut names = Vec::new();
    for policy in ["strict", "hardened", "baseline", "oci"] {
        let report = check(&bundle, &["--format", "json", "--policy", policy]).ok().json();
        assert_eq!(report["policy"]["name"], policy);
        assert_eq!(report["verdict"], "admitted");
        assert_eq!(report["violations"], json!([]));
        for row in rows(&report) {
            for key in ["name", "asked", "enforced", "rule", "exposes"] {
                assert!(row[key].as_str().is_some_and(|said| !said.is_empty()), "{policy}: {key}: {row:#}");
            }
        }
        let these: Vec<_> = rows(&report).iter().map(|row| row["name"].clone()).collect();
        assert!(these.len() >= 15, "{these:?}");
        if names.is_empty() {
            names = these;
        } else {
            assert_eq!(names, these, "{policy} has other rows");
        }
        let text = check(&bundle, &["--policy", policy]).ok().stdout();
        for name in &names {
            assert!(text.contains(name.as_str().unwrap()), "{policy}: {name}: {text}");
        }
    }
}

#[test]
fn changes_and_violations_say_rule_field_asked_and_remedy() {
    let mut bundle = Bundle::new(&ours());
    bundle.capabilities(&["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    let report = check(&bundle, &["--format", "json", "--policy", "hardened"]).ok().json();
    let changes = report["changes"].as_array().unwrap();
    let dropped = changes.iter().find(|c| c["field"].as_str().unwrap().starts_with("process.capabilities"));
    let dropped = dropped.unwrap_or_else(|| panic!("no capability dropped: {report:#}"));
    assert!(dropped["asked"].as_str().unwrap().contains("SYS_ADMIN"), "{dropped:#}");
    for key in ["rule", "enforced"] {
        assert!(dropped[key].is_string(), "{dropped:#}");
    }
    bundle.without_namespace("network").without_namespace("ipc");
    let report = check(&bundle, &["--format", "json", "--policy", "hardened"]).fails_with(3).json();
    assert_eq!(report["verdict"], "denied");
    let violations = report["violations"].as_array().unwrap();
    assert!(violations.len() >= 2, "{report:#}");
    for violation in violations {
        for key in ["rule", "field", "asked", "allowed", "remedy"] {
            assert!(violation[key].as_str().is_some_and(|said| !said.is_empty()), "{key}: {violation:#}");
        }
    }
}

/// The remedies, one line of policy each, are all it takes.
#[test]
fn a_policy_of_the_remedies_admits_what_was_denied() {
    let mut bundle = Bundle::new(&ours());
    bundle.without_namespace("network").without_namespace("ipc").policy("hardened");
    let report = check(&bundle, &["--format", "json"]).fails_with(3).json();
    let mut policy = String::from("extends = \"hardened\"\n");
    // One line that answers several violations is said with each of them.
    let mut lines: Vec<_> =
        report["violations"].as_array().unwrap().iter().map(|v| v["remedy"].as_str().unwrap()).collect();
    lines.sort_unstable();
    lines.dedup();
    if lines.iter().all(|line| line.starts_with("namespaces.shared_with_host = ")) {
        lines = vec![r#"namespaces.shared_with_host = ["network", "ipc"]"#];
    }
    policy.push_str(&lines.join("\n"));
    let file = bundle.file("relaxed.toml", policy);
    check(&bundle, &["--policy", file.to_str().unwrap()]).ok();
}

/// dockerd shows its user the last line of the runtime's log.
#[test]
fn a_denial_is_one_readable_sentence() {
    let mut bundle = Bundle::new(&ours());
    bundle.policy("hardened").without_namespace("network");
    let log = bundle.dir().join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json", "create", bundle.id()];
    let output = bundle.command(flags).run().fails_with(1);
    let text = fs::read_to_string(&log).unwrap();
    let last: Value = text.lines().last().unwrap().parse().unwrap();
    let said = last["msg"].as_str().unwrap();
    assert_eq!(last["level"], "error");
    for word in ["hardened", "network", "shared_with_host"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains('\n') && said.len() < 600, "{said}");
    assert!(output.stderr().contains(said), "{output}");
    bundle.assert_clean();
}

#[test]
fn state_tells_what_confines_a_container() {
    let mut bundle = Bundle::new(&ours());
    bundle.policy("baseline").args(&["/bin/sleep", "1000"]);
    bundle.create().ok();
    let state = bundle.state();
    let report = check(&bundle, &["--format", "json"]).ok().json();
    assert_eq!(state["casemate"]["policy"], "baseline");
    assert_eq!(state["casemate"]["chosen"], "baseline (command line)");
    assert_eq!(state["casemate"]["audit"], false);
    let told = rows(&state["casemate"]);
    assert_eq!(told.len(), rows(&report).len());
    for (told, row) in told.iter().zip(rows(&report)) {
        assert_eq!((&told["name"], &told["rule"]), (&row["name"], &row["rule"]));
    }
    // Engines compare what `list` says with the reference's.
    let listed = bundle.command(["list", "--format", "json"]).run().ok().json();
    assert!(listed[0].get("casemate").is_none(), "{listed:#}");
}

#[test]
fn a_grade_is_lower_the_less_is_enforced() {
    let bundle = Bundle::new(&ours());
    let mut exposures = Vec::new();
    for policy in ["strict", "hardened", "baseline", "oci"] {
        let grade = bundle.command(["grade", "--format", "json", "--policy", policy]).run().ok().json();
        exposures.push((policy, grade["exposure"].as_f64().expect("exposure")));
        let text = bundle.command(["grade", "--policy", policy]).run().ok().stdout();
        assert!(text.contains(grade["word"].as_str().expect("a word")), "{text}");
    }
    assert!(exposures.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{exposures:?}");
    assert!(exposures[0].1 < exposures[3].1, "{exposures:?}");
}

/// It is kept like that for `exec`.
#[test]
fn a_policy_that_is_shown_is_the_policy() {
    let bundle = Bundle::new(&ours());
    let show = |policy: &str| bundle.command(["policy", "show", policy]).run().ok().stdout();
    for policy in ["strict", "hardened", "baseline", "oci"] {
        let shown = show(policy);
        let file = bundle.file("shown.toml", &shown);
        assert_eq!(show(file.to_str().unwrap()), shown);
        let report = |policy: &str| {
            let said = check(&bundle, &["--format", "json", "--policy", policy]).ok().json();
            (said["protections"].clone(), said["changes"].clone())
        };
        assert_eq!(report(file.to_str().unwrap()), report(policy));
    }
}

#[test]
fn what_the_terminal_would_obey_is_not_printed() {
    let mut bundle = Bundle::new(&ours());
    bundle.policy("hardened");
    bundle.edit(|c| c["linux"]["sysctl"] = json!({"kernel.\u{1b}[2J": "1"}));
    let output = check(&bundle, &[]);
    assert!(!output.stdout().contains('\u{1b}') && !output.stderr().contains('\u{1b}'), "{output}");
}
