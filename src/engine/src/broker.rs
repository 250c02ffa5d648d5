//! Our end of the channel to the broker.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use casemate_spec::wire::{
    Adopted, Answer, Ask, DESCRIPTORS, Host, IN_MEMFD, INLINE, LONGEST, Reply, Request, VERSION,
};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;

use crate::{Failure, Kind, Result};

/// So often a long question is put into other memory before that is given up.
const SEALINGS: usize = 3;

/// What came of a question, and the descriptors that came with it.
type Answered = Result<(Answer, Vec<OwnedFd>)>;

/// The channel, shared by everybody who asks.
#[derive(Debug, Clone)]
pub struct Broker(Arc<Channel>);

#[derive(Debug)]
struct Channel {
    /// A `SOCK_SEQPACKET` socket; tokio's type for datagrams drives it as well, since only its readiness is used.
    socket: UnixDatagram,
    number: AtomicU64,
    /// Who waits for which answer; nothing once the broker is gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answered>>>>,
    asked: Mutex<Asked>,
}

/// How much has been asked of the broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// So many answers came.
    pub answers: u64,
    /// So long they took, together.
    pub time: Duration,
}

/// What the broker says of itself at first.
#[derive(Debug)]
pub struct Hello {
    /// The host.
    pub host: Host,
    /// What ran before us.
    pub running: Vec<Adopted>,
    /// Listening sockets of the API.
    pub listeners: Vec<OwnedFd>,
}

impl Broker {
    /// Takes up the conversation on a `SOCK_SEQPACKET` socket; answers are read by a task of their own, which ends with
    /// the broker. `gone` hears of that.
    ///
    /// # Errors
    /// The broker speaks another version, or is gone.
    pub async fn connect(socket: OwnedFd) -> Result<(Self, Hello, oneshot::Receiver<()>)> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(failed)?;
        let channel = Arc::new(Channel {
            socket: UnixDatagram::from_std(socket.into())?,
            number: AtomicU64::new(0),
            waiting: Mutex::new(Some(HashMap::new())),
            asked: Mutex::default(),
        });
        let (farewell, gone) = oneshot::channel();
        let reader = Arc::clone(&channel);
        tokio::spawn(async move {
            reader.read().await;
            farewell.send(()).ok();
        });
        let broker = Self(channel);
        match broker.ask(Ask::Hello { version: VERSION }).await? {
            (Answer::Hello { host, running }, listeners) => {
                Ok((broker, Hello { host, running, listeners }, gone))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Asks, without descriptors.
    ///
    /// # Errors
    /// The broker refuses, or is gone.
    pub async fn ask(&self, ask: Ask) -> Answered {
        self.ask_with(ask, &[]).await
    }

    /// Asks for something that is done or not.
    ///
    /// # Errors
    /// The broker refuses, or is gone.
    pub async fn done(&self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        match self.ask_with(ask, descriptors).await? {
            (Answer::Done, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Says something whose answer nobody needs. It is under way when this returns, before whatever is asked next.
    ///
    /// # Errors
    /// The broker is gone.
    pub async fn tell(&self, ask: Ask) -> Result<()> {
        let number = self.0.number.fetch_add(1, Ordering::Relaxed);
        let message = serde_json::to_vec(&Request { number, ask })
            .map_err(|error| Failure::failed(format!("request to the broker: {error}")))?;
        self.0.send(message, &[]).await
    }

    /// Asks, with the descriptors that the verb wants.
    ///
    /// # Errors
    /// The broker refuses, or is gone.
    pub async fn ask_with(&self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> Answered {
        let number = self.0.number.fetch_add(1, Ordering::Relaxed);
        let message = serde_json::to_vec(&Request { number, ask })
            .map_err(|error| Failure::failed(format!("request to the broker: {error}")))?;
        let (sender, answer) = oneshot::channel();
        self.0.expect(number, sender)?;
        let begun = Instant::now();
        self.0.send(message, descriptors).await?;
        let answer = answer.await.map_err(|_| gone())?;
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.answers += 1;
        asked.time += begun.elapsed();
        answer
    }

    /// How much has been asked so far.
    pub fn asked(&self) -> Asked {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn expect(&self, number: u64, sender: oneshot::Sender<Answered>) -> Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().ok_or_else(gone)?.insert(number, sender);
        Ok(())
    }

    async fn send(&self, message: Vec<u8>, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        if message.len() > LONGEST {
            return Err(Failure::invalid(format!("the request is longer than {LONGEST} bytes")));
        }
        let memfd = if message.len() > INLINE { Some(sealed(&message)?) } else { None };
        let packet = if memfd.is_some() { &[IN_MEMFD][..] } else { &message[..] };
        let all: Vec<BorrowedFd<'_>> =
            memfd.iter().map(AsFd::as_fd).chain(descriptors.iter().copied()).collect();
        let sent = self.socket.async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !all.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&all)) {
                return Err(Errno::TOOBIG.into());
            }
            Ok(sendmsg(&self.socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)?)
        });
        sent.await.map_err(|_| gone())?;
        Ok(())
    }

    async fn read(&self) {
        let mut buffer = vec![0_u8; INLINE + 1];
        while let Ok((length, descriptors)) = self.receive(&mut buffer).await {
            if length == 0 {
                break;
            }
            let Some((reply, descriptors)) =
                buffer.get(..length).and_then(|packet| read(packet, descriptors))
            else {
                eprintln!("casemated: broker: an answer that cannot be read");
                continue;
            };
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(asker) = waiting.as_mut().and_then(|waiting| waiting.remove(&reply.number)) {
                // Whoever asked may have gone meanwhile.
                asker.send(reply.answer.map(|answer| (answer, descriptors)).map_err(Failure::from)).ok();
            }
        }
        // Dropping the senders tells everybody who waits.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn receive(&self, buffer: &mut [u8]) -> std::io::Result<(usize, Vec<OwnedFd>)> {
        self.socket
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::CMSG_CLOEXEC;
                let read = recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?.bytes;
                let mut descriptors = Vec::new();
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = message {
                        descriptors.extend(received);
                    }
                }
                Ok((read, descriptors))
            })
            .await
    }
}

fn read(packet: &[u8], mut descriptors: Vec<OwnedFd>) -> Option<(Reply, Vec<OwnedFd>)> {
    if packet != [IN_MEMFD] {
        return Some((serde_json::from_slice(packet).ok()?, descriptors));
    }
    if descriptors.is_empty() {
        return None;
    }
    let mut message = Vec::new();
    let mut memfd = File::from(descriptors.remove(0));
    memfd.rewind().ok()?;
    memfd.take(LONGEST as u64).read_to_end(&mut message).ok()?;
    Some((serde_json::from_slice(&message).ok()?, descriptors))
}

fn sealed(message: &[u8]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let mut tries = 0;
    loop {
        let mut memfd = File::from(rustix::fs::memfd_create("request", flags).map_err(failed)?);
        memfd.write_all(message)?;
        match rustix::fs::fcntl_add_seals(&memfd, seals) {
            // While the kernel itself holds a page, for instance to move it, it seals none: other memory, then.
            Err(Errno::BUSY) if tries < SEALINGS => tries += 1,
            other => return other.map(|()| memfd.into()).map_err(failed),
        }
    }
}

fn gone() -> Failure {
    Failure::new(Kind::Unavailable, "the broker is gone")
}

fn failed(errno: Errno) -> Failure {
    Failure::failed(format!("channel to the broker: {errno}"))
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::failed(format!("the broker answered something else: {answer:?}"))
}
