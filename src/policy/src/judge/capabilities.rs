//! Capabilities, and no_new_privs.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};

use super::Case;
use crate::schema::Word;

const RULE: &str = "capabilities";

/// A set of the configuration: its name, and how it is read and replaced.
type Set = (
    &'static str,
    fn(&LinuxCapabilities) -> &Option<HashSet<Capability>>,
    fn(&mut LinuxCapabilities, Option<HashSet<Capability>>) -> &mut LinuxCapabilities,
);

const SETS: [Set; 5] = [
    ("bounding", LinuxCapabilities::bounding, LinuxCapabilities::set_bounding),
    ("effective", LinuxCapabilities::effective, LinuxCapabilities::set_effective),
    ("permitted", LinuxCapabilities::permitted, LinuxCapabilities::set_permitted),
    ("inheritable", LinuxCapabilities::inheritable, LinuxCapabilities::set_inheritable),
    ("ambient", LinuxCapabilities::ambient, LinuxCapabilities::set_ambient),
];

pub(super) fn apply(case: &mut Case<'_>) {
    if let Some(allowed) = case.rules.capabilities.list() {
        drop_others(case, allowed);
    }
    let asked = case.process().and_then(|process| process.no_new_privileges());
    if case.rules.no_new_privs && asked != Some(true) {
        if let Some(process) = case.config.spec.process_mut() {
            process.set_no_new_privileges(Some(true));
        }
        case.change("no-new-privileges", "process.noNewPrivileges", "off", "on");
    }
}

fn drop_others(case: &mut Case<'_>, allowed: &[Capability]) {
    let Some(process) = case.config.spec.process_mut() else { return };
    let Some(mut sets) = process.capabilities().clone() else { return };
    let mut dropped = Vec::new();
    for (name, get, set) in SETS {
        let Some(asked) = get(&sets).as_ref() else { continue };
        let kept: HashSet<Capability> = asked.iter().filter(|c| allowed.contains(c)).copied().collect();
        if kept.len() < asked.len() {
            let lost = names(asked.difference(&kept));
            dropped.push((name, lost, names(kept.iter())));
            set(&mut sets, Some(kept));
        }
    }
    process.set_capabilities(Some(sets));
    for (name, lost, kept) in dropped {
        let kept = if kept.is_empty() { "none".to_owned() } else { kept };
        case.change(RULE, format!("process.capabilities.{name}"), lost, kept);
    }
}

fn names<'a>(set: impl Iterator<Item = &'a Capability>) -> String {
    let mut names: Vec<String> = set.map(Word::text).collect();
    names.sort();
    names.join(" ")
}
