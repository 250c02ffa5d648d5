//! Packets of the channel to the daemon: JSON with descriptors beside it, and never a wait.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use casemate_spec::wire::{DESCRIPTORS, IN_MEMFD, INLINE, LONGEST};
use casemate_spec::{Error, Result};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// So often memory is sealed before that is given up.
const SEALINGS: usize = 4;

/// What came.
#[derive(Debug)]
pub enum Incoming {
    /// A message, and its descriptors.
    Message(Vec<u8>, Vec<OwnedFd>),
    /// Something that no peer of ours sends.
    Bad(Error),
    /// Nothing yet.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Takes one packet. What it promises is checked before it is read: its length, its seals, how many descriptors.
pub fn receive(socket: impl AsFd) -> Incoming {
    let mut bytes = vec![0_u8; INLINE];
    // One more for the memfd, one to notice that there are too many.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS + 2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let read = match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
        Ok(read) => read,
        Err(Errno::AGAIN | Errno::INTR) => return Incoming::Nothing,
        Err(_) => return Incoming::Closed,
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if read.bytes == 0 && descriptors.is_empty() {
        return Incoming::Closed;
    }
    if read.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        let why = "longer than a packet may be, or with too many descriptors";
        return Incoming::Bad(Error::new("message", why));
    }
    bytes.truncate(read.bytes);
    if bytes == [IN_MEMFD] {
        if descriptors.is_empty() {
            return Incoming::Bad(Error::new("message", "its memory is missing"));
        }
        match long(descriptors.remove(0)) {
            Ok(long) => bytes = long,
            Err(error) => return Incoming::Bad(error),
        }
    }
    if descriptors.len() > DESCRIPTORS {
        return Incoming::Bad(Error::new("message", "too many descriptors"));
    }
    Incoming::Message(bytes, descriptors)
}

/// Only memory has seals, so nothing that is read here can make us wait; and none that could shrink is read.
fn long(memfd: OwnedFd) -> Result<Vec<u8>> {
    let refuse = |why: &str| Error::new("message", why);
    let wanted = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    let sealed = rustix::fs::fcntl_get_seals(&memfd).is_ok_and(|seals| seals.contains(wanted));
    let size = rustix::fs::fstat(&memfd).ok().and_then(|stat| usize::try_from(stat.st_size).ok());
    match size {
        _ if !sealed => Err(refuse("not in sealed memory")),
        Some(size) if size <= LONGEST => {
            let mut bytes = vec![0; size];
            let read = File::from(memfd).read_exact_at(&mut bytes, 0);
            read.map_err(|error| Error::io("message", &error))?;
            Ok(bytes)
        }
        _ => Err(refuse("longer than 8 MiB")),
    }
}

/// A packet ready to be sent.
#[derive(Debug)]
pub struct Outgoing {
    packet: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Outgoing {
    /// Of a message; a long one is put into memory.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn new(message: Vec<u8>, mut descriptors: Vec<OwnedFd>) -> Result<Self> {
        if message.len() <= INLINE {
            return Ok(Self { packet: message, descriptors });
        }
        descriptors.insert(0, in_memory("answer", &message)?);
        Ok(Self { packet: vec![IN_MEMFD], descriptors })
    }

    /// Sends it; false when the other side does not read just now.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn send(&self, socket: impl AsFd) -> Result<bool, Errno> {
        let fds: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS + 1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(Errno::TOOBIG);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket, &[IoSlice::new(&self.packet)], &mut control, flags) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            other => other.map(|_sent| true),
        }
    }
}

/// Sealed memory with this content.
///
/// # Errors
/// The kernel's.
pub fn in_memory(name: &str, content: &[u8]) -> Result<OwnedFd> {
    patiently(|| sealed(name, content)).map_err(|errno| crate::tree::failed("memory", errno))
}

/// Tries again with other memory: the kernel does not seal a page that anybody holds, and it does so itself at times, for
/// instance while it moves pages (fcntl(2), `EBUSY`; it has waited for 150 ms then).
fn patiently<T>(make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut tries = (0..SEALINGS).map(|_| make());
    tries.find(|made| !matches!(made, Err(Errno::BUSY))).unwrap_or(Err(Errno::BUSY))
}

fn sealed(name: &str, content: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // A kernel before 6.3 does not know the word for what it gives anyhow: memory that may be executed.
    let with = |flags| rustix::fs::memfd_create(name, flags);
    let file = File::from(with(flags | MemfdFlags::EXEC).or_else(|_| with(flags))?);
    file.write_all_at(content, 0).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    #[test]
    fn long_messages_go_through_memory() {
        let (one, other) = pair();
        for length in [0, 1, INLINE, INLINE + 1, LONGEST] {
            let message = vec![b'x'; length.max(2)];
            assert!(Outgoing::new(message.clone(), Vec::new()).expect("made").send(&one).expect("sent"));
            let Incoming::Message(came, beside) = receive(&other) else { panic!("no message of {length}") };
            assert!(came == message && beside.is_empty(), "{length}");
        }
        assert!(matches!(receive(&other), Incoming::Nothing));
        drop(one);
        assert!(matches!(receive(&other), Incoming::Closed));
    }

    #[test]
    fn what_could_change_or_block_is_not_read() {
        let (one, other) = pair();
        let unsealed = rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).expect("memory");
        let (fifo, _end) = rustix::pipe::pipe().expect("a pipe");
        let large = in_memory("x", &vec![0; LONGEST + 1]).expect("memory");
        for bad in [unsealed, fifo, large] {
            let packet = Outgoing { packet: vec![IN_MEMFD], descriptors: vec![bad] };
            assert!(packet.send(&one).expect("sent"));
            assert!(matches!(receive(&other), Incoming::Bad(_)));
        }
        let packet = Outgoing { packet: vec![IN_MEMFD], descriptors: Vec::new() };
        assert!(packet.send(&one).expect("sent"));
        assert!(matches!(receive(&other), Incoming::Bad(_)));
    }

    #[test]
    fn pages_that_are_held_for_a_moment_are_no_failure() {
        let tries = std::cell::Cell::new(0);
        let held = |times| {
            tries.set(0);
            patiently(|| {
                tries.set(tries.get() + 1);
                if tries.get() > times { Ok(()) } else { Err(Errno::BUSY) }
            })
        };
        assert_eq!((held(2), tries.get()), (Ok(()), 3));
        assert_eq!((held(SEALINGS), tries.get()), (Err(Errno::BUSY), SEALINGS));
        assert_eq!(patiently(|| Err::<(), _>(Errno::NOMEM)), Err(Errno::NOMEM));
    }

    #[test]
    fn a_peer_that_does_not_read_makes_nobody_wait() {
        let (one, _other) = pair();
        let packet = Outgoing::new(vec![b'x'; INLINE], Vec::new()).expect("made");
        let mut sent = 0;
        while packet.send(&one).expect("not gone") {
            sent += 1;
            assert!(sent < 10_000);
        }
        assert!(sent > 0);
    }
}
