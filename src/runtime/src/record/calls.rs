//! What system calls are called, and which of their arguments a profile tells apart.

use std::collections::BTreeSet;

use crate::seccomp::Abi;

/// Calls that every process makes or whose answer must not be delayed: they are let pass unwatched and are in every
/// recorded profile.
///
/// A signal that arrives while rt_sigreturn(2) waits would change the value it restores.
pub const UNWATCHED: &[&str] = &["exit", "exit_group", "restart_syscall", "rt_sigreturn", "sigreturn"];

/// Calls whose use depends on chance rather than on the program: lock contention, and a clock source that the vDSO
/// cannot read. A profile without them would hold on one day and not on another.
pub const BY_CHANCE: &[&str] = &["clock_gettime", "futex", "gettimeofday", "sched_yield", "time"];

/// Refused while recording and in the profile: its arguments are in memory, where no filter sees them, and programs
/// that get ENOSYS use clone(2).
pub const BLIND: &str = "clone3";

/// No listener may see them, since the runtime hands over the listener with them. Every recorded profile lets them pass
/// ([`casemate_policy::seccomp::RUNTIME_NEEDS`]).
pub const HANDING: &[&str] = &["sendmsg", "write"];

/// The convention and the name of a call at a listener; none for a number of the future or of x32.
pub fn name_of(arch: u32, number: i32) -> Option<(Abi, &'static str)> {
    let number = usize::try_from(number).ok()?;
    if arch == Abi::X86_64.audit() {
        return syscalls::x86_64::Sysno::new(number).map(|call| (Abi::X86_64, call.name()));
    }
    if arch == Abi::X86.audit() {
        return syscalls::x86::Sysno::new(number).map(|call| (Abi::X86, call.name()));
    }
    if arch == Abi::Aarch64.audit() {
        return syscalls::aarch64::Sysno::new(number).map(|call| (Abi::Aarch64, call.name()));
    }
    None
}

/// The name of every call of this machine's own convention, and on x86-64 of i386's.
pub fn all() -> BTreeSet<&'static str> {
    if cfg!(target_arch = "aarch64") {
        return syscalls::aarch64::Sysno::iter().map(|call| call.name()).collect();
    }
    let own = syscalls::x86_64::Sysno::iter().map(|call| call.name());
    own.chain(syscalls::x86::Sysno::iter().map(|call| call.name())).collect()
}

/// The flags of clone(2) that make namespaces.
pub const NAMESPACES: u64 = 0x7e02_0080;
/// `PROT_WRITE | PROT_EXEC`.
pub const WRITE_EXECUTE: u64 = 2 | 4;

/// An argument that a profile tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its index.
    pub index: usize,
    /// The bits that count.
    pub mask: u64,
}

/// The argument of `name` by which a profile tells its uses apart. Flags that open doors, never sizes or addresses.
pub fn told(name: &str) -> Option<Told> {
    let whole = |index| Some(Told { index, mask: 0xffff_ffff });
    match name {
        "socket" | "socketpair" | "prctl" | "arch_prctl" | "personality" | "unshare" | "ptrace"
        | "keyctl" | "bpf" | "seccomp" => whole(0),
        "ioctl" | "setns" => whole(1),
        "clone" => Some(Told { index: 0, mask: NAMESPACES }),
        "mmap" | "mprotect" | "mmap2" | "pkey_mprotect" => Some(Told { index: 2, mask: WRITE_EXECUTE }),
        _ => None,
    }
}

/// What a value of the told argument is called; empty where the number must do.
pub fn word(name: &str, value: u64) -> &'static str {
    let table: &[(u64, &str)] = match name {
        "socket" | "socketpair" => {
            &[(1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK"), (17, "AF_PACKET")]
        }
        "ioctl" => &[
            (0x5401, "TCGETS"),
            (0x5402, "TCSETS"),
            (0x5403, "TCSETSW"),
            (0x540f, "TIOCGPGRP"),
            (0x5410, "TIOCSPGRP"),
            (0x5412, "TIOCSTI"),
            (0x5413, "TIOCGWINSZ"),
            (0x541b, "FIONREAD"),
            (0x5421, "FIONBIO"),
            (0x5450, "FIONCLEX"),
            (0x5451, "FIOCLEX"),
        ],
        "prctl" => &[
            (4, "PR_SET_DUMPABLE"),
            (8, "PR_SET_KEEPCAPS"),
            (15, "PR_SET_NAME"),
            (16, "PR_GET_NAME"),
            (23, "PR_CAPBSET_READ"),
            (36, "PR_SET_CHILD_SUBREAPER"),
            (38, "PR_SET_NO_NEW_PRIVS"),
        ],
        "arch_prctl" => &[(0x1002, "ARCH_SET_FS"), (0x3001, "ARCH_CET_STATUS")],
        "clone" => &[(0, "without new namespaces")],
        _ => &[],
    };
    table.iter().find(|(known, _)| *known == value).map_or("", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_conventions_are_told_apart() {
        assert_eq!(name_of(0xc000_003e, 83), Some((Abi::X86_64, "mkdir")));
        assert_eq!(name_of(0x4000_0003, 39), Some((Abi::X86, "mkdir")));
        assert_eq!(name_of(0xc000_003e, -1), None);
        assert_eq!(name_of(0xc000_003e, 0x4000_0053), None, "x32 has no name here");
        assert_eq!(name_of(7, 83), None);
    }

    #[test]
    fn every_call_has_its_name_in_the_list() {
        let all = all();
        for name in UNWATCHED.iter().chain(BY_CHANCE).chain(HANDING).chain([&BLIND, &"mkdir"]) {
            assert!(all.contains(name) || cfg!(target_arch = "aarch64"), "{name}");
        }
    }
}
