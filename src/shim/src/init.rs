//! `docker-init -- PROGRAM [ARGUMENT...]`: a container's first process. It starts the program, hands signals on to it,
//! reaps what nobody else does, and ends as the program ends.

use std::ffi::OsString;
use std::io::{Error as IoError, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use casemate_core::sys::pidfd::send_signal;
use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, waitpid,
};
use rustix::stdio::stdin;
use rustix::termios::tcsetpgrp;

use crate::signals::Signals;

/// Runs the program to its end and gives its exit status, or 128 and the signal that ended it.
///
/// # Errors
/// There is no program, or it cannot be started: 127 where it does not exist, 126 where it is none.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let args = match args.split_first() {
        Some((dashes, rest)) if dashes == "--" => rest,
        _ => &args,
    };
    let Some((program, args)) = args.split_first() else {
        return Err(
            Error::new("arguments", "no program is named").hint("docker-init -- PROGRAM [ARGUMENT...]")
        );
    };
    let signals = Signals::collect()?;
    if !getpid().is_init() {
        // The host's or another container's processes are around it: what the program leaves comes here all the same.
        let failed = |errno: Errno| Error::os("become a subreaper", errno.raw_os_error());
        set_child_subreaper(Some(getpid())).map_err(failed)?;
    }
    // A group of its own: a terminal's keys are for the program and what it runs, not for this process.
    let child = Command::new(program).args(args).process_group(0).spawn();
    let child = child.map_err(|error| explain(program, &error))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::new("start the program", "it has no process id"))?;
    put_in_front(pid);
    follow(&signals, pid)
}

/// Docker's words, by which its clients tell what is missing.
fn explain(program: &OsString, error: &IoError) -> Error {
    let what = format!("exec: {program:?}");
    let is_path = program.as_encoded_bytes().contains(&b'/');
    match error.kind() {
        ErrorKind::NotFound if !is_path => Error::new(what, "executable file not found in $PATH").exit(127),
        ErrorKind::NotFound => Error::io(what, error).exit(127),
        _ => Error::io(what, error).exit(126),
    }
}

/// Makes the program's group the terminal's foreground group, if there is a terminal.
fn put_in_front(pid: Pid) {
    // We are in the background afterwards, which stops nobody who blocks SIGTTOU.
    if tcsetpgrp(stdin(), pid).is_ok() {
        // It may have asked for input before it was in front, and have been stopped for it.
        kill_process_group(pid, Signal::CONT).unwrap_or_default();
    }
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
        match waitpid(None, WaitOptions::NOHANG) {
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
