//! System calls behind which much of the kernel lies: io_uring, userfaultfd, bpf, perf, keyrings, other processes'
//! memory, and the two other entries to the kernel of a 64-bit process.
//!
//! Most local attacks on the kernel of the last years began at one of these. The attacker asks for every capability.

use crate::attack::{FROM_BASELINE, FROM_HARDENED, FROM_STRICT, operations};

#[test]
fn io_uring() {
    operations(FROM_BASELINE, &["call:io_uring_setup"]);
}

#[test]
fn userfaultfd() {
    operations(FROM_BASELINE, &["call:userfaultfd", "call:userfaultfd kernel faults"]);
}

#[test]
fn bpf_and_perf() {
    operations(
        FROM_BASELINE,
        &[
            "call:bpf create map",
            "call:bpf load socket filter",
            "call:bpf load kprobe",
            "call:perf_event_open own",
            "call:perf_event_open kernel",
        ],
    );
}

/// Keys are per user, not per container: a shared host user namespace shares them.
#[test]
fn keyrings() {
    operations(
        FROM_BASELINE,
        &[
            "call:add_key",
            "call:request_key",
            "call:keyctl session keyring",
            "call:keyctl user keyring",
            "call:keyctl join session",
            "entry:i386 keyctl",
            "read:/proc/keys",
        ],
    );
}

/// The clock, the host's log, its swap, its accounting and its quotas are one for all containers.
#[test]
fn one_for_all() {
    operations(
        FROM_BASELINE,
        &[
            "call:adjtimex set",
            "call:syslog read",
            "call:swapon",
            "call:swapoff",
            "call:acct",
            "call:quotactl",
            "call:reboot",
            "call:fanotify_init permission",
            "call:setpriority below zero",
            "call:ioprio_set realtime",
        ],
    );
}

#[test]
fn memory_of_other_processes() {
    operations(
        FROM_HARDENED,
        &["call:ptrace child", "call:process_vm_readv", "call:process_vm_writev", "entry:i386 ptrace"],
    );
    operations(FROM_BASELINE, &["call:pidfd_getfd", "call:kcmp"]);
}

#[test]
fn personalities_and_segments() {
    operations(FROM_BASELINE, &["call:personality no randomisation"]);
    operations(FROM_BASELINE, &["call:personality read implies exec"]);
    operations(FROM_HARDENED, &["call:modify_ldt"]);
}

/// The 32-bit entry reaches the same calls by other numbers and through less travelled code. Images of 32-bit programs
/// need it.
#[test]
fn the_entry_of_32_bits() {
    operations(FROM_STRICT, &["entry:i386 getpid"]);
}

/// CVE-2014-9357's kin, "shocker": files opened by the filesystem's own numbers, whatever part of it is mounted.
#[test]
fn files_by_their_number() {
    operations(FROM_BASELINE, &["handle:open_by_handle_at root of the disk"]);
    operations(FROM_HARDENED, &["handle:name_to_handle_at"]);
}
