//! Certificates: bytes are somebody's or nobody's, and who they are is nothing but names.
#![no_main]

use casemate_daemon::identity::identify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    let Ok(identity) = identify(der) else { return };
    let caller = identity.caller;
    let prefix = format!("casemate://{}/", caller.tenant);
    let user = caller.identity.strip_prefix(&prefix).expect("tenant and user");
    for name in caller.groups.iter().map(String::as_str).chain([user]) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'-');
        assert!(!name.is_empty() && name.len() <= 64 && name.bytes().all(plain), "{name:?}");
    }
});
