//! The compiled filter against a plain reading of the profile.

mod docker;
mod profiles;
mod reading;
mod sample;

use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxSeccomp;
use proptest::{collection::vec, prelude::*};

use super::{
    Abi, Multiplexed, Native, X32_BIT, compile_for,
    interpret::{self, SyscallData, answer},
    width,
};
use reading::Reading;
use sample::{Choices, calls};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filter_answers_what_the_profile_says(bytes in vec(any::<u8>(), 0..400), aarch64: bool) {
        let native = if aarch64 { Native::Aarch64 } else { Native::X86_64 };
        check(native, &Choices(&bytes).profile());
    }
}

/// Compares all calls that matter to `profile`.
fn check(native: Native, profile: &LinuxSeccomp) {
    let filter = match compile_for(native, profile) {
        Ok(filter) => filter,
        Err(error) => panic!("{error}: {}", serde_json::to_string(profile).unwrap()),
    };
    let reading = Reading::new(native, profile);
    for data in calls(native, profile) {
        let (got, expected) = (answer(&filter.program, &data), reading.answer(&data));
        assert_eq!(got, Some(expected), "{data:x?} under {}", serde_json::to_string_pretty(profile).unwrap());
    }
}

fn profile(json: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(json).unwrap()
}

fn ask(profile: &LinuxSeccomp, abi: Abi, name: &str, arguments: [u64; 6]) -> u32 {
    let filter = compile_for(Native::X86_64, profile).unwrap();
    let data = SyscallData {
        number: abi.number(name).unwrap(),
        arch: abi.audit(),
        instruction_pointer: 0,
        arguments,
    };
    answer(&filter.program, &data).unwrap()
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const KILL_THREAD: u32 = 0;

#[test]
fn bits_the_kernel_drops_do_not_matter() {
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }] },
            { "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": 511, "op": "SCMP_CMP_EQ" }] },
            { "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 2, "value": 16, "op": "SCMP_CMP_EQ" }] }
        ]
    }));
    let first = |value| [value, 0, 0, 0, 0, 0];
    assert_eq!(ask(&profile, Abi::X86_64, "socket", first(16)), EPERM);
    assert_eq!(ask(&profile, Abi::X86_64, "socket", first(1 << 32 | 16)), EPERM);
    assert_eq!(ask(&profile, Abi::X86_64, "socket", first(17)), ALLOW);
    assert_eq!(ask(&profile, Abi::X86_64, "chmod", [0, 0x1_0000 | 511, 0, 0, 0, 0]), EPERM);
    // A size is read whole.
    assert_eq!(ask(&profile, Abi::X86_64, "read", [0, 0, 16, 0, 0, 0]), EPERM);
    assert_eq!(ask(&profile, Abi::X86_64, "read", [0, 0, 1 << 32 | 16, 0, 0, 0]), ALLOW);
}

