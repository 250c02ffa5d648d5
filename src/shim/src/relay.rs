//! The loop: output to the log and to connections, input from connections, until the process has ended and its output
//! was drained.
//!
//! One packet of output is on its way at a time: as long as somebody lacks it nothing more is read, and the process
//! waits. Once the process has ended, what is left in its pipes goes to the log at once, and is kept for slow connections.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use casemate_spec::wire::{Exited, Frame, PACKET};
use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use crate::birth::Newborn;
use crate::connections::{Came, Connections};
use crate::exit::Report;
use crate::input::Input;
use crate::log::{Log, Stream};
use crate::oom::Watch;
use crate::signals::Signals;
use crate::terminal::resize;

/// How long processes that have inherited the streams are waited for after the process's own end, as dockerd does.
const INHERITED: Duration = Duration::from_secs(2);
/// How much is read after that: the most that the pipes may have held at the process's end.
const DRAINED: usize = 4 << 20;
/// How many packets may wait for slow connections after the process's end.
const KEPT: usize = 256;

/// What there is to do.
#[derive(Debug, Clone, Copy)]
enum Due {
    Signals,
    Listener,
    Output(Stream),
    Input,
    Connection { index: usize, reads: bool, lacks: bool },
}

/// The process's end.
#[derive(Debug)]
struct Ended {
    exited: Exited,
    at: Instant,
    drained: usize,
    /// The last packet, once it was sent.
    last: Option<Vec<u8>>,
}

/// Everything that is relayed.
#[derive(Debug)]
pub struct Relay {
    signals: Signals,
    pid: Pid,
    output: Option<OwnedFd>,
    error: Option<OwnedFd>,
    near: Option<OwnedFd>,
    input: Input,
    log: Log,
    listener: OwnedFd,
    connections: Connections,
    report: Report,
    oom: Watch,
    /// A packet of output or from a connection while it is handled.
    packet: Vec<u8>,
    ended: Option<Ended>,
}

/// What a relay is made of.
#[derive(Debug)]
pub struct Parts {
    /// Collected since before the birth.
    pub signals: Signals,
    /// The process.
    pub newborn: Newborn,
    /// A writer's end is the input's.
    pub closes: bool,
    /// Where lines go.
    pub log: Log,
    /// Where the end is reported.
    pub report: Report,
    /// What the kernel killed.
    pub oom: Watch,
    /// Where connections come from.
    pub listener: OwnedFd,
    /// The first of them.
    pub first: OwnedFd,
}

