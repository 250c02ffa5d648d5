//! How much of each argument register the kernel reads.
//!
//! A filter sees the whole register, the kernel only what the system call's prototype declares. Where the two
//! differ, a caller can set bits that the kernel drops and a comparison of the whole register takes seriously:
//! a rule for one value of an `int` argument would then be walked around. So every comparison is made on exactly
//! the bits the kernel acts on.
//!
//! The tables follow the prototypes of `include/linux/syscalls.h` and, for x32, `include/linux/compat.h`. Where a
//! prototype says `unsigned long` but the kernel only ever uses the low half (the descriptor of `readv` and `mmap`,
//! the flags of `clone`, the pid of `ptrace`), the low half is what counts.

use super::arch::Abi;

/// The bits of an argument that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// `umode_t`, and the 16-bit user and group ids of old 32-bit calls.
    Bits16,
    /// `int`, `unsigned int`, and everything on a 32-bit architecture.
    Bits32,
    /// A pointer, `size_t` or `unsigned long` on a 64-bit architecture.
    Bits64,
}

impl Width {
    /// The largest value the kernel can see in such an argument.
    pub fn max(self) -> u64 {
        match self {
            Self::Bits16 => 0xffff,
            Self::Bits32 => 0xffff_ffff,
            Self::Bits64 => u64::MAX,
        }
    }

    /// `value` as the kernel would see it if it is a negative number of this width, extended to 32 or 64 bits;
    /// unchanged otherwise.
    ///
    /// Profiles write -1 in any of these forms. A value that is too large without being one of them stays too
    /// large: no argument reaches it.
    pub fn narrowed(self, value: u64) -> u64 {
        let sign = self.max() ^ (self.max() >> 1);
        let above = value & !self.max();
        let extends = above == !self.max() || above == u64::from(u32::MAX) & !self.max();
        if value & sign != 0 && extends { value & self.max() } else { value }
    }
}

/// The width of argument `index` (from 0) of the system call `name` as `abi` defines it.
///
/// A call that the tables do not know has full registers: right for every call whose arguments are pointers and
/// sizes, and what other filter compilers do for all.
pub fn of(abi: Abi, name: &str, index: usize) -> Width {
    let declared = |table: &[(&str, &str)]| {
        let row = table.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        let (_, arguments) = table.get(row)?;
        Some(arguments.as_bytes().get(index).copied().unwrap_or(b'-'))
    };
    let own = match abi {
        Abi::X32 => declared(X32),
        Abi::X86 | Abi::Arm => declared(UID16),
        Abi::X86_64 | Abi::Aarch64 => None,
    };
    match own.or_else(|| declared(ARGUMENTS)) {
        Some(b'h') => Width::Bits16,
        Some(b'i') => Width::Bits32,
        _ if abi.is_32bit() => Width::Bits32,
        _ => Width::Bits64,
    }
}

// One letter per argument: `i` 32 bits, `h` 16 bits, `-` the whole register, as are all that follow the last letter.

/// The 32-bit architectures' first generation of user and group id calls (`kernel/uid16.c`).
#[rustfmt::skip]
const UID16: &[(&str, &str)] = &[
    ("chown", "-hh"), ("fchown", "ihh"), ("lchown", "-hh"), ("setfsgid", "h"), ("setfsuid", "h"), ("setgid", "h"),
    ("setregid", "hh"), ("setresgid", "hhh"), ("setresuid", "hhh"), ("setreuid", "hh"), ("setuid", "h"),
];

/// x32 calls of their own number, which enter the kernel through its 32-bit prototypes.
#[rustfmt::skip]
const X32: &[(&str, &str)] = &[
    ("get_robust_list", "i"), ("io_setup", "i"), ("io_submit", "ii"), ("ioctl", "iii"), ("kexec_load", "ii-i"),
    ("ptrace", "iiii"), ("recvfrom", "i-ii"), ("rt_sigaction", "i--i"), ("rt_sigpending", "-i"),
    ("rt_sigtimedwait", "---i"), ("set_robust_list", "-i"),
];

