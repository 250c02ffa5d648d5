//! Policies: an error names the file and is one line; what is read survives being written and read again.
#![no_main]

use casemate_policy::{Builtin, Policy, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let policy = match load(text, "fuzz.toml", &mut Builtin) {
        Ok(policy) => policy,
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with("fuzz.toml"), "{said:?}");
            assert!(!said.chars().any(char::is_control), "{said:?}");
            return;
        }
    };
    let written = policy.to_toml();
    let read = load(&written, "fuzz.toml", &mut Builtin);
    assert_eq!(read.as_ref(), Ok(&policy), "{written}");
    // A policy is no stricter than itself, and with a stricter one it is never laxer than that.
    assert_eq!(policy.meet(&policy), policy);
    let strict = Policy::builtin("strict").expect("compiled in");
    let both = policy.meet(&strict);
    let again = load(&both.to_toml(), "fuzz.toml", &mut Builtin);
    assert_eq!(again.as_ref(), Ok(&both), "{}", both.to_toml());
});
