//! Scheduling, I/O priority, memory policy and execution domain of the calling thread.

use rustix::io::Errno;

use super::answer;

/// sched_setattr(2)'s argument (linux/sched/types.h, version 0: Linux 3.14).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedAttr {
    /// The structure's size in bytes.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`: -20 to 19.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`: 1 to 99.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub period: u64,
}

/// Sets the calling thread's scheduling policy and attributes, sched_setattr(2).
pub fn set_attr(attr: &SchedAttr) -> Result<(), Errno> {
    // SAFETY: `attr` is a C-layout structure that carries its own size; the kernel reads it. Pid 0 is the caller.
    let value = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0) };
    answer(value).map(drop)
}

/// Sets the calling thread's I/O scheduling class (1 to 3) and priority (0 to 7), ioprio_set(2).
pub fn set_io_priority(class: u8, priority: u8) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = (libc::c_int::from(class) << 13) | libc::c_int::from(priority);
    // SAFETY: takes no pointers. Id 0 is the caller.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    answer(value).map(drop)
}

/// Sets the memory policy of the calling thread, set_mempolicy(2). `nodes` is a bit mask, node 0 lowest.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let bits = nodes.len().saturating_mul(64);
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // The kernel reads one bit fewer than `maxnode` says.
    let maxnode = if nodes.is_empty() { 0 } else { bits + 1 };
    // SAFETY: `mask` is null with a length of zero, or points to `bits` bits that outlive the call.
    let value = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, maxnode) };
    answer(value).map(drop)
}

/// Sets the execution domain, personality(2).
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointers; the flags that OCI admits (PER_LINUX, PER_LINUX32) do not touch address layout.
    let value = unsafe { libc::personality(libc::c_ulong::from(domain)) };
    answer(libc::c_long::from(value)).map(drop)
}
