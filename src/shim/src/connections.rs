//! Connections: each gets all output from its beginning on; a slow one makes everybody wait while the process lives.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use casemate_spec::wire::Frame;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

/// More than these are closed at once.
const MOST: usize = 64;
/// How long one that takes nothing is waited for once the process has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    /// How many packets of the queue it has.
    has: usize,
    /// When it took something last.
    at: Instant,
    /// It has written to the standard input.
    writes: bool,
    /// Its next packet waits for room in the standard input.
    held: bool,
    /// It takes nothing any more, but what it has sent before counts.
    deaf: bool,
    gone: bool,
}

/// What came from a connection.
#[derive(Debug)]
pub enum Came {
    /// Nothing now.
    Nothing,
    /// A packet of so many bytes.
    Packet(usize),
    /// Its end; whether it had written.
    End(bool),
}

/// All connections, and the packets that some of them do not have yet.
#[derive(Debug, Default)]
pub struct Connections {
    all: Vec<Connection>,
    queue: VecDeque<Vec<u8>>,
}

impl Connections {
    /// Begins one. `last` is a packet that it needs though it was sent before: how the process ended.
    pub fn admit(&mut self, socket: OwnedFd, greeting: &[u8], last: Option<&[u8]>) {
        if self.all.len() >= MOST {
            return;
        }
        let (has, at) = (self.queue.len(), Instant::now());
        let (writes, held, deaf, gone) = (false, false, false, false);
        let mut connection = Connection { socket, has, at, writes, held, deaf, gone };
        // One that has ended already is heard all the same: it may have come to say one thing.
        for packet in std::iter::once(greeting).chain(last) {
            connection.put(packet);
        }
        self.all.push(connection);
    }

    /// How many packets wait for somebody.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Sends a packet to all; kept for those that have no room.
    pub fn send(&mut self, packet: &[u8]) {
        let queued = self.queue.len();
        let mut wanted = false;
        for connection in self.all.iter_mut().filter(|connection| !connection.deaf) {
            if connection.has == queued && connection.put(packet) {
                connection.has += 1;
            } else {
                wanted |= !connection.deaf;
            }
        }
        if wanted {
            self.queue.push_back(packet.to_vec());
        } else {
            self.settle();
        }
    }

    /// What to watch: each by its index, for packets from it where `true`, and for room where it lacks some.
    pub fn watched(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, bool, bool)> {
        let queued = self.queue.len();
        let all = self.all.iter().enumerate();
        all.map(move |(index, one)| (index, one.socket.as_fd(), !one.held, !one.deaf && one.has < queued))
            .filter(|(_, _, reads, lacks)| *reads || *lacks)
    }

    /// Sends one what it lacks.
    pub fn catch_up(&mut self, index: usize) {
        let Some(connection) = self.all.get_mut(index) else { return };
        while let Some(packet) = self.queue.get(connection.has) {
            if connection.deaf || !connection.put(packet) {
                break;
            }
            connection.has += 1;
        }
        self.settle();
    }

    /// Takes a packet from one into `packet`. While the standard input is `full`, one that is meant for it is left where
    /// it is, so that its sender waits and nobody else does.
    pub fn receive(&mut self, index: usize, packet: &mut [u8], full: bool) -> Came {
        let Some(connection) = self.all.get_mut(index).filter(|one| !one.gone) else { return Came::Nothing };
        let stdin = Frame::Stdin(&[]).kind();
        if full {
            let mut kind = [0_u8; 1];
            if let Ok((1.., _)) = recv(&connection.socket, &mut kind, RecvFlags::PEEK | RecvFlags::DONTWAIT)
                && kind == [stdin]
            {
                connection.held = true;
                return Came::Nothing;
            }
        }
        match recv(&connection.socket, &mut *packet, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            // A peer that closed without having read everything resets, once; what it had sent is still there.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNRESET) => Came::Nothing,
            // A packet longer than any of ours ends the connection, as its end does.
            Ok((read, length)) if read > 0 && length <= packet.len() => {
                connection.writes |= packet.first() == Some(&stdin);
                Came::Packet(read)
            }
            _ => self.end(index),
        }
    }

    /// Closes one.
    pub fn end(&mut self, index: usize) -> Came {
        let Some(connection) = self.all.get_mut(index) else { return Came::Nothing };
        (connection.gone, connection.deaf) = (true, true);
        Came::End(connection.writes)
    }

    /// The standard input has room again.
    pub fn release(&mut self) {
        self.all.iter_mut().for_each(|connection| connection.held = false);
    }

    /// Forgets those that are closed. Indexes are other ones afterwards.
    pub fn sweep(&mut self) {
        if self.all.iter().any(|connection| connection.gone) {
            self.all.retain(|connection| !connection.gone);
            self.settle();
        }
    }

    /// After the last packet: closes those that have it and those that have not moved for too long since the end.
    /// Gives when to look again, or none when nobody is left.
    pub fn part(&mut self, ended: Instant) -> Option<Instant> {
        let (queued, now) = (self.queue.len(), Instant::now());
        let mut next = None;
        for connection in &mut self.all {
            let until = connection.at.max(ended) + PATIENCE;
            if connection.deaf || connection.has == queued || until <= now {
                connection.hang_up();
            } else {
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
            }
        }
        self.sweep();
        next
    }

    /// Forgets packets that nobody lacks.
    fn settle(&mut self) {
        let queued = self.queue.len();
        if self.all.iter().all(|one| one.deaf || one.has >= queued) {
            self.queue.clear();
            self.all.iter_mut().for_each(|one| one.has = 0);
        }
    }
}

impl Connection {
    /// Sends a packet if there is room.
    fn put(&mut self, packet: &[u8]) -> bool {
        match put(&self.socket, packet) {
            Put::Taken => self.at = Instant::now(),
            Put::Gone => self.deaf = true,
            Put::NoRoom => return false,
        }
        !self.deaf
    }

    /// Closes it so that its peer can read what was sent: packets of the peer's that nobody took would make the kernel
    /// report a reset instead.
    fn hang_up(&mut self) {
        (self.gone, self.deaf) = (true, true);
        if shutdown(&self.socket, Shutdown::Read).is_ok() {
            let mut byte = [0_u8; 1];
            while matches!(recv(&self.socket, &mut byte, RecvFlags::DONTWAIT), Ok((1.., _))) {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Put {
    Taken,
    NoRoom,
    Gone,
}

fn put(socket: &OwnedFd, packet: &[u8]) -> Put {
    loop {
        return match send(socket, packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => Put::Taken,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Put::NoRoom,
            Err(_gone) => Put::Gone,
        };
    }
}
