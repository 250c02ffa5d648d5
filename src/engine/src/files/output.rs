//! What the helper writes, as it comes.

use std::os::fd::AsFd as _;

use bytes::Bytes;
use casemate_spec::wire::{PathStat, Task, TaskReply, View};
use futures_util::{Stream, stream};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::help::{Helping, pipe};
use crate::{Engine, Failure, Result};

/// Bytes of one piece.
const PIECE: usize = 64 << 10;

/// An archive that is being written. Its first piece is there, or the archive is at its end: what fails at once has
/// failed already.
#[derive(Debug)]
pub struct Output {
    first: Bytes,
    data: Receiver,
    helping: Helping,
}

impl Output {
    /// Of a task that says what there is before it writes it; the two, or why it failed at once.
    ///
    /// # Errors
    /// The broker refuses, or the helper breaks off.
    pub async fn of_place(
        engine: &Engine,
        view: View,
        task: Task,
    ) -> Result<Result<(PathStat, Self), TaskReply>> {
        let (data, mut helping) = begin(engine, view, task)?;
        match helping.reply().await? {
            Some(TaskReply::Stat(stat)) => Ok(Ok((stat, Self::begun(data, helping).await?))),
            Some(other) => Ok(Err(other)),
            None => Ok(Err(helping.end().await?)),
        }
    }

    /// Of a task that only writes.
    ///
    /// # Errors
    /// It fails before it has written anything.
    pub async fn of(engine: &Engine, view: View, task: Task) -> Result<Self> {
        let (data, helping) = begin(engine, view, task)?;
        Self::begun(data, helping).await
    }

    async fn begun(mut data: Receiver, helping: Helping) -> Result<Self> {
        let first = piece(&mut data).await?;
        if !first.is_empty() {
            return Ok(Self { first, data, helping });
        }
        match helping.end().await? {
            TaskReply::Failed(failed) => Err(Failure::failed(failed.message)),
            _ => Err(Failure::failed("the helper for files wrote nothing")),
        }
    }

    /// The archive, piece by piece; an error where it breaks off, however whole it looks.
    pub fn pieces(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        let first = stream::iter([Ok(self.first)]);
        let rest = stream::try_unfold(Some((self.data, self.helping)), |state| async {
            let Some((mut data, helping)) = state else { return Ok(None) };
            let next = piece(&mut data).await?;
            if !next.is_empty() {
                return Ok(Some((next, Some((data, helping)))));
            }
            match helping.end().await {
                Ok(TaskReply::Packed { .. }) => Ok(None),
                Ok(TaskReply::Failed(failed)) => Err(std::io::Error::other(failed.message)),
                Ok(_) => Err(std::io::Error::other("the helper for files said something else")),
                Err(failure) => Err(std::io::Error::other(failure.message)),
            }
        });
        futures_util::StreamExt::chain(first, rest)
    }
}

fn begin(engine: &Engine, view: View, task: Task) -> Result<(Receiver, Helping)> {
    let (data, write) = pipe()?;
    // An archive of many megabytes goes through: fewer turns. Where the system does not give it, it is as well.
    rustix::pipe::fcntl_setpipe_size(write.as_fd(), 1 << 20).ok();
    Ok((data, Helping::begin(engine, view, task, Some(write))?))
}

async fn piece(data: &mut Receiver) -> std::io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    data.read_buf(&mut piece).await?;
    Ok(piece.into())
}
