//! The ends of a process's standard streams.

use std::os::fd::OwnedFd;

use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};

/// Our ends; none of them ever blocks.
#[derive(Debug, Default)]
pub struct Streams {
    /// What it reads from.
    pub input: Option<OwnedFd>,
    /// What it writes to: its standard output, or its terminal.
    pub output: Option<OwnedFd>,
    /// Its standard error.
    pub error: Option<OwnedFd>,
    /// The near side of its terminal, held so that the terminal does not hang up while nobody else has it open.
    pub near: Option<OwnedFd>,
}

/// The process's ends.
#[derive(Debug)]
pub struct Theirs {
    /// Its standard input.
    pub input: OwnedFd,
    /// Its standard output.
    pub output: OwnedFd,
    /// Its standard error.
    pub error: OwnedFd,
}

/// Pipes for the output and the error stream, and for the input where it `has_input`.
///
/// # Errors
/// The kernel's.
pub fn pipes(has_input: bool) -> Result<(Theirs, Streams)> {
    let make = || -> Result<(Theirs, Streams), Errno> {
        let (input, ours) = match has_input {
            true => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                (read, Some(unblock(write)?))
            }
            false => (open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None),
        };
        let (output, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (error, complain) = pipe_with(PipeFlags::CLOEXEC)?;
        let theirs = Theirs { input, output: write, error: complain };
        let (output, error) = (Some(unblock(output)?), Some(unblock(error)?));
        Ok((theirs, Streams { input: ours, output, error, near: None }))
    };
    make().map_err(|errno| Error::os("make pipes", errno.raw_os_error()))
}

/// Makes reading and writing return at once.
pub fn unblock(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
