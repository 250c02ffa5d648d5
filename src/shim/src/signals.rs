//! Signals, read like a file: none interrupts, none ends the shim.

use std::os::fd::{AsFd, BorrowedFd};

use casemate_spec::{Error, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals as they come.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Begins to collect all but faults of our own. Programs that are started inherit the mask: the runtime gives the
    /// container an empty one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn collect() -> Result<Self> {
        let failed = |errno: nix::errno::Errno| Error::os("collect signals", errno as i32);
        let mut set = SigSet::all();
        for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT] {
            set.remove(fault);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None).map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(failed)
    }

    /// Lets all through again, for a program that takes this one's place.
    ///
    /// # Errors
    /// The kernel's.
    pub fn let_through() -> Result<()> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
            .map_err(|errno| Error::os("let signals through", errno as i32))
    }

    /// The next one's number, if one has come.
    pub fn next(&self) -> Option<i32> {
        let info = self.0.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
