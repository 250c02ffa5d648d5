//! Clients at the standard streams.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::stdio::{Chunk, Stdio};
use super::tell;
use crate::containers::{Container, Status};
use crate::{Engine, Failure, Result};

/// What a client wants of the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// To write to the standard input.
    pub stdin: bool,
    /// The standard output, or the terminal.
    pub stdout: bool,
    /// The standard error.
    pub stderr: bool,
}

/// A client at the streams.
#[derive(Debug)]
pub struct Attachment {
    /// What comes out, from now on; ends with the process.
    pub output: mpsc::Receiver<Chunk>,
    /// Where input goes, if the client may write.
    pub input: Option<Arc<Stdio>>,
    /// The process has a terminal: output is raw, and keys can detach.
    pub tty: bool,
    /// The end of the client's input is the end of the process's.
    pub closes: bool,
}

/// Attaches a client: from this call on it misses nothing.
///
/// # Errors
/// The container is frozen or about to be restarted.
pub fn attach(engine: &Engine, container: &Container, wanted: Wanted) -> Result<Attachment> {
    let refuse = |what: &str| Err(Failure::conflict(format!("container {} is {what}", container.id)));
    match container.state().status {
        Status::Paused => return refuse("paused, unpause the container before attach"),
        Status::Restarting => return refuse("restarting, wait until the container is running"),
        Status::Removing | Status::Dead => return refuse("marked for removal and cannot be attached to"),
        Status::Created | Status::Running | Status::Exited => {}
    }
    let config = &container.config;
    let seat = engine.supervision.seat(&container.id);
    tell(engine, container, "attach", &[]);
    Ok(Attachment {
        output: seat.stdio.attach(wanted.stdout, wanted.stderr),
        input: (wanted.stdin && config.open_stdin).then(|| Arc::clone(&seat.stdio)),
        tty: config.tty,
        closes: config.stdin_once && !config.tty,
    })
}
