//! What the parser takes, and how it says no.

use oci_spec::runtime::{Capability, LinuxSchedulerFlag};
use proptest::prelude::*;

use super::*;

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn refusals_say_where_and_what() {
    let cases = [
        (
            r#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":["a","b",5]}}"#,
            "config.json: process.args[2]: expected a string, found integer `5`",
        ),
        (r#"{"process":{"args":["a"]}}"#, "config.json: process.cwd: is required and missing"),
        (
            r#"{"process":{"cwd":"/","user":{"uid":-1}}}"#,
            "config.json: process.user.uid: expected a whole number from 0 to 4294967295, found integer `-1`",
        ),
        (r#"{"mounts":{}}"#, "config.json: mounts: expected an array, found map"),
        (r#"{"mounts":[{}]}"#, "config.json: mounts[0].destination: is required and missing"),
        (r#"{"root":"rootfs"}"#, "config.json: root: expected an object, found string \"rootfs\""),
        (r#"{"hostname":"a\u0000b"}"#, "config.json: hostname: the text holds a NUL byte"),
        (r#"[]"#, "config.json: expected an object, found an array"),
        ("{\n  \"a\": tru }", "config.json: line 2, column 11: expected ident"),
        ("", "config.json: line 1, column 0: EOF while parsing a value"),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "for {text}");
    }
}

#[test]
fn unknown_variants_are_named() {
    let text = r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"mnt"}]}}"#;
    let message = refusal(text);
    assert!(message.starts_with("config.json: linux.namespaces[1].type: unknown variant `mnt`"), "{message}");
}

#[test]
fn a_message_is_one_short_line_whatever_the_document_holds() {
    let text = format!(r#"{{"process":{{"cwd":"/","terminal":"a\nb{}"}}}}"#, "x".repeat(100_000));
    let message = refusal(&text);
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
}

#[test]
fn unknown_things_are_ignored_and_listed() {
    let text = r#"{"ociVersion":"1.3.0","future":1,"vm":{"kernel":5},
        "process":{"cwd":"/","capabilities":{"bounding":["CAP_CHOWN","CAP_FROM_LATER"]},"newer":[]}}"#;
    let config = parse(text.as_bytes()).unwrap();
    let mut ignored = config.ignored;
    ignored.sort();
    assert_eq!(
        ignored,
        [
            "future: unknown property",
            "process.capabilities.bounding[1]: unknown capability \"CAP_FROM_LATER\"",
            "process.newer: unknown property",
            "vm: unknown property",
        ]
    );
    let process = config.spec.process().as_ref().unwrap();
    let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
    assert_eq!(bounding.iter().collect::<Vec<_>>(), [&Capability::Chown]);
}

#[test]
fn absent_null_and_empty_are_one() {
    let text = r#"{"ociVersion":"1.0.2","hostname":"","hooks":null,"mounts":null,"linux":{"cgroupsPath":"",
        "namespaces":[{"type":"network","path":""}],"seccomp":null,"resources":{"devices":null}}}"#;
    let config = parse(text.as_bytes()).unwrap();
    let linux = config.spec.linux().as_ref().unwrap();
    assert_eq!(config.spec.hostname(), &None);
    assert_eq!(linux.cgroups_path(), &None);
    assert_eq!(linux.namespaces().as_ref().unwrap()[0].path(), &None);
    assert!(config.ignored.is_empty());
}

#[test]
fn every_scheduler_flag_of_the_specification_is_known() {
    let text = r#"{"cwd":"/","scheduler":{"policy":"SCHED_DEADLINE","flags":["SCHED_FLAG_RESET_ON_FORK",
        "SCHED_FLAG_RECLAIM","SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_KEEP_POLICY","SCHED_FLAG_KEEP_PARAMS",
        "SCHED_FLAG_UTIL_CLAMP_MIN","SCHED_FLAG_UTIL_CLAMP_MAX"]}}"#;
    let process = parse_process(text.as_bytes()).unwrap();
    let flags = process.scheduler().as_ref().unwrap().flags().as_ref().unwrap();
    assert_eq!(flags.len(), 7);
    assert_eq!(flags[0], LinuxSchedulerFlag::SchedResetOnFork);
    assert_eq!(flags[2], LinuxSchedulerFlag::SchedFlagDLOverrun);
}

#[test]
fn everything_of_1_3_reaches_the_types() {
    let text = include_bytes!("../../testdata/everything.json");
    let config = parse(text).unwrap();
    assert_eq!(config.ignored, Vec::<String>::new());
    let written: Value = serde_json::from_slice(text).unwrap();
    let read = serde_json::to_value(&config.spec).unwrap();
    assert_eq!(lost(&written, &read, String::new()), Vec::<String>::new());
}

/// Places of `written` that `read` does not have, or has otherwise.
fn lost(written: &Value, read: &Value, place: String) -> Vec<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written
            .iter()
            .flat_map(|(name, value)| {
                lost(value, read.get(name).unwrap_or(&Value::Null), format!("{place}.{name}"))
            })
            .collect(),
        // Capabilities become a set: their order is not kept.
        (Value::Array(written), Value::Array(read)) if place.contains(".capabilities.") => {
            written.iter().filter(|item| !read.contains(item)).map(|_| place.clone()).collect()
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            written.iter().zip(read).flat_map(|(w, r)| lost(w, r, format!("{place}[]"))).collect()
        }
        (written, read) if written == read => Vec::new(),
        _ => vec![place],
    }
}

#[test]
fn sizes_beyond_the_types_are_the_largest() {
    let text = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":18446744073709551615}]}"#;
    let resources = parse_resources(text.as_bytes()).unwrap();
    assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);
}

#[test]
fn a_process_may_leave_its_user_out() {
    assert_eq!(parse_process(br#"{"cwd":"/","args":["sh"]}"#).unwrap().user().uid(), 0);
}

#[test]
fn documents_beyond_16_mib_are_refused_unread() {
    let text = format!("{{\"hostname\":\"{}\"}}", "x".repeat(MAX_BYTES));
    assert_eq!(refusal(&text), "config.json: the document has more than 16777216 bytes");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Err(error) = parse(&bytes) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    /// One value of a good document replaced by another: parsed, or refused with the place named.
    #[test]
    fn a_damaged_document_is_parsed_or_refused(at in 0usize..400, with in 0usize..6) {
        let mut value: Value = serde_json::from_slice(include_bytes!("../../testdata/everything.json")).unwrap();
        let mut left = at;
        damage(&mut value, &mut left, with);
        if let Err(error) = parse(value.to_string().as_bytes()) {
            prop_assert!(!error.to_string().contains('\n'));
            prop_assert!(error.to_string().starts_with("config.json: "));
        }
    }
}

fn damage(value: &mut Value, left: &mut usize, with: usize) {
    if *left == 0 {
        let others = [
            Value::Null,
            Value::from(-1),
            Value::from("\n"),
            Value::Array(vec![]),
            Value::from(1.5),
            Value::from(true),
        ];
        *value = others[with].clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| damage(item, left, with)),
        Value::Object(map) => map.values_mut().for_each(|item| damage(item, left, with)),
        _ => {}
    }
}
