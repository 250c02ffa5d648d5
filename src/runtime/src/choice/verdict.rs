//! A refusal in one readable sentence: engines show their users the last line of a runtime's log.

use std::fmt::Write;

use casemate_policy::{Denied, Policy};
use casemate_spec::{Error, Violation};

/// How many violations a sentence holds; `runtime check` shows all of them.
const SHOWN: usize = 3;

/// Why `policy` denies a container; where the specification's own rules are broken, those are said instead, since
/// no policy would help.
pub fn denial(policy: &Policy, denied: Denied) -> Error {
    if is_malformed(&denied) {
        return Error::from(denied);
    }
    let forbidden = denied.violations();
    let mut text = String::new();
    for (index, violation) in forbidden.iter().take(SHOWN).enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        // Writing to a String does not fail.
        write!(text, "{separator}{}", sentence(violation)).unwrap_or_default();
    }
    if let Some(more @ 1..) = forbidden.len().checked_sub(SHOWN) {
        write!(text, "; and {more} more").unwrap_or_default();
    }
    Error::new(format!("policy {policy} denies this container"), text)
        .hint("runtime check BUNDLE shows every protection and what each rule says")
}

/// Whether it is the specification's own rules that are broken: no policy would admit that.
pub fn is_malformed(denied: &Denied) -> bool {
    denied.violations().iter().any(is_broken)
}

/// Whether a violation is of the specification itself.
pub fn is_broken(violation: &Violation) -> bool {
    violation.rule.starts_with("oci/")
}

/// Such as `linux.namespaces: the host's network is not allowed (rule namespaces); [namespaces] … would allow it`.
fn sentence(violation: &Violation) -> String {
    let Violation { rule, field, asked, allowed, remedy } = violation;
    let asked = if asked.is_empty() { "nothing" } else { asked };
    let verdict = format!("{field}: {asked} is not allowed, only {allowed} (rule {rule})");
    match remedy {
        Some(remedy) => format!("{verdict}, unless the policy says {remedy}"),
        None => verdict,
    }
}
