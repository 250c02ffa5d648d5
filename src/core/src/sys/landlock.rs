//! What Landlock the kernel has; the rules themselves are the `landlock` crate's.

use super::answer;

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;

/// The kernel's Landlock ABI, landlock_create_ruleset(2); 0 where it has none or it is off.
pub fn abi() -> u32 {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with the version flag the kernel reads no memory: the attribute is null and its size 0.
    let value = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    answer(value).ok().and_then(|abi| u32::try_from(abi).ok()).unwrap_or(0)
}
