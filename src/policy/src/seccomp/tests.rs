//! Profiles as they are read, kept, and resolved.

use std::collections::BTreeSet;

use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction};

use super::*;

const FILES: [(&str, &str); 3] = [
    ("strict", include_str!("../../../../profiles/seccomp-strict.json")),
    ("hardened", include_str!("../../../../profiles/seccomp-hardened.json")),
    ("docker", include_str!("../../../../profiles/docker-default.json")),
];

const DOCKERS: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

fn resolved(profile: &Profile, capabilities: &[Capability]) -> LinuxSeccomp {
    let capabilities: Capabilities = capabilities.iter().copied().collect();
    resolve(profile, &Context { capabilities: &capabilities, arch: Arch::X86_64, kernel: (6, 1) })
}

/// The names that `filter` allows with any arguments.
fn allowed(filter: &LinuxSeccomp) -> BTreeSet<&str> {
    let rules = filter.syscalls().iter().flatten();
    let rules = rules.filter(|rule| {
        rule.action() == LinuxSeccompAction::ScmpActAllow && rule.args().iter().flatten().next().is_none()
    });
    rules.flat_map(|rule| rule.names()).map(String::as_str).collect()
}

#[test]
fn the_tables_are_what_the_files_say() {
    for (name, text) in FILES {
        let builtin = Profile::builtin(name).unwrap();
        let parsed = Profile { name: name.into(), ..Profile::parse(text, "a file").unwrap() };
        assert_eq!(builtin, &parsed, "{name}");
    }
    assert_eq!(FILES.map(|(name, _)| name), Profile::BUILTIN);
    assert_eq!(Profile::builtin("unconfined"), None);
}

#[test]
fn a_profile_survives_being_written() {
    for (name, _) in FILES {
        let profile = Profile::builtin(name).unwrap().allowing(&["io_uring_setup"]);
        assert_eq!(Profile::parse(&profile.to_json(), name).unwrap(), profile);
    }
}

#[test]
fn every_rule_of_ours_has_its_reason() {
    for (name, text) in &FILES[..2] {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        for rule in json["syscalls"].as_array().unwrap() {
            assert!(rule["comment"].as_str().is_some_and(|reason| reason.len() > 5), "{name}: {rule}");
        }
    }
}

#[test]
fn every_name_of_ours_is_a_system_call() {
    for name in ["strict", "hardened"] {
        for rule in Profile::builtin(name).unwrap().rules.iter() {
            let unknown: Vec<_> = rule.names.split(' ').filter(|name| !is_system_call(name)).collect();
            assert_eq!(unknown, [""; 0], "{name}");
        }
    }
    assert!(!is_system_call("io_uring_setpu"));
}

#[test]
fn capabilities_open_what_they_are_for() {
    let hardened = Profile::builtin("hardened").unwrap();
    for (capability, name) in [
        (Capability::SysChroot, "chroot"),
        (Capability::SysPtrace, "ptrace"),
        (Capability::SysTime, "settimeofday"),
        (Capability::SysAdmin, "mount"),
        (Capability::SysAdmin, "clone3"),
        (Capability::Mknod, "mknodat"),
    ] {
        assert!(!allowed(&resolved(hardened, &[])).contains(name), "{name}");
        assert!(allowed(&resolved(hardened, &[capability])).contains(name), "{name}");
        assert!(
            !allowed(&resolved(Profile::builtin("strict").unwrap(), &[capability])).contains(name),
            "{name}"
        );
    }
    let every: Vec<Capability> = [
        Capability::SysAdmin,
        Capability::Bpf,
        Capability::Perfmon,
        Capability::SysModule,
        Capability::DacReadSearch,
    ]
    .to_vec();
    let most = resolved(hardened, &every);
    for never in ["bpf", "perf_event_open", "init_module", "open_by_handle_at", "keyctl", "io_uring_setup"] {
        assert!(!allowed(&most).contains(never), "{never}");
    }
}

#[test]
fn rules_follow_architecture_and_kernel() {
    let docker = Profile::builtin("docker").unwrap();
    let none = Capabilities::new();
    let at = |arch, kernel| resolve(docker, &Context { capabilities: &none, arch, kernel });
    assert!(allowed(&at(Arch::X86_64, (4, 8))).contains("ptrace"));
    assert!(!allowed(&at(Arch::X86_64, (4, 7))).contains("ptrace"));
    assert!(allowed(&at(Arch::X86_64, (6, 1))).contains("arch_prctl"));
    assert!(!allowed(&at(Arch::Aarch64, (6, 1))).contains("arch_prctl"));
    assert_eq!(at(Arch::Aarch64, (6, 1)).architectures().as_ref().unwrap().len(), 2);
    let strict = resolve(
        Profile::builtin("strict").unwrap(),
        &Context { capabilities: &none, arch: Arch::X86_64, kernel: (6, 1) },
    );
    assert_eq!(strict.architectures().as_deref(), Some(&[OciArch::ScmpArchX86_64][..]));
}