#[test]
fn minus_one_is_one_value_however_it_is_written() {
    for minus_one in [0xffff_ffff_u64, u64::MAX] {
        let profile = profile(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                "args": [{ "index": 0, "value": minus_one, "op": "SCMP_CMP_EQ" }]
            }]
        }));
        assert_eq!(ask(&profile, Abi::X86_64, "kill", [u64::MAX, 9, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(&profile, Abi::X86_64, "kill", [0xffff_ffff, 9, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(&profile, Abi::X86_64, "kill", [1, 9, 0, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn unlisted_architectures_kill() {
    let native = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read", "futex_waitv"], "action": "SCMP_ACT_ALLOW" }]
    }));
    assert_eq!(ask(&native, Abi::X86_64, "read", [0; 6]), ALLOW);
    assert_eq!(ask(&native, Abi::X86_64, "write", [0; 6]), EPERM);
    assert_eq!(ask(&native, Abi::X86, "read", [0; 6]), KILL_THREAD);
    assert_eq!(ask(&native, Abi::X32, "read", [0; 6]), KILL_THREAD);
    let mut all = native;
    all.set_architectures(Some(serde_json::from_str(r#"["SCMP_ARCH_X86","SCMP_ARCH_X32"]"#).unwrap()));
    assert_eq!(ask(&all, Abi::X86_64, "read", [0; 6]), ALLOW);
    assert_eq!(ask(&all, Abi::X86, "read", [0; 6]), ALLOW);
    assert_eq!(ask(&all, Abi::X32, "write", [0; 6]), EPERM);
}

#[test]
fn multiplexed_calls_do_not_get_around_rules() {
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["semop", "socket"], "action": "SCMP_ACT_ERRNO" },
            {
                "names": ["bind"], "action": "SCMP_ACT_ERRNO",
                "args": [{ "index": 2, "value": 16, "op": "SCMP_CMP_EQ" }]
            },
            {
                "names": ["listen"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 1, "value": 1, "op": "SCMP_CMP_EQ" }]
            }
        ]
    }));
    let first = |value| [value, 0, 0, 0, 0, 0];
    assert_eq!(ask(&profile, Abi::X86, "socketcall", first(1)), EPERM);
    assert_eq!(ask(&profile, Abi::X86, "ipc", first(1)), EPERM);
    // With a version, which the kernel strips.
    assert_eq!(ask(&profile, Abi::X86, "ipc", first(0x1_0001)), EPERM);
    assert_eq!(ask(&profile, Abi::X86, "ipc", first(0x101)), ALLOW);
    // The arguments are out of sight: a restriction holds for all of them.
    assert_eq!(ask(&profile, Abi::X86, "socketcall", first(2)), EPERM);
    assert_eq!(ask(&profile, Abi::X86, "socketcall", first(3)), ALLOW);
}

#[test]
fn permission_with_conditions_does_not_reach_a_multiplexer() {
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {
                "names": ["socket"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]
            },
            { "names": ["bind"], "action": "SCMP_ACT_ALLOW" }
        ]
    }));
    assert_eq!(ask(&profile, Abi::X86, "socket", [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&profile, Abi::X86, "socketcall", [1, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&profile, Abi::X86, "socketcall", [2, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read", "clone3"], "action": "SCMP_ACT_ALLOW" }]
    }));
    assert_eq!(ask(&profile, Abi::X86_64, "openat2", [0; 6]), reading::ENOSYS);
    assert_eq!(ask(&profile, Abi::X86_64, "write", [0; 6]), EPERM);
}

#[test]
fn unknown_names_are_reported_not_fatal() {
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["read", "s390_pci_mmio_read"], "action": "SCMP_ACT_ALLOW" }]
    }));
    let filter = compile_for(Native::X86_64, &profile).unwrap();
    assert_eq!(filter.unknown, ["s390_pci_mmio_read"]);
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = [
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "cannot be used as default action"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sendmsg"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL",
                "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "linux.seccomp.syscalls[0].args[0].index: 6 is out of range",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":65536}]}"#,
            "linux.seccomp.syscalls[0].errnoRet: 65536 does not fit",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[""],"action":"SCMP_ACT_ERRNO"}]}"#,
            "linux.seccomp.syscalls[0].names: empty string is not a valid syscall",
        ),
    ];
    for (json, message) in refused {
        let error =
            compile_for(Native::X86_64, &serde_json::from_str(json).unwrap()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_profile_too_long_for_the_kernel_is_refused_at_once() {
    let argument = serde_json::json!({ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" });
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": vec!["read"; 20_000], "action": "SCMP_ACT_ALLOW", "args": vec![argument; 20_000] }]
    }));
    let error = compile_for(Native::X86_64, &profile).unwrap_err().to_string();
    assert!(error.contains("more than 4096 instructions"), "{error}");
}

#[test]
fn jumps_past_255_instructions_arrive() {
    // One block of rules larger than a conditional jump, between calls on both sides of it.
    let arguments: Vec<_> = (0..600_u64)
        .map(|value| serde_json::json!({ "index": 1, "value": value << 34, "op": "SCMP_CMP_EQ" }))
        .collect();
    let profile = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["read", "futex_waitv"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["ioctl", "mmap"], "action": "SCMP_ACT_LOG", "args": arguments }
        ]
    }));
    check(Native::X86_64, &profile);
}

#[test]
fn flags_are_the_kernels() {
    let profile = |action: &str| {
        profile(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{ "names": ["mkdir"], "action": action }]
        }))
    };
    let plain = compile_for(Native::X86_64, &profile("SCMP_ACT_ERRNO")).unwrap();
    assert_eq!((plain.flags, plain.notify), (0b0000_0111, false));
    let notify = compile_for(Native::X86_64, &profile("SCMP_ACT_NOTIFY")).unwrap();
    assert_eq!((notify.flags, notify.notify), (0b0011_1111, true));
}

#[test]
fn dockers_profile_answers_as_written() {
    for native in [Native::X86_64, Native::Aarch64] {
        check(native, &docker::resolved(native, docker::CAPABILITIES));
        check(native, &docker::resolved(native, &["CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE"]));
    }
}

#[test]
fn dockers_profile_compiles_small_and_soon() {
    let profile = docker::resolved(Native::X86_64, docker::CAPABILITIES);
    let filter = compile_for(Native::X86_64, &profile).unwrap();
    // A third of what a filter that compares number after number takes.
    assert!(filter.program.len() < 700, "{} instructions", filter.program.len());
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            compile_for(Native::X86_64, &profile).unwrap();
            start.elapsed()
        })
        .min()
        .unwrap();
    eprintln!("{} instructions in {best:?}", filter.program.len());
    // Far above what it takes, optimised or not, and far below what would be noticed.
    assert!(best < Duration::from_millis(20), "{best:?}");
}
