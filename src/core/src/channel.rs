//! The channel between parent and child: a socket pair of whole records, with descriptors where one is due.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::report::{LEN, Record};

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What came.
#[derive(Debug)]
pub enum Received {
    /// A record, and the descriptor that came with it.
    Record(Record, Option<OwnedFd>),
    /// The other side is gone.
    Closed,
}

impl Channel {
    /// Both ends, closed by execve(2).
    pub fn pair() -> Result<(Self, Self), Errno> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    /// An end that was made elsewhere: a connection to the listening socket of a waiting container.
    pub fn from_socket(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends a record.
    pub fn send(&self, record: Record) -> Result<(), Errno> {
        self.send_with(record, None)
    }

    /// Sends a record and a descriptor. Allocates nothing.
    pub fn send_with(&self, record: Record, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        send_bytes(self.0.as_fd(), &record.encode(), fd)
    }

    /// Waits for a record. Allocates nothing. A malformed one is `EPROTO`.
    pub fn receive(&self) -> Result<Received, Errno> {
        let mut bytes = [0_u8; LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(Received::Closed),
                other => break other?.bytes,
            }
        };
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if read == 0 {
            return Ok(Received::Closed);
        }
        let record = Record::decode(bytes.get(..read).unwrap_or(&[])).ok_or(Errno::PROTO)?;
        Ok(Received::Record(record, fd))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends bytes with at most one descriptor over a socket; `EPIPE` instead of a signal. Allocates nothing.
pub fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds
        && !control.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(Errno::NOBUFS);
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}
