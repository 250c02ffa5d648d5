//! Profiles compiled to BPF answer every call as a plain reading of their rules does.
//!
//! The bytes choose the profile; the calls are those on both sides of everything the profile mentions.
#![no_main]

use casemate_runtime::seccomp::{Abi, Multiplexed, Native, X32_BIT, compile_for, interpret, width};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "shared with tests that use all of it")]
#[path = "../../src/runtime/src/seccomp/tests/reading.rs"]
mod reading;
#[allow(dead_code, reason = "shared with tests that use all of it")]
#[path = "../../src/runtime/src/seccomp/tests/sample.rs"]
mod sample;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let native = if first % 4 == 0 { Native::Aarch64 } else { Native::X86_64 };
    let profile = sample::Choices(rest).profile();
    let filter = compile_for(native, &profile).expect("a profile of this kind compiles");
    let reading = reading::Reading::new(native, &profile);
    for data in sample::calls(native, &profile) {
        let answer = interpret::answer(&filter.program, &data);
        assert_eq!(answer, Some(reading.answer(&data)), "{data:x?} under {profile:?}");
    }
});
