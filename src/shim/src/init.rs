//! `docker-init -- PROGRAM [ARGUMENT...]`: a container's first process. It starts the program, hands signals on to it,
//! reaps what nobody else does, and ends as the program ends.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use casemate_core::sys::pidfd::send_signal;
use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, set_child_subreaper, wait,
};
use rustix::stdio::stdin;
use rustix::termios::tcsetpgrp;

use crate::signals::Signals;

/// The name under which this program starts itself to become the program: in between it is in a process of its own,
/// where signals can be let through again.
pub const LAUNCHER: &str = "docker-init-program";

/// Runs the program to its end and gives its exit status, or 128 and the signal that ended it.
///
/// # Errors
/// No program is named, or none can be started.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let args = match args.split_first() {
        Some((dashes, rest)) if dashes == "--" => rest,
        _ => &args,
    };
    if args.is_empty() {
        return Err(Error::new("arguments", "no program is named: docker-init -- PROGRAM [ARGUMENT...]"));
    }
    let signals = Signals::collect()?;
    if !getpid().is_init() {
        // Others' processes are around it: what the program leaves behind comes here all the same.
        set_child_subreaper(Some(getpid()))
            .map_err(|errno| Error::os("become a subreaper", errno.raw_os_error()))?;
    }
    // A group of its own: a terminal's keys are for the program and what it runs, not for this process.
    let child = Command::new("/proc/self/exe").arg0(LAUNCHER).args(args).process_group(0).spawn();
    let child = child.map_err(|error| Error::io("start /proc/self/exe", &error).exit(126))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    follow(&signals, pid.ok_or_else(|| Error::new("start the program", "it has no process id"))?)
}

/// Becomes the program, in front of the terminal if there is one.
///
/// # Errors
/// It cannot be started: 127 where it does not exist, 126 where it is none.
pub fn launch(args: &[OsString]) -> Result<ExitCode> {
    let Some((program, args)) = args.split_first() else {
        return Err(Error::new("arguments", "no program is named"));
    };
    // Before signals are let through: a group in the background is stopped for this.
    if let Err(errno @ (Errno::PERM | Errno::INVAL)) = tcsetpgrp(stdin(), getpid()) {
        return Err(Error::os("come to the terminal's front", errno.raw_os_error()).exit(126));
    }
    Signals::let_through()?;
    let error = Command::new(program).args(args).exec();
    // Docker's words, by which its clients tell what is missing.
    let what = format!("exec: {program:?}");
    let is_path = program.as_encoded_bytes().contains(&b'/');
    Err(match error.kind() {
        ErrorKind::NotFound if !is_path => Error::new(what, "executable file not found in $PATH").exit(127),
        ErrorKind::NotFound => Error::io(what, &error).exit(127),
        _ => Error::io(what, &error).exit(126),
    })
}

fn follow(signals: &Signals, pid: Pid) -> Result<ExitCode> {
    loop {
        while let Some(signal) = signals.next() {
            if signal != Signal::CHILD.as_raw() {
                pass_on(pid, signal);
            }
        }
        if let Some(code) = reap(pid)? {
            return Ok(ExitCode::from(code));
        }
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("wait for the program", errno.raw_os_error())),
        }
    }
}

/// Hands a signal on. A program that has ended, or has become somebody else, gets none.
fn pass_on(pid: Pid, signal: i32) {
    match Signal::from_named_raw(signal) {
        Some(signal) => kill_process(pid, signal).unwrap_or_default(),
        // Real-time signals have no names.
        None => pidfd_open(pid, PidfdFlags::empty())
            .and_then(|process| send_signal(process.as_fd(), signal))
            .unwrap_or_default(),
    }
}

/// Reaps all that has ended; gives the program's exit status once it has.
fn reap(pid: Pid) -> Result<Option<u8>> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((of, status))) if of == pid => {
                let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
                ended = code.and_then(|code| u8::try_from(code).ok());
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(ended),
            Err(errno) => return Err(Error::os("reap", errno.raw_os_error())),
        }
    }
}
