//! netlink(7): messages written and exchanged, nothing of what they mean.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};

pub use casemate_spec::netlink::{Message, attributes, messages, word};
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NLM_F_REQUEST`
pub const REQUEST: u16 = 1;
/// `NLM_F_ACK`
pub const ACK: u16 = 4;
/// `NLM_F_DUMP`
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: an error where it is there already.
pub const EXCL: u16 = 0x200;
/// `NLM_F_REPLACE`
pub const REPLACE: u16 = 0x100;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
/// `MAX_ERRNO`: whatever is beyond is no error's number.
const LAST: i32 = 4095;
const DONE: u16 = 3;
/// An attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// What one read takes; the kernel's dumps come in pieces of at most 32 KiB.
const PIECE: usize = 64 << 10;
/// A transaction of thousands of ports goes out in one piece.
const LARGEST: usize = 16 << 20;

/// Bytes of messages and attributes; lengths and padding are seen to here.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A message: `nlmsghdr` and what `body` writes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.raw(&[0; 4]);
        self.raw(&kind.to_ne_bytes());
        self.raw(&(REQUEST | flags).to_ne_bytes());
        self.raw(&sequence.to_ne_bytes());
        self.raw(&[0; 4]);
        body(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.patch(start, &length.to_ne_bytes());
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.within(kind, |writer| writer.raw(value));
    }

    /// An attribute of text with its NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.within(kind, |writer| {
            writer.raw(value.as_bytes());
            writer.raw(&[0]);
        });
    }

    /// An attribute of 32 bits as the machine has them.
    pub fn native(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// An attribute of 32 bits as networks have them.
    pub fn network(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute of attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.within(kind | NESTED, body);
    }

    fn within(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.raw(&[0; 2]);
        self.raw(&kind.to_ne_bytes());
        body(self);
        // Nothing of ours is that long: one element is one message.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.patch(start, &length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn patch(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
}

/// Root of the host gets what it asks for; root of a user namespace no more than the host gives to everybody.
fn as_much(forced: Result<(), Errno>, usual: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    if forced == Err(Errno::PERM) { usual() } else { forced }
}

/// A socket; it belongs to the network namespace in which it was opened. It is closed by the end of this program, which comes
/// soon: with the last of a socket to nftables the kernel waits until nobody looks at what was removed any more, some 10 ms,
/// and everybody knows by then that we are done.
#[derive(Debug)]
pub struct Socket(ManuallyDrop<OwnedFd>);

impl Socket {
    /// To the kernel's half of a protocol; none is that of links, addresses and routes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(protocol: Option<Protocol>) -> Result<Self> {
        let open = || {
            let family = AddressFamily::NETLINK;
            let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
            rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
            as_much(sockopt::set_socket_send_buffer_size_force(&socket, LARGEST), || {
                sockopt::set_socket_send_buffer_size(&socket, LARGEST)
            })?;
            as_much(sockopt::set_socket_recv_buffer_size_force(&socket, LARGEST), || {
                sockopt::set_socket_recv_buffer_size(&socket, LARGEST)
            })?;
            Ok(Self(ManuallyDrop::new(socket)))
        };
        open().map_err(|errno: Errno| Error::os("netlink", errno.raw_os_error()))
    }

    /// One that somebody else has opened, with room for so many bytes.
    ///
    /// # Errors
    /// It is none, or the kernel's.
    pub fn given(socket: impl AsFd, room: usize) -> Result<Self> {
        let take = || {
            as_much(sockopt::set_socket_recv_buffer_size_force(&socket, room), || {
                sockopt::set_socket_recv_buffer_size(&socket, room)
            })?;
            rustix::io::fcntl_dupfd_cloexec(&socket, 0).map(ManuallyDrop::new).map(Self)
        };
        take().map_err(|errno: Errno| Error::os("netlink", errno.raw_os_error()))
    }

    /// Sends messages.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        rustix::net::send(&*self.0, bytes, SendFlags::empty()).map(drop)
    }

    /// What the kernel has answered by now. It answers before the sending returns, but for long dumps.
    ///
    /// # Errors
    /// The kernel's: `EAGAIN` when there is nothing.
    pub fn receive(&self, wait: bool) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; PIECE];
        let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        let (read, _) = rustix::net::recv(&*self.0, bytes.as_mut_slice(), flags)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Sends one message and waits for how it went.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask(&self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) -> Result<(), Errno> {
        self.exchange(kind, ACK | flags, body, |_| {})
    }

    /// Asks for one thing, and hears it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hear(
        &self,
        kind: u16,
        body: impl FnOnce(&mut Writer),
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), Errno> {
        self.exchange(kind, ACK, body, each)
    }

    /// Asks for a list, and hears each of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn list(
        &self,
        kind: u16,
        body: impl FnOnce(&mut Writer),
        each: impl FnMut(&Message<'_>),
    ) -> Result<(), Errno> {
        self.exchange(kind, DUMP, body, each)
    }

    fn exchange(
        &self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer),
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Errno> {
        let mut writer = Writer::default();
        writer.message(kind, flags, 1, body);
        self.send(&writer.bytes())?;
        loop {
            for message in messages(&self.receive(true)?) {
                match message.kind {
                    ERROR => return failure(&message).map_or(Ok(()), Err),
                    DONE => return Ok(()),
                    _ => each(&message),
                }
            }
        }
    }
}

/// What an answer of errors says; none is success.
pub fn failure(message: &Message<'_>) -> Option<Errno> {
    if message.kind != ERROR {
        return None;
    }
    let number = word(message.body, 0).map_or(0, |word| word.wrapping_neg());
    let known = |number: &i32| (0..=LAST).contains(number);
    let number = i32::try_from(number).ok().filter(known).unwrap_or(Errno::IO.raw_os_error());
    (number != 0).then(|| Errno::from_raw_os_error(number))
}

/// The sequence of the message that an error is about.
pub fn about(message: &Message<'_>) -> u32 {
    word(message.body, 4 + 8).unwrap_or(message.sequence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.message(16, ACK, 7, |writer| {
            writer.text(3, "eth0");
            writer.nest(18, |writer| writer.native(1, 9));
        });
        writer.message(17, 0, 8, |writer| writer.raw(&[1, 2, 3, 4]));
        let bytes = writer.bytes();
        let read: Vec<Message<'_>> = messages(&bytes).collect();
        assert_eq!(
            read.iter().map(|message| (message.kind, message.sequence)).collect::<Vec<_>>(),
            [(16, 7), (17, 8)]
        );
        let found: Vec<_> = attributes(read[0].body).collect();
        assert_eq!(found[0], (3, &b"eth0\0"[..]));
        assert_eq!(attributes(found[1].1).collect::<Vec<_>>(), [(1, &9_u32.to_ne_bytes()[..])]);
        assert_eq!(read[1].body, [1, 2, 3, 4]);
    }

    #[test]
    fn errors_are_told_from_success() {
        let answer = |error: i32| {
            let mut body = error.to_ne_bytes().to_vec();
            body.extend([0; 8]);
            body.extend(5_u32.to_ne_bytes());
            body
        };
        let body = answer(-2);
        let message = Message { kind: ERROR, sequence: 1, body: &body };
        assert_eq!((failure(&message), about(&message)), (Some(Errno::NOENT), 5));
        assert_eq!(failure(&Message { kind: ERROR, sequence: 1, body: &answer(0) }), None);
        for none in [7, -4096, i32::MIN] {
            let message = Message { kind: ERROR, sequence: 1, body: &answer(none) };
            assert_eq!(failure(&message), Some(Errno::IO), "{none}");
        }
    }

    proptest! {
        /// Whatever comes, nothing is read that is not there.
        #[test]
        fn any_answer_is_success_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            for message in messages(&bytes) {
                failure(&message);
                about(&message);
            }
        }
    }
}
