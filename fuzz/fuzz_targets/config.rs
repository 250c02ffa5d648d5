//! Documents that somebody else wrote: whatever the bytes are, an error is one line that says which document.
#![no_main]

use casemate_spec::{Error, config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check("config.json", config::parse(bytes).map(drop));
    check("process.json", config::parse_process(bytes).map(drop));
    check("resources.json", config::parse_resources(bytes).map(drop));
});

fn check(document: &str, result: Result<(), Error>) {
    if let Err(error) = result {
        let text = error.to_string();
        assert!(text.starts_with(document), "{text:?}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
