//! A connection to a shim.

use std::io;
use std::os::fd::OwnedFd;

use casemate_spec::wire::{Frame, PACKET};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::Result;

/// The most bytes of input in one packet; small, so that a terminal's size does not wait behind much of it.
const PIECE: usize = 16 << 10;

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

    /// Whether the shim has closed its end, whatever of its packets is still to be read.
    pub async fn is_hung_up(&self) -> bool {
        self.socket.ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed())
    }
}

/// Room for any packet.
pub fn room() -> Vec<u8> {
    vec![0; PACKET]
}