#[test]
fn an_allowed_name_wins_over_every_rule_of_the_profile() {
    let profile = Profile::builtin("hardened").unwrap().allowing(&["clone3", "socket"]);
    let first = resolved(&profile, &[]).syscalls().as_ref().unwrap()[0].clone();
    assert_eq!(first.names(), &["clone3", "socket"]);
    assert_eq!((first.action(), first.args()), (LinuxSeccompAction::ScmpActAllow, &None));
}

#[test]
fn one_filter_beside_another() {
    let all = FILES.map(|(name, _)| resolved(Profile::builtin(name).unwrap(), &DOCKERS));
    for filter in &all {
        assert!(admits_no_more(filter, filter));
    }
    let [strict, hardened, docker] = &all;
    for (inner, outer) in [(docker, hardened), (docker, strict), (hardened, strict)] {
        assert!(!admits_no_more(inner, outer));
    }
    // A bundle's own filter, smaller than what is asked.
    let mut less = docker.clone();
    let rules = less.syscalls().clone().unwrap();
    less.set_syscalls(Some(rules[..1].to_vec()));
    less.set_architectures(None);
    assert!(admits_no_more(&less, docker));
    // The same, and one thing more.
    for (field, value) in [
        ("defaultAction", serde_json::json!("SCMP_ACT_LOG")),
        ("architectures", serde_json::json!(["SCMP_ARCH_ARM"])),
        ("syscalls", serde_json::json!([{ "names": ["bpf"], "action": "SCMP_ACT_ALLOW" }])),
        ("syscalls", serde_json::json!([{ "names": ["bpf"], "action": "SCMP_ACT_NOTIFY" }])),
        ("syscalls", serde_json::json!([{ "names": ["clone"], "action": "SCMP_ACT_ALLOW" }])),
        ("syscalls", serde_json::json!([{ "names": ["clone3"], "action": "SCMP_ACT_ALLOW" }])),
        (
            "syscalls",
            serde_json::json!([{ "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] }]),
        ),
    ] {
        let mut more = serde_json::to_value(&less).unwrap();
        more[field] = value;
        let more: LinuxSeccomp = serde_json::from_value(more).unwrap();
        assert!(!admits_no_more(&more, docker), "{field}");
    }
}

#[test]
fn what_is_wrong_with_a_profile_is_said_where() {
    let with = |field: &str| format!("{{\n  \"defaultAction\": \"SCMP_ACT_ERRNO\",\n  {field}\n}}");
    let needs = serde_json::to_string(&RUNTIME_NEEDS).unwrap();
    let rules = |rule: &str| {
        with(&format!("\"syscalls\": [{{\"names\": {needs}, \"action\": \"SCMP_ACT_ALLOW\"}}, {rule}]"))
    };
    assert!(Profile::parse(&rules(r#"{"names": ["bpf"], "action": "SCMP_ACT_ALLOW"}"#), "p").is_ok());
    for (text, said) in [
        (
            with("\"sycalls\": []"),
            "p:3:11: unknown field `sycalls`, expected one of `comment`, `defaultAction`",
        ),
        ("{\n\"defaultAction\": \"SCMP_ACT_ALLOW\"}".into(), "p: defaultAction: SCMP_ACT_ALLOW lets pass"),
        (with("\"syscalls\": []"), "p: syscalls: capget is not allowed, and the runtime calls it"),
        (rules(r#"{"names": [], "action": "SCMP_ACT_ALLOW"}"#), "p: syscalls[1].names: expected names"),
        (rules(r#"{"names": ["a b"], "action": "SCMP_ACT_ALLOW"}"#), "p: syscalls[1].names: expected names"),
        (
            rules(r#"{"names": ["bpf"], "action": "SCMP_ACT_NOTIFY"}"#),
            "p: syscalls[1].action: nobody listens",
        ),
        (
            rules(r#"{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}"#),
            "errnoRet: for SCMP_ACT_ERRNO alone",
        ),
        (
            rules(r#"{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}"#),
            "errnoRet: expected 0 to 4095",
        ),
        (
            rules(
                r#"{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "syscalls[1].args: a system call has arguments 0 to 5",
        ),
        (
            rules(r#"{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "six"}}"#),
            "a kernel as 5.10",
        ),
        (rules(r#"{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_X"]}}"#), "p:3:"),
        (with("\"architectures\": [], \"archMap\": []"), "p: archMap: architectures are given already"),
        ("[1".into(), "p:1:"),
    ] {
        let error = Profile::parse(&text, "p").unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
