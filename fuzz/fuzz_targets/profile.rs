//! Seccomp profiles: an error is one line; what is read survives being written, and compiles or is too long.
#![no_main]

use casemate_policy::seccomp::{Arch, Context, Profile, admits_no_more, resolve};
use casemate_runtime::seccomp::{Native, compile_for};
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::{Capabilities, Capability};

fuzz_target!(|text: &str| {
    let profile = match Profile::parse(text, "fuzz.json") {
        Ok(profile) => profile,
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with("fuzz.json"), "{said:?}");
            assert!(!said.chars().any(char::is_control), "{said:?}");
            return;
        }
    };
    assert_eq!(Profile::parse(&profile.to_json(), "fuzz.json").as_ref(), Ok(&profile));
    let held = [Capabilities::new(), Capabilities::from([Capability::SysAdmin, Capability::NetRaw])];
    for (native, arch) in [(Native::X86_64, Arch::X86_64), (Native::Aarch64, Arch::Aarch64)] {
        for capabilities in &held {
            let filter = resolve(&profile, &Context { capabilities, arch, kernel: (6, 1) });
            if let Err(error) = compile_for(native, &filter) {
                assert!(error.to_string().contains("instructions"), "{error}");
            }
            assert!(admits_no_more(&filter, &filter), "{filter:?}");
        }
    }
});
