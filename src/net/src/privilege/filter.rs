//! seccomp(2): the calls that an order takes. All others answer `EPERM`, and so does a flag that an order has no use for;
//! a call by another architecture's numbers is the process' end.

use std::collections::BTreeMap;

use casemate_spec::{Error, Result};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::Needs;

/// Memory, descriptors that are open, time, and the end.
const ALWAYS: [i64; 25] = [
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_bind,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
/// Giving up the rest, and asking whether it is gone. None of it gives anything.
const GIVING_UP: [i64; 14] = [
    libc::SYS_prctl,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];
/// Sockets that are opened in a container and handed over.
const NAMES: [i64; 3] = [libc::SYS_listen, libc::SYS_getsockname, libc::SYS_sendmsg];

/// `PROT_EXEC`
const EXECUTABLE: u64 = 4;
/// `O_CREAT`, and what `O_TMPFILE` has beyond `O_DIRECTORY`.
const CREATING: u64 = 0o20_000_100;
/// `CLONE_NEWNET`
const NETWORK: u64 = 0x4000_0000;
/// `SIOCGIFINDEX`
const INDEX: u64 = 0x8933;
const SOL_SOCKET: u64 = 1;
/// `F_DUPFD_CLOEXEC`
const COPY: u64 = 1030;
/// `AF_*`
const UNIX: u64 = 1;
const INET: u64 = 2;
const NETLINK: u64 = 16;

/// While the order is read: whatever some order needs.
///
/// # Errors
/// The kernel's.
pub fn reading() -> Result<()> {
    let make = || {
        let mut rules = chosen(Needs { settings: true, namespace: true, names: true })?;
        rules.extend(GIVING_UP.map(|call| (call, Vec::new())));
        rules.insert(libc::SYS_connect, Vec::new());
        Ok(rules)
    };
    put(make())
}

/// While the order is done: what it needs. There is no way back, and no further filter.
///
/// # Errors
/// The kernel's.
pub fn working(needs: Needs) -> Result<()> {
    put(chosen(needs))
}

fn chosen(needs: Needs) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<_, _> = ALWAYS.map(|call| (call, Vec::new())).into();
    let not_executable = || masked(2, EXECUTABLE, 0);
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    rules.insert(libc::SYS_ioctl, vec![is(1, INDEX)?]);
    rules.insert(libc::SYS_fcntl, vec![is(1, COPY)?]);
    // Whatever else can be set of a socket would lead to rules that are not ours.
    rules.insert(libc::SYS_setsockopt, vec![is(1, SOL_SOCKET)?]);
    let mut families = vec![is(0, NETLINK)?, is(0, UNIX)?];
    if needs.settings {
        rules.insert(libc::SYS_openat, vec![masked(2, CREATING, 0)?]);
        rules.insert(libc::SYS_getdents64, Vec::new());
    }
    if needs.namespace {
        rules.insert(libc::SYS_setns, vec![is(1, NETWORK)?]);
    }
    if needs.names {
        rules.extend(NAMES.map(|call| (call, Vec::new())));
        families.push(is(0, INET)?);
    }
    rules.insert(libc::SYS_socket, families);
    Ok(rules)
}

fn is(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

/// The kernel takes all of these arguments as 32 bits.
fn condition(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)?])
}

fn put(rules: Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError>) -> Result<()> {
    let program = || -> Result<BpfProgram, BackendError> {
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter =
            SeccompFilter::new(rules?, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?;
        filter.try_into()
    };
    let failed = |why: String| Error::new("seccomp filter", why);
    let program = program().map_err(|error| failed(error.to_string()))?;
    seccompiler::apply_filter(&program).map_err(|error| failed(error.to_string()))
}