impl Relay {
    /// Takes what was said during the birth, and begins the first connection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(parts: Parts) -> Result<Self> {
        let Parts { signals, newborn, closes, log, report, oom, listener, first } = parts;
        let Newborn { pid, streams, said } = newborn;
        // Somebody who connects and is gone again must not stop everything.
        ioctl_fionbio(&listener, true)
            .map_err(|errno| Error::os("wait for connections", errno.raw_os_error()))?;
        let mut relay = Self {
            signals,
            pid,
            output: streams.output,
            error: streams.error,
            near: streams.near,
            input: Input::new(streams.input, closes),
            log,
            listener,
            connections: Connections::default(),
            report,
            oom,
            packet: vec![0; PACKET],
            ended: None,
        };
        relay.admit(first);
        for bytes in said.chunks(PACKET - 1) {
            relay.log.write(Stream::Stderr, bytes);
            relay.connections.send(&Frame::Stderr(bytes).encode());
        }
        Ok(relay)
    }

    /// Relays until nobody needs it any more.
    ///
    /// # Errors
    /// The kernel's, or the report cannot be written.
    pub fn run(mut self) -> Result<()> {
        // It may have ended, and its signal been taken, during the birth.
        self.reap();
        let mut written = Ok(());
        loop {
            if self.is_drained() {
                written = self.finish();
            }
            let parted = self.ended.as_ref().filter(|ended| ended.last.is_some()).map(|ended| ended.at);
            let until = match (parted, &self.ended) {
                (Some(at), _) => match self.connections.part(at) {
                    None => return written,
                    until => until,
                },
                (None, ended) => ended.as_ref().map(|ended| ended.at + INHERITED),
            };
            for due in self.wait(until)? {
                self.attend(due);
            }
            self.connections.sweep();
        }
    }

    /// Waits for something to do.
    fn wait(&self, until: Option<Instant>) -> Result<Vec<Due>> {
        let mut dues = vec![Due::Signals];
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        for (stream, fd) in [(Stream::Stdout, &self.output), (Stream::Stderr, &self.error)] {
            if let Some(fd) = fd.as_ref().filter(|_| self.has_room()) {
                dues.push(Due::Output(stream));
                watched.push(PollFd::new(fd, PollFlags::IN));
            }
        }
        if let Some(fd) = self.input.blocked() {
            dues.push(Due::Input);
            watched.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
        }
        for (index, fd, reads, lacks) in self.connections.watched() {
            dues.push(Due::Connection { index, reads, lacks });
            let (input, output) = (PollFlags::IN, PollFlags::OUT);
            let flags = if reads { input } else { PollFlags::empty() };
            watched.push(PollFd::from_borrowed_fd(fd, if lacks { flags | output } else { flags }));
        }
        // Last: those that have ended make room for others.
        dues.push(Due::Listener);
        watched.push(PollFd::new(&self.listener, PollFlags::IN));
        match poll(&mut watched, until.map(from_now).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("wait for the container", errno.raw_os_error())),
        }
        let ready = dues.into_iter().zip(&watched).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(due, _)| due).collect())
    }

    /// Whether a packet more may be read: while the process lives, if everybody has the one before.
    fn has_room(&self) -> bool {
        self.connections.waiting() < if self.ended.is_some() { KEPT } else { 1 }
    }

    fn attend(&mut self, due: Due) {
        match due {
            Due::Signals => {
                while self.signals.next().is_some() {}
                self.reap();
            }
            Due::Listener => {
                self.connections.sweep();
                // One at a time: the ends of those before it are seen in between.
                self.accept();
            }
            Due::Output(stream) => self.carry(stream),
            Due::Input => self.input.flush(),
            Due::Connection { index, reads, lacks } => {
                if lacks {
                    self.connections.catch_up(index);
                }
                if reads {
                    self.receive(index);
                }
            }
        }
        if !self.input.is_full() {
            self.connections.release();
        }
    }

    /// Carries what one read gives from a stream to the log and to everybody.
    fn carry(&mut self, stream: Stream) {
        let from = match stream {
            Stream::Stdout => &mut self.output,
            Stream::Stderr => &mut self.error,
        };
        // Another stream's packet may have been read since.
        let Some(fd) = from else { return };
        let kind = match stream {
            Stream::Stdout => Frame::Stdout(&[]).kind(),
            Stream::Stderr => Frame::Stderr(&[]).kind(),
        };
        let Some((first, room)) = self.packet.split_first_mut() else { return };
        match rustix::io::read(&*fd, room) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody can write to it any more; a terminal says it with EIO.
            Ok(0) | Err(_) => *from = None,
            Ok(read) => {
                *first = kind;
                let packet = self.packet.get(..=read).unwrap_or_default();
                self.log.write(stream, packet.get(1..).unwrap_or_default());
                self.connections.send(packet);
                if let Some(ended) = &mut self.ended {
                    ended.drained += read;
                }
            }
        }
    }

    fn accept(&mut self) -> bool {
        let socket = accept_with(&self.listener, SocketFlags::CLOEXEC);
        let came = socket.is_ok();
        socket.into_iter().for_each(|socket| self.admit(socket));
        came
    }

    fn admit(&mut self, socket: OwnedFd) {
        let running = Frame::Running(self.pid.as_raw_nonzero().get()).encode();
        let last = self.ended.as_ref().and_then(|ended| ended.last.as_deref());
        self.connections.admit(socket, &running, last);
    }

    fn receive(&mut self, index: usize) {
        let read = match self.connections.receive(index, &mut self.packet, self.input.is_full()) {
            Came::Nothing => return,
            Came::End(wrote) => {
                if wrote {
                    self.input.writer_ends();
                }
                return;
            }
            Came::Packet(read) => read,
        };
        match Frame::decode(self.packet.get(..read).unwrap_or_default()) {
            Ok(Frame::Stdin(bytes)) => self.input.offer(bytes),
            Ok(Frame::CloseStdin) => self.input.writer_ends(),
            Ok(Frame::Resize(rows, columns)) => {
                if let (Some(terminal), Some(_)) = (&self.output, &self.near) {
                    // A terminal that is gone has no size.
                    resize(terminal.as_fd(), rows, columns).unwrap_or_default();
                }
            }
            // Whoever says what only a shim says is no peer of ours.
            Ok(_) | Err(_) => {
                self.connections.end(index);
            }
        }
    }

    /// Reaps the process, and what it has left to us.
    fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => self.end(code(status), false),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return,
                Err(_no_child) => {
                    // Somebody else has reaped it: it is gone, and how it went is not known.
                    if self.ended.is_none() {
                        self.end(137, true);
                    }
                    return;
                }
            }
        }
    }

    fn end(&mut self, code: i32, lost: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let exited = Exited { code, at, out_of_memory: self.oom.has_killed(), lost };
        self.ended = Some(Ended { exited, at: Instant::now(), drained: 0, last: None });
        self.input.close();
        // Whoever else has the terminal open keeps it from hanging up.
        self.near = None;
    }

    /// Whether the process has ended and nothing more is to be expected of its streams. Others may have inherited them:
    /// what those write is taken for a while, and what was there before is taken in any case.
    fn is_drained(&self) -> bool {
        let Some(ended) = self.ended.as_ref().filter(|ended| ended.last.is_none()) else { return false };
        if self.output.is_none() && self.error.is_none() {
            return true;
        }
        let streams = [&self.output, &self.error];
        let is_quiet = || {
            let mut watched: Vec<_> =
                streams.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            matches!(poll(&mut watched, Some(&Timespec::default())), Ok(0))
        };
        ended.at + INHERITED <= Instant::now() && (ended.drained >= DRAINED || is_quiet())
    }

    /// Completes the log, writes the report, tells everybody.
    fn finish(&mut self) -> Result<()> {
        (self.output, self.error) = (None, None);
        self.log.finish();
        let Some(ended) = &mut self.ended else { return Ok(()) };
        let written = self.report.write(&ended.exited);
        let text = serde_json::to_vec(&ended.exited);
        let packet = Frame::Exited(text.as_deref().unwrap_or_default()).encode();
        self.connections.send(&packet);
        ended.last = Some(packet);
        // Those who have knocked already learn it too.
        while self.accept() {}
        written
    }
}

/// As a shell says it.
fn code(status: WaitStatus) -> i32 {
    status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255)
}

fn from_now(until: Instant) -> Timespec {
    let left = until.saturating_duration_since(Instant::now());
    // Not a moment too early: what is due then would not be due yet.
    let left = left + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}
