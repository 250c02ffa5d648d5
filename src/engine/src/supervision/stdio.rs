//! The standard streams of a process, and everybody who is attached to them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use casemate_spec::wire::{Exited, Frame};
use tokio::sync::{mpsc, watch};

use super::link::{Link, Shim, room};
use crate::{Failure, Result};

/// How many packets a client may fall behind before the process waits for it.
const BEHIND: usize = 8;
/// How long a client that takes nothing is waited for once the process has ended, or is being killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a client that takes nothing makes us look whether the process is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output, or the terminal.
    Stdout = 1,
    /// The standard error.
    Stderr = 2,
}

/// Output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Of which stream.
    pub stream: Stream,
    /// What was written.
    pub bytes: Bytes,
}

/// The head of a frame: in a stream that carries both outputs, before each piece of so many bytes.
pub fn frame(stream: Stream, length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// The streams of one container or exec, over all its runs.
#[derive(Debug)]
pub struct Stdio {
    attached: Mutex<Vec<Attached>>,
    link: watch::Sender<Option<Arc<Link>>>,
    /// The process is being made to end: nobody is waited for any more.
    ending: watch::Sender<bool>,
    /// Counts output, so that whoever follows the log knows when to look.
    activity: watch::Sender<u64>,
    /// The last size that was asked for, for a terminal that is not there yet.
    size: Mutex<Option<(u16, u16)>>,
}

#[derive(Debug, Clone)]
struct Attached {
    sender: mpsc::Sender<Chunk>,
    stdout: bool,
    stderr: bool,
    /// It came while a process ran: it ends with that one.
    in_run: bool,
}

/// The clients of a run that has ended. They hear of the end when this is dropped.
#[derive(Debug)]
pub struct Parting(#[expect(dead_code, reason = "what is held is what is closed")] Vec<Attached>);

impl Default for Stdio {
    fn default() -> Self {
        Self {
            attached: Mutex::default(),
            link: watch::Sender::new(None),
            ending: watch::Sender::new(false),
            activity: watch::Sender::new(0),
            size: Mutex::default(),
        }
    }
}

impl Stdio {
    /// One more client: it gets what comes from now on, until the run ends, or the next one where none is on.
    pub fn attach(&self, stdout: bool, stderr: bool) -> mpsc::Receiver<Chunk> {
        let (sender, receiver) = mpsc::channel(BEHIND);
        let in_run = self.link.borrow().is_some();
        self.attached().push(Attached { sender, stdout, stderr, in_run });
        receiver
    }

    /// Writes to the standard input, of the next run where none is on.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn write(&self, bytes: &[u8]) -> Result<()> {
        Ok(self.linked().await?.write(bytes).await?)
    }

    /// Says that nothing more comes from this client for the standard input.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn close(&self) -> Result<()> {
        Ok(self.linked().await?.send(Frame::CloseStdin).await?)
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// No process runs.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some((rows, columns));
        let link = self.link.borrow().clone();
        let link = link.ok_or_else(|| Failure::conflict("cannot resize a stopped container"))?;
        Ok(link.send(Frame::Resize(rows, columns)).await?)
    }

    /// Takes a shim's connection up; those who are attached already get everything. Before anybody else can ask for it.
    pub fn open(&self, link: &Arc<Link>) {
        self.ending.send_replace(false);
        self.attached().iter_mut().for_each(|one| one.in_run = true);
        self.link.send_replace(Some(Arc::clone(link)));
    }

    /// The process is being made to end.
    pub fn hurry(&self) {
        self.ending.send_replace(true);
    }

    /// Passes output on until the process has ended, and says how if the shim did. Nobody who is attached can hold that
    /// up for long.
    pub async fn pump(&self, link: &Link, shim: &Shim) -> Option<Exited> {
        let mut packet = room();
        loop {
            let read = match link.receive(&mut packet).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => read,
            };
            let (stream, bytes) = match packet.get(..read).map(Frame::decode) {
                Some(Ok(Frame::Stdout(bytes))) => (Stream::Stdout, bytes),
                Some(Ok(Frame::Stderr(bytes))) => (Stream::Stderr, bytes),
                Some(Ok(Frame::Exited(bytes))) => return serde_json::from_slice(bytes).ok(),
                _ => continue,
            };
            self.activity.send_modify(|count| *count = count.wrapping_add(1));
            self.deliver(shim, stream, bytes).await;
        }
    }

    /// The run is over: its clients, who are told by dropping them.
    pub fn part(&self) -> Parting {
        self.link.send_replace(None);
        let parting = self.attached().extract_if(.., |one| one.in_run).collect();
        self.activity.send_modify(|count| *count = count.wrapping_add(1));
        Parting(parting)
    }

    /// Whoever is attached is told that there is nothing more to come, ever.
    pub fn shut(&self) {
        self.attached().clear();
    }

    /// Changes whenever there was output.
    pub fn activity(&self) -> watch::Receiver<u64> {
        self.activity.subscribe()
    }

    /// Whether a process is on.
    pub fn is_open(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// The size that was asked for last.
    pub fn size(&self) -> Option<(u16, u16)> {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn linked(&self) -> Result<Arc<Link>> {
        let mut links = self.link.subscribe();
        let link = links.wait_for(Option::is_some).await.map(|link| link.clone());
        link.ok().flatten().ok_or_else(|| Failure::conflict("the process has ended"))
    }

    async fn deliver(&self, shim: &Shim, stream: Stream, bytes: &[u8]) {
        let wants = |one: &Attached| match stream {
            Stream::Stdout => one.stdout,
            Stream::Stderr => one.stderr,
        };
        let takers: Vec<_> = {
            let mut attached = self.attached();
            attached.retain(|one| !one.sender.is_closed());
            attached.iter().filter(|one| wants(one)).map(|one| one.sender.clone()).collect()
        };
        if takers.is_empty() {
            return;
        }
        let chunk = Chunk { stream, bytes: Bytes::copy_from_slice(bytes) };
        for taker in takers {
            let taken = match taker.try_send(chunk.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(chunk)) => tokio::select! {
                    sent = taker.send(chunk) => sent.is_ok(),
                    () = self.give_up(shim) => false,
                },
            };
            if !taken {
                self.attached().retain(|one| !one.sender.same_channel(&taker));
            }
        }
    }

    /// Comes back when a client that takes nothing must not be waited for: some time after the process has gone, or after
    /// it was told to.
    async fn give_up(&self, shim: &Shim) {
        loop {
            tokio::time::sleep(LOOK).await;
            if *self.ending.borrow() || shim.has_ended().await {
                break;
            }
        }
        tokio::time::sleep(PATIENCE).await;
    }

    fn attached(&self) -> std::sync::MutexGuard<'_, Vec<Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "stdio_tests.rs"]
mod tests;
