//! Pipes through which the broker's programs answer at length.

use std::os::fd::AsFd as _;

use casemate_spec::wire::Ask;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::{Failure, Result};

/// What a program writes, and what the broker says of it in the end.
#[derive(Debug)]
pub struct Funnel {
    /// Dropping it ends the program.
    pub reader: Receiver,
    asked: JoinHandle<Result<()>>,
}

impl Funnel {
    /// Asks the broker, with a pipe.
    ///
    /// # Errors
    /// There is no pipe to be had.
    pub fn ask(broker: &Broker, ask: Ask) -> Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
        rustix::io::ioctl_fionbio(&read, true).map_err(std::io::Error::from)?;
        let broker = broker.clone();
        let asked = tokio::spawn(async move {
            // Held until the answer: what is written before is not lost to a writer that comes late.
            broker.done(ask, &[write.as_fd()]).await
        });
        Ok(Self { reader: Receiver::from_owned_fd(read)?, asked })
    }

    /// All that it writes, up to `most` bytes.
    ///
    /// # Errors
    /// The broker refuses, the program fails, or writes more.
    pub async fn whole(mut self, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self.reader).take(limit).read_to_end(&mut bytes).await?;
        if bytes.len() > most {
            return Err(Failure::failed(format!("an answer longer than {most} bytes")));
        }
        self.verdict().await?;
        Ok(bytes)
    }

    /// What the broker says.
    ///
    /// # Errors
    /// That it refuses, or that the program has failed.
    pub async fn verdict(self) -> Result<()> {
        drop(self.reader);
        self.asked.await.map_err(|error| Failure::failed(error.to_string()))?
    }
}
