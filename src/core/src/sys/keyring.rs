//! Session keyrings: keyctl(2).

use std::ffi::CStr;

use rustix::io::Errno;

use super::answer;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives this process a session keyring of its own under `name`, so that it shares no key with its caller.
///
/// # Errors
/// keyctl(2): `ENOSYS` on a kernel without keys, `EDQUOT` when the user's quota is used up.
pub fn join_session(name: &CStr) -> Result<(), Errno> {
    // SAFETY: `name` is a C string that outlives the call; the kernel only reads it.
    let value = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    answer(value).map(drop)
}
