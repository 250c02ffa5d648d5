//! What an attack is made of, and the table of what becomes of it under each policy.

use casemate_tests::{Bundle, Output, json, ours};

use crate::survey::install_survey;

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
}

/// Told by what a container has written: the word `won` when the attack got what it wanted, `tried` when it came to
/// its end. A container that wrote neither and was not denied has failed for a reason that is not the policy's.
///
/// # Panics
/// In that case, since such a test would pass whatever happens.
#[track_caller]
pub fn fate(output: &Output) -> Fate {
    let said = output.stdout();
    let has = |word: &str| said.lines().any(|line| line == word);
    if has("won") {
        Fate::Succeeds
    } else if is_denied(output) {
        Fate::Denied
    } else {
        assert!(has("tried"), "the attack was not tried: {output}");
        Fate::Stopped
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

/// The same for one operation of the survey, as the container's root with every capability that it can have.
#[track_caller]
pub fn operation(expected: [Fate; 4], name: &str) {
    operation_in(expected, name, |_| ());
}

/// The same in a container that `prepare` has changed.
#[track_caller]
pub fn operation_in(expected: [Fate; 4], name: &str, prepare: impl Fn(&mut Bundle)) {
    let ask = format!("/survey '{name}' | tee /proc/self/fd/2 | grep -qx '{name} reachable' && echo won");
    script(expected, &ask, |bundle| {
        install_survey(bundle);
        prepare(bundle);
    });
}

/// A container that confines as little as a bundle can ask for without giving up its own namespaces: every
/// capability, no filter, `/sys` writable, no limit, every device.
pub fn permissive(script: &str) -> Bundle {
    let mut bundle = Bundle::sh(&ours(), script);
    bundle.capabilities(&ALL_CAPABILITIES);
    bundle.mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev"]);
    bundle.mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]);
    bundle.edit(|c| {
        c["process"]["noNewPrivileges"] = json!(false);
        c["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
    });
    bundle
}

/// Everything a kernel of today knows.
pub const ALL_CAPABILITIES: [&str; 41] = [
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
