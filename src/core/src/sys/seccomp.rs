//! seccomp(2): putting a compiled filter over the calling thread.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::answer;

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0.
const NEW_LISTENER: u32 = 1 << 3;

/// One classic BPF instruction, `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Generic value.
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Instruction,
}

/// Puts `program` over the calling thread; gives the listener when `listen` (`SECCOMP_RET_USER_NOTIF`).
///
/// # Errors
/// seccomp(2): `EACCES` without no_new_privs or `CAP_SYS_ADMIN`, `EINVAL` for a flag or action the kernel lacks or a
/// malformed program, `EBUSY` when a listener exists already.
pub fn set_filter(program: &[Instruction], flags: u32, listen: bool) -> Result<Option<OwnedFd>, Errno> {
    let len = libc::c_ushort::try_from(program.len()).map_err(|_long| Errno::INVAL)?;
    let fprog = Program { len, filter: program.as_ptr() };
    let flags = flags | if listen { NEW_LISTENER } else { 0 };
    // SAFETY: `fprog` describes `program`, both outlive the call, and the kernel copies them.
    let value = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&fprog))
    };
    let value = answer(value)?;
    if !listen {
        return Ok(None);
    }
    let listener = RawFd::try_from(value).map_err(|_huge| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER the kernel returns a descriptor it has just opened for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
}

/// Whether the kernel knows a filter's return action (`SECCOMP_GET_ACTION_AVAIL`, Linux 4.14).
pub fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 that outlives the call.
    let value = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    answer(value).is_ok()
}
