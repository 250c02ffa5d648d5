//! What an attack is made of, and the table of what becomes of it under each policy.

use casemate_tests::{Bundle, Output, json, ours};

use crate::survey::{Findings, install_survey};

/// From the one that adds nothing to the tightest.
pub const POLICIES: [&str; 4] = ["oci", "baseline", "hardened", "strict"];

/// What became of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It did what it wanted.
    Succeeds,
    /// The container ran, and the attack did not get what it wanted.
    Stopped,
    /// The container was refused before anything of it ran.
    Denied,
    /// The container failed for a reason that is not the policy's: no table expects it.
    Untried,
}

/// Docker's own default stops it, and so does every policy.
pub const FROM_BASELINE: [Fate; 4] = [Fate::Succeeds, Fate::Stopped, Fate::Stopped, Fate::Stopped];
/// Docker's default lets it happen.
pub const FROM_HARDENED: [Fate; 4] = [Fate::Succeeds, Fate::Succeeds, Fate::Stopped, Fate::Stopped];
/// Ordinary images need it.
pub const FROM_STRICT: [Fate; 4] = [Fate::Succeeds, Fate::Succeeds, Fate::Succeeds, Fate::Stopped];
/// The bundle asks for what no container of the policies may have.
pub const REFUSED: [Fate; 4] = [Fate::Succeeds, Fate::Denied, Fate::Denied, Fate::Denied];
/// The runtime itself does not let it happen, whatever the policy.
pub const NEVER: [Fate; 4] = [Fate::Stopped; 4];

/// Told by what a container has written: the word `won` when the attack got what it wanted, `tried` when it came to
/// its end.
pub fn fate(output: &Output) -> Fate {
    let said = output.stdout();
    let has = |word: &str| said.lines().any(|line| line == word);
    if has("won") {
        Fate::Succeeds
    } else if is_denied(output) {
        Fate::Denied
    } else if has("tried") {
        Fate::Stopped
    } else {
        eprintln!("the attack was not tried: {output}");
        Fate::Untried
    }
}

/// Whether the policy refused the container.
pub fn is_denied(output: &Output) -> bool {
    !output.success() && output.stderr().contains("denies this container")
}

/// Tries an attack under every policy. `attempt` is given the policy's name.
///
/// # Panics
/// When what became of it is not what is expected, for all policies at once.
#[track_caller]
pub fn table(expected: [Fate; 4], attempt: impl Fn(&str) -> Fate) {
    let found = POLICIES.map(|policy| {
        eprintln!("== under {policy}");
        attempt(policy)
    });
    assert_eq!(found, expected, "under {POLICIES:?}");
}

/// The same for a script, in a container that `prepare` has changed from [`permissive`]. It says `won` when it has.
#[track_caller]
pub fn script(expected: [Fate; 4], script: &str, prepare: impl Fn(&mut Bundle)) {
    table(expected, |policy| {
        let mut bundle = permissive(&format!("{script}\necho tried"));
        prepare(&mut bundle);
        let output = bundle.policy(policy).run();
        let fate = fate(&output);
        bundle.assert_clean();
        fate
    });
}

/// The same for operations of the survey, as the container's root with every capability that it can have.
#[track_caller]
pub fn operations(expected: [Fate; 4], names: &[&str]) {
    operations_in(expected, names, |_| ());
}

/// The same in a container that `prepare` has changed.
#[track_caller]
pub fn operations_in(expected: [Fate; 4], names: &[&str], prepare: impl Fn(&mut Bundle)) {
    let mut wrong = Vec::new();
    for (policy, expected) in POLICIES.into_iter().zip(expected) {
        let mut bundle = permissive("");
        install_survey(&bundle);
        prepare(&mut bundle);
        bundle.args(&[&["/survey"], names].concat());
        let output = bundle.policy(policy).run();
        if is_denied(&output) {
            wrong.extend((expected != Fate::Denied).then(|| format!("{policy}: {output}")));
            continue;
        }
        let found = Findings::of(&output);
        for name in names {
            let fate = if found.reaches(name) { Fate::Succeeds } else { Fate::Stopped };
            wrong.extend((fate != expected).then(|| format!("{policy}: {name}: {fate:?}")));
        }
        bundle.assert_clean();
    }
    assert!(wrong.is_empty(), "expected {expected:?} of {POLICIES:?}, but\n{}", wrong.join("\n"));
}

/// A container that confines as little as a bundle can ask for without giving up its own namespaces: every
/// capability, no filter, no mask, `/sys` writable, no limit.
pub fn permissive(script: &str) -> Bundle {
    let mut bundle = Bundle::sh(&ours(), script);
    bundle.capabilities(ALL_CAPABILITIES);
    bundle.mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev"]);
    bundle.mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]);
    bundle.edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    bundle
}

/// Everything a kernel of today knows.
pub const ALL_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
