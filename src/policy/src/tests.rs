//! The gate opens and closes.

use casemate_spec::{Config, Error};

use super::*;

fn config(text: &str) -> Config {
    casemate_spec::parse(text.as_bytes()).unwrap()
}

const GOOD: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"]}}"#;

#[test]
fn the_bundle_passes_to_the_letter() {
    let asked = config(GOOD);
    let admitted = judge(asked.clone(), &Policy::oci(), &HostFacts::default()).unwrap();
    assert_eq!(admitted.config(), &asked);
    assert_eq!(admitted.changes(), []);
    assert_eq!(admitted.policy(), &Policy::oci());
    assert_eq!(admitted.confinement(), &Confinement::default());
}

#[test]
fn every_violation_is_said_in_one_line() {
    let bad = config(r#"{"ociVersion":"9","root":{"path":"rootfs"},"process":{"cwd":"x","args":["sh"]}}"#);
    let denied = judge(bad, &Policy::oci(), &HostFacts::default()).unwrap_err();
    assert_eq!(denied.violations().len(), 2);
    assert_eq!(
        Error::from(denied).to_string(),
        "config.json: ociVersion: expected a version 1.x.y, found \"9\"; process.cwd: expected an absolute path, \
         found \"x\""
    );
}

#[test]
fn a_flood_of_violations_stays_readable() {
    let env = vec!["\"x\""; 5000].join(",");
    let bad = format!(
        r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"process":{{"cwd":"/","args":["a"],"env":[{env}]}}}}"#
    );
    let denied = judge(config(&bad), &Policy::oci(), &HostFacts::default()).unwrap_err();
    assert_eq!(denied.violations().len(), 5000);
    let text = denied.to_string();
    assert!(text.ends_with("; and 4980 more") && text.len() < 2000, "{text}");
}
