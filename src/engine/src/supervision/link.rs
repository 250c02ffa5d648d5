//! A connection to a shim.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Ask, Frame, HexId, PACKET};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::broker::Broker;
use crate::{Failure, Result};

/// The most bytes of input in one packet; small, so that a terminal's size does not wait behind much of it.
const PIECE: usize = 16 << 10;

/// How long a shim has to greet a new connection.
const GREETING: Duration = Duration::from_millis(100);

/// The connection: frames come and go at the same time.
#[derive(Debug)]
pub struct Link {
    /// A `SOCK_SEQPACKET` socket; only its readiness is tokio's.
    socket: UnixDatagram,
}

impl Link {
    /// Takes a connection up.
    ///
    /// # Errors
    /// It is no socket.
    pub fn new(socket: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(io::Error::from)?;
        Ok(Self { socket: UnixDatagram::from_std(socket.into())? })
    }

    /// The next packet; 0 bytes are the end.
    pub async fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        let receive = || {
            let (read, _) = rustix::net::recv(&self.socket, &mut *packet, RecvFlags::empty())?;
            Ok(read)
        };
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// The process, as the shim tells it first of all; nothing, where the shim ends before it has one.
    pub async fn greeting(&self) -> Option<i32> {
        let mut packet = room();
        let read = self.receive(&mut packet).await.ok()?;
        match Frame::decode(packet.get(..read)?) {
            Ok(Frame::Running(pid)) => Some(pid),
            _ => None,
        }
    }

    /// Sends a packet, when there is room.
    pub async fn send(&self, frame: Frame<'_>) -> io::Result<()> {
        let packet = frame.encode();
        let send = || Ok(rustix::net::send(&self.socket, &packet, SendFlags::NOSIGNAL)?);
        self.socket.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// Sends bytes for the standard input.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.send(Frame::Stdin(piece)).await?;
        }
        Ok(())
    }
}

/// The shim of a container's first process, or of an exec.
#[derive(Debug, Clone)]
pub struct Shim {
    /// Who knows the way to it.
    pub broker: Broker,
    /// Which container.
    pub id: HexId,
    /// Which exec of it.
    pub exec: Option<HexId>,
}

impl Shim {
    /// One more connection.
    ///
    /// # Errors
    /// It has ended.
    pub async fn connect(&self) -> Result<Arc<Link>> {
        let ask = Ask::Connect { id: self.id.clone(), exec: self.exec.clone() };
        linked(self.broker.ask(ask).await?.1)
    }

    /// Whether its process has ended, though what it has written may not all be read: a new connection is told at once.
    pub async fn has_ended(&self) -> bool {
        let Ok(link) = self.connect().await else { return true };
        let mut packet = room();
        let told = async {
            loop {
                match link.receive(&mut packet).await {
                    Ok(read @ 1..) => {
                        let frame = packet.get(..read).map(Frame::decode);
                        if matches!(frame, Some(Ok(Frame::Exited(_)))) {
                            return true;
                        }
                    }
                    _ => return true,
                }
            }
        };
        tokio::time::timeout(GREETING, told).await.unwrap_or(false)
    }
}

/// The connection that came with an answer.
///
/// # Errors
/// None did.
pub fn linked(descriptors: Vec<OwnedFd>) -> Result<Arc<Link>> {
    let first = descriptors.into_iter().next();
    let socket = first.ok_or_else(|| Failure::failed("the broker sent no connection to the shim"))?;
    Ok(Arc::new(Link::new(socket)?))
}

/// Room for any packet.
pub fn room() -> Vec<u8> {
    vec![0; PACKET]
}
