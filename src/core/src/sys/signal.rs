//! Signal state that execve(2) would hand on.

use rustix::io::Errno;

use super::answer;

/// Gives the next image default dispositions and an empty mask.
///
/// Rust's start-up ignores SIGPIPE, and ignored signals stay ignored across execve(2).
pub fn reset() -> Result<(), Errno> {
    // SAFETY: SIG_DFL is a valid disposition and SIGPIPE a valid signal; no handler of ours is installed.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(Errno::INVAL);
    }
    let empty: u64 = 0;
    // SAFETY: the kernel reads one 8-byte signal set that outlives the call; the old set is not asked for.
    let value = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
    answer(value).map(drop)
}
