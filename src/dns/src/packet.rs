//! Sockets of whole packets, with descriptors beside them.

use std::io::{ErrorKind, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The most descriptors beside one packet.
const DESCRIPTORS: usize = 2;

/// A `SOCK_SEQPACKET` socket; tokio's type for datagrams drives it as well, since only its readiness is used.
#[derive(Debug)]
pub struct Packets(UnixDatagram);

impl Packets {
    /// Of a connected socket.
    pub fn new(socket: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(UnixDatagram::from_std(socket.into())?))
    }

    /// The next packet: how much of `buffer` it fills, and what came beside it. Nothing is: the other side is gone.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
        let once = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(buffer)];
            let read = recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let mut descriptors = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    descriptors.extend(received);
                }
            }
            if read.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(ErrorKind::InvalidData.into());
            }
            Ok((read.bytes, descriptors))
        };
        self.0.async_io(Interest::READABLE, once).await
    }

    /// Sends one, once there is room for it.
    pub async fn send(&self, packet: &[u8]) -> Result<()> {
        let once = || Ok(send(&self.0, packet, SendFlags::NOSIGNAL)?);
        self.0.async_io(Interest::WRITABLE, once).await.map(|_| ())
    }
}
