//! The process's birth: the runtime is run to its end, with pipes or a terminal for the new process's streams.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};

use casemate_spec::wire::Order;
use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use crate::order::Given;
use crate::signals::Signals;
use crate::standby::{Standby, Teller};
use crate::streams::{Streams, pipes};
use crate::terminal::Console;

/// What is kept of a failed runtime's messages.
const MESSAGE: usize = 16 << 10;
/// The most that is taken from the error stream while the runtime runs. It is the runtime's own until the process has
/// started, the process's from then on; which is which shows when the runtime has ended.
const HELD: usize = 1 << 20;
const PID_FILE: &str = "pid";

/// A process that runs.
#[derive(Debug)]
pub struct Newborn {
    /// It.
    pub pid: Pid,
    /// Our ends of its streams.
    pub streams: Streams,
    /// What it has written to its standard error already.
    pub said: Vec<u8>,
}

/// Why there is none.
#[derive(Debug)]
pub struct Refused {
    /// The runtime's words, or our own.
    pub message: String,
    /// The runtime's exit status.
    pub code: i32,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { message: format!("casemate-shim: {error}\n"), code: 1 }
    }
}

/// Runs the runtime. The process is our child afterwards, since we adopt what the runtime leaves.
///
/// # Errors
/// It failed, it was called off by SIGTERM, or it cannot be run; then nothing of it is left.
pub fn bear(
    signals: &Signals,
    order: &Order,
    given: &Given,
    standby: Option<Standby>,
) -> Result<Newborn, Refused> {
    let born = try_bear(signals, order, given, standby);
    if born.is_err() {
        end_all();
    }
    born
}

fn try_bear(
    signals: &Signals,
    order: &Order,
    given: &Given,
    standby: Option<Standby>,
) -> Result<Newborn, Refused> {
    set_child_subreaper(Some(getpid()))
        .map_err(|errno| Error::os("become a subreaper", errno.raw_os_error()))?;
    let dir = given.exit_dir.as_fd();
    let console = order.streams.tty.then(|| Console::listen(dir)).transpose()?;
    let (child, teller, mut streams) = spawn(order, dir, console.is_some(), standby)?;
    let mut said = Vec::new();
    let status = follow(signals, child, &mut streams.error, &mut said)?;
    if !status.success() {
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        return Err(Refused { message: last(&said), code });
    }
    if let Some(console) = console {
        // What was said came from the runtime: the process has its terminal.
        (streams, said) = (console.receive(dir, order.streams.size)?, Vec::new());
    }
    let pid = match teller {
        Some(teller) => teller.take().ok_or_else(|| Error::new("run the runtime", "it names no process")),
        None => take_pid(dir),
    };
    Ok(Newborn { pid: pid?, streams, said })
}

/// Runs the runtime with the process's streams as its own; the other ends are ours. One that stands by already is told;
/// any other is started, and writes a file that names the process.
fn spawn(
    order: &Order,
    dir: BorrowedFd<'_>,
    has_terminal: bool,
    standby: Option<Standby>,
) -> Result<(Child, Option<Teller>, Streams)> {
    let what = "run the runtime";
    let [program, args @ .., id] = order.runtime.as_slice() else {
        return Err(Error::new(what, "the order names none"));
    };
    let mut line = args.to_vec();
    if has_terminal {
        line.extend(["--console-socket".to_owned(), seen_by_others(dir, Console::NAME)]);
    }
    // Dropping what is theirs closes the process's ends here: their closing there must be the last.
    let (theirs, ours) = pipes(order.streams.stdin && !has_terminal)?;
    if let Some(standby) = standby.filter(|standby| standby.is(program)) {
        let line: Vec<String> = line.iter().chain([id]).cloned().collect();
        // One that was killed meanwhile is done without.
        if let Ok((child, teller)) = standby.tell(&line, &theirs) {
            return Ok((child, Some(teller), ours));
        }
    }
    line.extend(["--pid-file".to_owned(), seen_by_others(dir, PID_FILE), id.clone()]);
    let mut command = Command::new(program);
    command.args(line).stdin(theirs.input).stdout(theirs.output).stderr(theirs.error);
    let child = command.spawn().map_err(|error| Error::io(format!("{what} {program}"), &error))?;
    Ok((child, None, ours))
}

/// A path by which another process of ours finds a file of a directory that we have as a descriptor: the directory's own
/// path may be longer than a socket's address can be.
fn seen_by_others(dir: BorrowedFd<'_>, name: &str) -> String {
    format!("/proc/{}/fd/{}/{name}", getpid().as_raw_nonzero(), dir.as_raw_fd())
}

/// Waits for the runtime's end, and takes what comes on the error stream meanwhile so that it never waits for us.
fn follow(
    signals: &Signals,
    mut child: Child,
    errors: &mut Option<OwnedFd>,
    said: &mut Vec<u8>,
) -> Result<ExitStatus> {
    let what = "wait for the runtime";
    loop {
        if let Some(status) = child.try_wait().map_err(|error| Error::io(what, &error))? {
            take(errors, said);
            return Ok(status);
        }
        let mut watched = vec![PollFd::new(signals, PollFlags::IN)];
        if let Some(errors) = errors.as_ref().filter(|_| said.len() < HELD) {
            watched.push(PollFd::new(errors, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os(what, errno.raw_os_error())),
        }
        drop(watched);
        take(errors, said);
        while let Some(signal) = signals.next() {
            if signal == Signal::TERM.as_raw() {
                return Err(Error::new(what, "it was called off"));
            }
        }
    }
}

/// Reads what there is, as long as there is room for it.
fn take(errors: &mut Option<OwnedFd>, said: &mut Vec<u8>) {
    let mut bytes = [0_u8; 4096];
    while let Some(from) = errors.as_ref().filter(|_| said.len() < HELD) {
        match rustix::io::read(from, &mut bytes) {
            Ok(0) => *errors = None,
            Ok(read) => said.extend_from_slice(bytes.get(..read).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(_nothing_more) => return,
        }
    }
}

/// The end of a message, where it is too long.
fn last(said: &[u8]) -> String {
    let from = said.len().saturating_sub(MESSAGE);
    String::from_utf8_lossy(said.get(from..).unwrap_or_default()).into_owned()
}

/// Reads the pid file and removes it.
fn take_pid(dir: BorrowedFd<'_>) -> Result<Pid> {
    let failed = |errno: Errno| Error::os("read the pid file", errno.raw_os_error());
    let file = openat(dir, PID_FILE, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let mut text = [0_u8; 16];
    let read = rustix::io::read(file.map_err(failed)?, &mut text).map_err(failed)?;
    unlinkat(dir, PID_FILE, AtFlags::empty()).map_err(failed)?;
    std::str::from_utf8(text.get(..read).unwrap_or_default())
        .ok()
        .and_then(|text| Pid::from_raw(text.trim().parse().ok()?))
        .ok_or_else(|| Error::new("read the pid file", "it holds no process id"))
}

/// Kills every child, and what their ends leave to us, until there is none.
pub fn end_all() {
    loop {
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let pids = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for pid in pids {
            // One that has ended since is as good.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_no_child) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_message_the_end_is_kept() {
        let mut said = vec![b'a'; MESSAGE];
        said.extend_from_slice("é!".as_bytes());
        let message = last(&said);
        assert!(message.ends_with("aé!"), "{message}");
        assert_eq!(message.len(), MESSAGE);
        assert_eq!(last(b"\xff"), "\u{fffd}");
    }
}
