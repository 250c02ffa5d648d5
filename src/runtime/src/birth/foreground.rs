//! The foreground: signals go to the container's process, its terminal to ours, its exit status to our caller.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_send_signal, waitid};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::terminal::receive_master;

/// Signals are collected from before the birth, so that none is lost.
#[derive(Debug)]
pub struct Foreground {
    signals: SignalFd,
}

impl Foreground {
    /// Begins to collect signals; orphans of the container become ours to reap when `adopt`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin(adopt: bool) -> Result<Self> {
        let failed = |errno: nix::errno::Errno| Error::os("collect signals", errno as i32);
        let mut set = SigSet::all();
        // Faults of our own must not be swallowed.
        for fault in
            [NixSignal::SIGSEGV, NixSignal::SIGBUS, NixSignal::SIGFPE, NixSignal::SIGILL, NixSignal::SIGABRT]
        {
            set.remove(fault);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None).map_err(failed)?;
        let signals =
            SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
        if adopt {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .map_err(|errno| Error::os("become a subreaper", errno.raw_os_error()))?;
        }
        Ok(Self { signals })
    }
}

/// Follows a process to its end and gives its exit code: its own, or 128 + the signal that killed it.
///
/// # Errors
/// The kernel's.
pub fn follow(foreground: &Foreground, pidfd: &OwnedFd, console: Option<&OwnedFd>) -> Result<ExitCode> {
    let mut proxy = match console {
        Some(socket) => Some(Proxy::begin(receive_master(socket)?)?),
        None => None,
    };
    loop {
        let events = wait(foreground, pidfd, proxy.as_ref())?;
        if let Some(proxy) = &mut proxy {
            proxy.carry(&events)?;
        }
        let mut reaped = None;
        if events.signal {
            while let Ok(Some(info)) = foreground.signals.read_signal() {
                reaped = deliver(info.ssi_signo, pidfd, proxy.as_ref())?.or(reaped);
            }
        }
        if events.ended || reaped.is_some() {
            if let Some(proxy) = &mut proxy {
                proxy.drain();
            }
            return reaped.map_or_else(|| status(pidfd), Ok);
        }
    }
}

struct Events {
    ended: bool,
    signal: bool,
    input: bool,
    output: bool,
}

fn wait(foreground: &Foreground, pidfd: &OwnedFd, proxy: Option<&Proxy>) -> Result<Events> {
    let stdin = rustix::stdio::stdin();
    let signals = foreground.signals.as_fd();
    let mut watched =
        vec![PollFd::new(pidfd, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
    let (mut reads, mut writes) = (false, false);
    if let Some(proxy) = proxy {
        if proxy.master_open {
            watched.push(PollFd::new(&proxy.master, PollFlags::IN));
            writes = true;
        }
        if proxy.input_open {
            watched.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            reads = true;
        }
    }
    match poll(&mut watched, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::os("wait for the container", errno.raw_os_error())),
    }
    let mut ready = watched.iter().map(|fd| !fd.revents().is_empty());
    let mut next = |there: bool| there && ready.next().unwrap_or(false);
    Ok(Events { ended: next(true), signal: next(true), output: next(writes), input: next(reads) })
}

/// Does what a signal wants. The container's end, where that came up at it.
fn deliver(number: u32, pidfd: &OwnedFd, proxy: Option<&Proxy>) -> Result<Option<ExitCode>> {
    let number = i32::try_from(number).unwrap_or(0);
    match Signal::from_named_raw(number) {
        Some(Signal::CHILD) => return reap_adopted(pidfd),
        Some(Signal::WINCH) => proxy.map_or(Ok(()), Proxy::resize)?,
        // Go's scheduler uses it between its own threads; runc's callers know it is not passed on.
        Some(Signal::URG) | None => {}
        Some(signal) => match pidfd_send_signal(pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(Error::os("pass a signal on", errno.raw_os_error())),
        },
    }
    Ok(None)
}

/// Reaps processes that outlived their parents, of whatever process group, and leaves the container's own for
/// [`status`]. It may end while we are at it: then it was the one that was reaped, and this is how it ended.
fn reap_adopted(pidfd: &OwnedFd) -> Result<Option<ExitCode>> {
    let own = || {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), peek)
    };
    loop {
        if matches!(own(), Ok(Some(_)) | Err(Errno::CHILD)) {
            return Ok(None);
        }
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((_, status))) if matches!(own(), Err(Errno::CHILD)) => {
                return Ok(Some(code(status.exit_status(), status.terminating_signal())));
            }
            Ok(Some(_reaped)) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return Err(Error::os("reap", errno.raw_os_error())),
        }
    }
}

fn status(pidfd: &OwnedFd) -> Result<ExitCode> {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .map_err(|errno| Error::os("wait for the container", errno.raw_os_error()))?;
    let (exited, killed) = status.map_or((None, None), |s| (s.exit_status(), s.terminating_signal()));
    Ok(code(exited, killed))
}

fn code(exited: Option<i32>, killed: Option<i32>) -> ExitCode {
    let code = exited.or(killed.map(|signal| signal + 128));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Rows and columns of our own terminal. The container's has them before its program can look.
pub fn window() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    (size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

/// Carries bytes between our terminal and the container's.
struct Proxy {
    master: OwnedFd,
    master_open: bool,
    input_open: bool,
    saved: Option<Termios>,
}

impl Proxy {
    fn begin(master: OwnedFd) -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        let saved = match isatty(stdin) {
            false => None,
            true => {
                let saved = tcgetattr(stdin).map_err(terminal)?;
                let mut raw = saved.clone();
                raw.make_raw();
                tcsetattr(stdin, OptionalActions::Now, &raw).map_err(terminal)?;
                Some(saved)
            }
        };
        let proxy = Self { master, master_open: true, input_open: true, saved };
        if proxy.saved.is_some() {
            proxy.resize()?;
        }
        Ok(proxy)
    }

    fn resize(&self) -> Result<()> {
        match tcgetwinsize(rustix::stdio::stdin()) {
            Ok(size) => tcsetwinsize(&self.master, size).map_err(terminal),
            Err(_not_a_terminal) => Ok(()),
        }
    }

    fn carry(&mut self, events: &Events) -> Result<()> {
        if events.output {
            self.master_open = copy(self.master.as_fd(), rustix::stdio::stdout())?;
        }
        if events.input {
            self.input_open = copy(rustix::stdio::stdin(), self.master.as_fd())?;
        }
        Ok(())
    }

    /// What the container wrote before it ended.
    fn drain(&mut self) {
        while self.master_open {
            let mut watched = [PollFd::new(&self.master, PollFlags::IN)];
            let ready = poll(&mut watched, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }));
            if !matches!(ready, Ok(1)) {
                return;
            }
            self.master_open = copy(self.master.as_fd(), rustix::stdio::stdout()).unwrap_or(false);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved
            && let Err(errno) = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved)
        {
            crate::log::warn(format_args!("restore the terminal: {errno}"));
        }
    }
}

/// Copies once; false when the source is at its end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool> {
    let mut buffer = [0_u8; 16384];
    let read = match rustix::io::read(from, &mut buffer) {
        // The other side of a terminal is closed.
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        other => other.map_err(terminal)?,
    };
    let mut rest = buffer.get(..read).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::IO) => return Ok(false),
            Err(errno) => return Err(terminal(errno)),
        }
    }
    Ok(true)
}

fn terminal(errno: Errno) -> Error {
    Error::os("terminal", errno.raw_os_error())
}
