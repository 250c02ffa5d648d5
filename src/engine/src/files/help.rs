//! The confined helper, asked through the broker.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

use casemate_spec::wire::{Ask, Task, TaskReply, View};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::{Engine, Failure, Result};

/// The most that the helper may answer, in bytes: a list of changes is the longest.
const LONGEST: u64 = 64 << 20;

/// Has a task done on a view; `data` is what it reads or writes. Gives the last of the helper's answers, which may be
/// that it has failed.
///
/// # Errors
/// The broker refuses, or the helper ends without an answer.
pub async fn help(engine: &Engine, view: View, task: Task, data: Option<OwnedFd>) -> Result<TaskReply> {
    let data = match data {
        Some(data) => data,
        None => OpenOptions::new().read(true).write(true).open("/dev/null")?.into(),
    };
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    rustix::io::ioctl_fionbio(&read, true).map_err(std::io::Error::from)?;
    let broker = engine.broker.clone();
    let asked =
        tokio::spawn(
            async move { broker.done(Ask::Help { view, task }, &[data.as_fd(), write.as_fd()]).await },
        );
    let mut said = Vec::new();
    Receiver::from_owned_fd(read)?.take(LONGEST).read_to_end(&mut said).await?;
    let done = asked.await.map_err(|error| Failure::failed(error.to_string()))?;
    let last = said.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    match last.map(serde_json::from_slice::<TaskReply>) {
        // It says better than its exit status why it has failed.
        Some(Ok(TaskReply::Failed(failed))) => Ok(TaskReply::Failed(failed)),
        Some(Ok(reply)) => done.map(|()| reply),
        _ => {
            Err(done.err().unwrap_or_else(|| Failure::failed("the helper for files ended without an answer")))
        }
    }
}
