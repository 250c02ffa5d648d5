//! What the kernel answers over netlink(7), taken apart: nothing is read that is not there, and reading it ends.
#![no_main]

use casemate_net::netlink::{about, attributes, failure, messages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut read = 0;
    for message in messages(bytes) {
        read += 16 + message.body.len();
        let inner: usize = attributes(message.body).map(|(_, value)| 4 + value.len()).sum();
        assert!(inner <= message.body.len());
        failure(&message);
        about(&message);
    }
    assert!(read <= bytes.len());
});
