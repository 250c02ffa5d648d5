//! Hooks that run in the container's namespaces: `createContainer` and `startContainer`.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::plan::Hook;
use crate::sys::clone::{Birth, clone3, exit_now};
use crate::sys::exec::{Vector, execve};
use crate::sys::signal;

/// Runs a hook with the container's state on its standard input, and waits for it.
///
/// # Errors
/// The kernel's reason, or the exit code of a hook that failed (128 + signal for one that was killed); `ETIMEDOUT`
/// for one that took longer than it may, which is killed.
pub(super) fn run(
    hook: &Hook,
    vectors: &(Vector, Vector),
    state: Option<BorrowedFd<'_>>,
) -> Result<(), (Errno, Option<i32>)> {
    let plain = |errno| (errno, None);
    match clone3(0, None).map_err(plain)? {
        Birth::Child => {
            let code = become_hook(hook, vectors, state).raw_os_error();
            exit_now(if code == Errno::NOENT.raw_os_error() { 127 } else { 126 })
        }
        Birth::Parent { pidfd, .. } => {
            let limit = hook.timeout.map(|seconds| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 });
            let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()).map_err(plain)?;
            if ended == 0 {
                pidfd_send_signal(&pidfd, Signal::KILL).map_err(plain)?;
            }
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(plain)?;
            if ended == 0 {
                return Err(plain(Errno::TIMEDOUT));
            }
            let status = status.ok_or_else(|| plain(Errno::CHILD))?;
            match status.exit_status().or(status.terminating_signal().map(|signal| signal + 128)) {
                Some(0) => Ok(()),
                code => Err((Errno::CHILD, code)),
            }
        }
    }
}

fn become_hook(hook: &Hook, (argv, envp): &(Vector, Vector), state: Option<BorrowedFd<'_>>) -> Errno {
    if let Some(state) = state {
        let given = rustix::fs::seek(state, rustix::fs::SeekFrom::Start(0))
            .and_then(|_start| rustix::stdio::dup2_stdin(state));
        if let Err(errno) = given {
            return errno;
        }
    }
    if let Err(errno) = signal::reset() {
        return errno;
    }
    execve(&hook.path, argv, envp)
}
