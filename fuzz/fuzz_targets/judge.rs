//! The engine: real engines' configurations, changed at will, under the policies compiled in and others.
//!
//! Judging ends without a panic. What is admitted is never wider than what was asked, stays as it is when it is
//! judged again, and is admitted by laxer policies too.
#![no_main]

#[path = "../configurations.rs"]
mod configurations;

use std::collections::BTreeSet;

use casemate_policy::{Admitted, Builtin, Confinement, Denied, HostFacts, Policy, judge, load};
use casemate_spec::{Config, Error, config};
use configurations::Choices;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let Ok(policy) = load(&choices.policy(), "fuzz.toml", &mut Builtin) else { return };
    let host = facts(&mut choices);
    let document = choices.configuration();
    let Ok(config) = config::parse(document.to_string().as_bytes()) else { return };

    let admitted = judge(config.clone(), &policy, &host);
    if let Ok(admitted) = &admitted {
        narrowed(&config, admitted);
        let again = judge(admitted.config().clone(), &policy, &host).expect("admitted once");
        assert_eq!(again.config(), admitted.config(), "{document}");
        assert_eq!(again.changes(), [], "{document}");
    }
    said(&admitted);
    if !unmapped(&document) {
        monotone(&config, &policy, &host, admitted.is_ok());
    }
});

fn facts(choices: &mut Choices<'_>) -> HostFacts {
    let mut host = HostFacts { kernel: (6, 18), cpus: 2, ..HostFacts::default() };
    let flags = choices.byte();
    host.landlock_abi = u32::from(flags & 7);
    host.in_user_namespace = flags & 8 != 0;
    host.host.rootless = flags & 16 != 0;
    host
}

/// A denial is one readable line.
fn said(judged: &Result<Admitted, Denied>) {
    let Err(denied) = judged else { return };
    let text = Error::from(denied.clone()).to_string();
    assert!(!denied.violations().is_empty() && !text.chars().any(char::is_control), "{text:?}");
}

/// Whether a new user namespace is asked for without ids: policies that give containers ids of their own fill them in,
/// and to those that take a bundle to the letter it is malformed.
fn unmapped(document: &Value) -> bool {
    let lacks = |map: &str| document.pointer(map).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let namespaces = document.pointer("/linux/namespaces").and_then(Value::as_array);
    namespaces.into_iter().flatten().any(|namespace| namespace["type"] == "user")
        && (lacks("/linux/uidMappings") || lacks("/linux/gidMappings"))
}

/// What a stricter policy admits, a laxer one admits; what one of two refuses, their meet refuses.
fn monotone(config: &Config, policy: &Policy, host: &HostFacts, admitted: bool) {
    let builtin = Policy::BUILTIN.map(|name| Policy::builtin(name).expect("compiled in"));
    let verdicts = builtin.each_ref().map(|policy| judge(config.clone(), policy, host).is_ok());
    assert!(verdicts.is_sorted(), "{:?}: {verdicts:?}", Policy::BUILTIN);
    for (other, verdict) in builtin.iter().zip(verdicts) {
        let both = judge(config.clone(), &policy.meet(other), host).is_ok();
        assert!(!both || admitted && verdict, "{} and {}", policy.name(), other.name());
    }
    let oci = builtin.last().expect("four");
    if let Ok(letter) = judge(config.clone(), oci, host) {
        assert_eq!((letter.config(), letter.confinement()), (config, &Confinement::default()));
    }
}

/// Of everything that gives a right, no more than asked; of everything that takes one, no less.
fn narrowed(asked: &Config, admitted: &Admitted) {
    let json = |config: &Config| serde_json::to_value(&config.spec).expect("plain data");
    let (asked, given) = (json(asked), json(admitted.config()));
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        let at = format!("/process/capabilities/{set}");
        assert!(words(&given, &at).is_subset(&words(&asked, &at)), "{set}");
    }
    for list in ["maskedPaths", "readonlyPaths"] {
        let at = format!("/linux/{list}");
        assert!(words(&given, &at).is_superset(&words(&asked, &at)), "{list}");
    }
    for flag in ["/process/noNewPrivileges", "/root/readonly"] {
        let on = |config: &Value| config.pointer(flag) == Some(&Value::Bool(true));
        assert!(!on(&asked) || on(&given), "{flag}");
    }
    for kept in ["/process/args", "/process/user/uid", "/linux/seccomp", "/root/path", "/hooks"] {
        assert_eq!(asked.pointer(kept), given.pointer(kept), "{kept}");
    }
    let kinds = |config: &Value| -> BTreeSet<String> {
        let all = config.pointer("/linux/namespaces").and_then(Value::as_array);
        all.into_iter().flatten().map(|namespace| namespace["type"].to_string()).collect()
    };
    assert!(kinds(&given).is_superset(&kinds(&asked)));
    for (limit, unlimited) in [("memory/limit", -1), ("memory/swap", -1), ("pids/limit", -1)] {
        let at = format!("/linux/resources/{limit}");
        let most = |config: &Value| {
            let asked = config.pointer(&at).and_then(Value::as_i64);
            asked.filter(|asked| *asked > 0 && *asked != unlimited).unwrap_or(i64::MAX)
        };
        assert!(most(&given) <= most(&asked), "{limit}");
    }
    let allowed = |config: &Value| -> BTreeSet<String> {
        let all = config.pointer("/linux/devices").and_then(Value::as_array);
        all.into_iter().flatten().map(|device| device["path"].to_string()).collect()
    };
    assert!(allowed(&given).is_subset(&allowed(&asked)));
}

fn words(config: &Value, at: &str) -> BTreeSet<String> {
    config.pointer(at).and_then(Value::as_array).into_iter().flatten().map(Value::to_string).collect()
}