/// Every other call with an argument narrower than a register of a 64-bit architecture.
#[rustfmt::skip]
const ARGUMENTS: &[(&str, &str)] = &[
    ("accept", "i"), ("accept4", "i--i"), ("access", "-i"), ("add_key", "----i"), ("alarm", "i"),
    ("arch_prctl", "i"), ("bind", "i-i"), ("bpf", "i-i"), ("cachestat", "i--i"), ("chmod", "-h"),
    ("chown", "-ii"), ("clock_adjtime", "i"), ("clock_getres", "i"), ("clock_gettime", "i"),
    ("clock_nanosleep", "ii"), ("clock_settime", "i"), ("clone", "i"), ("close", "i"),
    ("close_range", "iii"), ("connect", "i-i"), ("copy_file_range", "i-i--i"), ("creat", "-h"),
    ("delete_module", "-i"), ("dup", "i"), ("dup2", "ii"), ("dup3", "iii"), ("epoll_create", "i"),
    ("epoll_create1", "i"), ("epoll_ctl", "iii"), ("epoll_pwait", "i-ii"), ("epoll_pwait2", "i-i"),
    ("epoll_wait", "i-ii"), ("eventfd", "i"), ("eventfd2", "ii"), ("execveat", "i---i"), ("exit", "i"),
    ("exit_group", "i"), ("faccessat", "i-i"), ("faccessat2", "i-ii"), ("fadvise64", "i--i"),
    ("fallocate", "ii"), ("fanotify_init", "ii"), ("fanotify_mark", "ii-i"), ("fchdir", "i"),
    ("fchmod", "ih"), ("fchmodat", "i-h"), ("fchmodat2", "i-hi"), ("fchown", "iii"), ("fchownat", "i-iii"),
    ("fcntl", "ii"), ("fdatasync", "i"), ("fgetxattr", "i"), ("file_getattr", "i---i"),
    ("file_setattr", "i---i"), ("finit_module", "i-i"), ("flistxattr", "i"), ("flock", "ii"),
    ("fremovexattr", "i"), ("fsconfig", "ii--i"), ("fsetxattr", "i---i"), ("fsmount", "iii"),
    ("fsopen", "-i"), ("fspick", "i-i"), ("fstat", "i"), ("fstatat", "i--i"), ("fstatfs", "i"),
    ("fsync", "i"), ("ftruncate", "i"), ("futex", "-ii--i"), ("futex_requeue", "-iii"),
    ("futex_wait", "---i-i"), ("futex_waitv", "-ii-i"), ("futex_wake", "--ii"), ("futimesat", "i"),
    ("get_robust_list", "i"), ("getdents", "i-i"), ("getdents64", "i-i"), ("getgroups", "i"),
    ("getitimer", "i"), ("getpeername", "i"), ("getpgid", "i"), ("getpriority", "ii"), ("getrandom", "--i"),
    ("getrlimit", "i"), ("getrusage", "i"), ("getsid", "i"), ("getsockname", "i"), ("getsockopt", "iii"),
    ("getxattrat", "i-i"), ("inotify_add_watch", "i-i"), ("inotify_init1", "i"), ("inotify_rm_watch", "ii"),
    ("io_setup", "i"), ("io_uring_enter", "iiii"), ("io_uring_register", "ii-i"), ("io_uring_setup", "i"),
    ("ioctl", "ii"), ("ioperm", "--i"), ("iopl", "i"), ("ioprio_get", "ii"), ("ioprio_set", "iii"),
    ("kcmp", "iii"), ("kexec_file_load", "ii"), ("keyctl", "i"), ("kill", "ii"),
    ("landlock_add_rule", "ii-i"), ("landlock_create_ruleset", "--i"), ("landlock_restrict_self", "ii"),
    ("lchown", "-ii"), ("linkat", "i-i-i"), ("listen", "ii"), ("listmount", "---i"), ("listxattrat", "i-i"),
    ("lseek", "i-i"), ("lsetxattr", "----i"), ("lsm_get_self_attr", "i--i"), ("lsm_list_modules", "--i"),
    ("lsm_set_self_attr", "i-ii"), ("madvise", "--i"), ("map_shadow_stack", "--i"), ("mbind", "-----i"),
    ("membarrier", "iii"), ("memfd_create", "-i"), ("memfd_secret", "i"), ("migrate_pages", "i"),
    ("mkdir", "-h"), ("mkdirat", "i-h"), ("mknod", "-hi"), ("mknodat", "i-hi"), ("mlock2", "--i"),
    ("mlockall", "i"), ("mmap", "----i"), ("modify_ldt", "i"), ("mount_setattr", "i-i"),
    ("move_mount", "i-i-i"), ("move_pages", "i----i"), ("mq_getsetattr", "i"), ("mq_notify", "i"),
    ("mq_open", "-ih"), ("mq_timedreceive", "i"), ("mq_timedsend", "i--i"), ("msgctl", "ii"),
    ("msgget", "ii"), ("msgrcv", "i---i"), ("msgsnd", "i--i"), ("msync", "--i"),
    ("name_to_handle_at", "i---i"), ("newfstatat", "i--i"), ("open", "-ih"), ("open_by_handle_at", "i-i"),
    ("open_tree", "i-i"), ("open_tree_attr", "i-i"), ("openat", "i-ih"), ("openat2", "i"),
    ("perf_event_open", "-iii"), ("personality", "i"), ("pidfd_getfd", "iii"), ("pidfd_open", "ii"),
    ("pidfd_send_signal", "ii-i"), ("pipe2", "-i"), ("pkey_free", "i"), ("pkey_mprotect", "---i"),
    ("poll", "-ii"), ("ppoll", "-i"), ("prctl", "i"), ("pread64", "i"), ("preadv", "i"),
    ("preadv2", "i----i"), ("prlimit64", "ii"), ("process_madvise", "i--ii"), ("process_mrelease", "ii"),
    ("process_vm_readv", "i"), ("process_vm_writev", "i"), ("pselect6", "i"), ("ptrace", "-i"),
    ("pwrite64", "i"), ("pwritev", "i"), ("pwritev2", "i----i"), ("quotactl", "i-i"),
    ("quotactl_fd", "iii"), ("read", "i"), ("readahead", "i"), ("readlink", "--i"), ("readlinkat", "i--i"),
    ("readv", "i"), ("reboot", "iii"), ("recvfrom", "i--i"), ("recvmmsg", "i-ii"), ("recvmsg", "i-i"),
    ("removexattrat", "i-i"), ("renameat", "i-i"), ("renameat2", "i-i-i"), ("request_key", "---i"),
    ("rseq", "-iii"), ("rt_sigaction", "i"), ("rt_sigprocmask", "i"), ("rt_sigqueueinfo", "ii"),
    ("rt_tgsigqueueinfo", "iii"), ("sched_get_priority_max", "i"), ("sched_get_priority_min", "i"),
    ("sched_getaffinity", "ii"), ("sched_getattr", "i-ii"), ("sched_getparam", "i"),
    ("sched_getscheduler", "i"), ("sched_rr_get_interval", "i"), ("sched_setaffinity", "ii"),
    ("sched_setattr", "i-i"), ("sched_setparam", "i"), ("sched_setscheduler", "ii"), ("seccomp", "ii"),
    ("select", "i"), ("semctl", "iii"), ("semget", "iii"), ("semop", "i-i"), ("semtimedop", "i-i"),
    ("sendfile", "ii"), ("sendmmsg", "i-ii"), ("sendmsg", "i-i"), ("sendto", "i--i-i"),
    ("set_mempolicy", "i"), ("setdomainname", "-i"), ("setfsgid", "i"), ("setfsuid", "i"), ("setgid", "i"),
    ("setgroups", "i"), ("sethostname", "-i"), ("setitimer", "i"), ("setns", "ii"), ("setpgid", "ii"),
    ("setpriority", "iii"), ("setregid", "ii"), ("setresgid", "iii"), ("setresuid", "iii"),
    ("setreuid", "ii"), ("setrlimit", "i"), ("setsockopt", "iii-i"), ("setuid", "i"), ("setxattr", "----i"),
    ("setxattrat", "i-i"), ("shmat", "i-i"), ("shmctl", "ii"), ("shmget", "i-i"), ("shutdown", "ii"),
    ("signalfd", "i"), ("signalfd4", "i--i"), ("socket", "iii"), ("socketpair", "iii"),
    ("splice", "i-i--i"), ("statmount", "---i"), ("statx", "i-ii"), ("swapon", "-i"), ("symlinkat", "-i"),
    ("sync_file_range", "i--i"), ("syncfs", "i"), ("sysfs", "i"), ("syslog", "i-i"), ("tee", "ii-i"),
    ("tgkill", "iii"), ("timer_create", "i"), ("timer_delete", "i"), ("timer_getoverrun", "i"),
    ("timer_gettime", "i"), ("timer_settime", "ii"), ("timerfd_create", "ii"), ("timerfd_gettime", "i"),
    ("timerfd_settime", "ii"), ("tkill", "ii"), ("umask", "i"), ("umount2", "-i"), ("unlinkat", "i-i"),
    ("userfaultfd", "i"), ("ustat", "i"), ("utimensat", "i--i"), ("vmsplice", "i--i"), ("wait4", "i-i"),
    ("waitid", "ii-i"), ("write", "i"), ("writev", "i"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_for_the_search() {
        for table in [UID16, X32, ARGUMENTS] {
            assert!(table.is_sorted_by(|(a, _), (b, _)| a < b));
            assert!(table.iter().all(|(_, arguments)| arguments.len() <= 6));
        }
    }

    #[test]
    fn negative_values_narrow_and_large_ones_do_not() {
        assert_eq!(Width::Bits32.narrowed(u64::MAX), 0xffff_ffff);
        assert_eq!(Width::Bits32.narrowed(0xffff_ffff), 0xffff_ffff);
        assert_eq!(Width::Bits16.narrowed(0xffff_ffff), 0xffff);
        assert_eq!(Width::Bits16.narrowed(0x1_ffff), 0x1_ffff);
        assert_eq!(Width::Bits32.narrowed(1 << 32 | 1), 1 << 32 | 1);
        assert_eq!(Width::Bits32.narrowed(0xffff_ffff_0000_0001), 0xffff_ffff_0000_0001);
        assert_eq!(Width::Bits64.narrowed(u64::MAX), u64::MAX);
    }

    #[test]
    fn widths_follow_the_prototypes() {
        assert_eq!(of(Abi::X86_64, "socket", 0), Width::Bits32);
        assert_eq!(of(Abi::X86_64, "ioctl", 2), Width::Bits64);
        assert_eq!(of(Abi::X86_64, "chmod", 1), Width::Bits16);
        assert_eq!(of(Abi::X86_64, "read", 2), Width::Bits64);
        assert_eq!(of(Abi::X86_64, "no_such_call", 0), Width::Bits64);
        assert_eq!(of(Abi::X86, "read", 2), Width::Bits32);
        assert_eq!(of(Abi::X86, "setuid", 0), Width::Bits16);
        assert_eq!(of(Abi::X86_64, "setuid", 0), Width::Bits32);
        assert_eq!(of(Abi::X32, "ioctl", 2), Width::Bits32);
        assert_eq!(of(Abi::X32, "mmap", 0), Width::Bits64);
    }
}
