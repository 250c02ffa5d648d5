//! The confined helper, asked through the broker.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

use casemate_spec::wire::{Ask, Task, TaskReply, View};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Take};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::{Engine, Failure, Result};

/// The most that the helper may answer, in bytes: a list of changes is the longest.
const LONGEST: u64 = 64 << 20;

/// A task that is under way.
#[derive(Debug)]
pub struct Helping {
    replies: BufReader<Take<Receiver>>,
    done: JoinHandle<Result<()>>,
}

impl Helping {
    /// Has a task done on a view; `data` is what it reads or writes. It goes on to its end even when nobody waits.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn begin(engine: &Engine, view: View, task: Task, data: Option<OwnedFd>) -> Result<Self> {
        let data = match data {
            Some(data) => data,
            None => OpenOptions::new().read(true).write(true).open("/dev/null")?.into(),
        };
        let (read, write) = pipe()?;
        let broker = engine.broker.clone();
        let done = tokio::spawn(async move {
            broker.done(Ask::Help { view, task }, &[data.as_fd(), write.as_fd()]).await
        });
        Ok(Self { replies: BufReader::new(read.take(LONGEST)), done })
    }

    /// The next of its answers; none when it has ended.
    ///
    /// # Errors
    /// It says something that is no answer.
    pub async fn reply(&mut self) -> Result<Option<TaskReply>> {
        let mut line = Vec::new();
        self.replies.read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        let reply = serde_json::from_slice(&line);
        reply.map(Some).map_err(|error| Failure::failed(format!("answer of the helper for files: {error}")))
    }

    /// Its last answer, which may be that it has failed.
    ///
    /// # Errors
    /// The broker refuses, or it ends without an answer.
    pub async fn end(mut self) -> Result<TaskReply> {
        let mut last = None;
        while let Some(reply) = self.reply().await? {
            last = Some(reply);
        }
        let done = self.done.await.map_err(|error| Failure::failed(error.to_string()))?;
        match last {
            // It says better than its exit status why it has failed.
            Some(TaskReply::Failed(failed)) => Ok(TaskReply::Failed(failed)),
            Some(reply) => done.map(|()| reply),
            None => Err(done
                .err()
                .unwrap_or_else(|| Failure::failed("the helper for files ended without an answer"))),
        }
    }
}

/// Has a task done on a view; `data` is what it reads or writes. Gives the last of the helper's answers, which may be
/// that it has failed.
///
/// # Errors
/// The broker refuses, or the helper ends without an answer.
pub async fn help(engine: &Engine, view: View, task: Task, data: Option<OwnedFd>) -> Result<TaskReply> {
    Helping::begin(engine, view, task, data)?.end().await
}

/// A pipe that we read from.
pub(super) fn pipe() -> Result<(Receiver, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    rustix::io::ioctl_fionbio(&read, true).map_err(std::io::Error::from)?;
    Ok((Receiver::from_owned_fd(read)?, write))
}
