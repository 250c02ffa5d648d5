//! The journal, by its native protocol: a datagram for each line, of fields `NAME\n`, the value's length, the value.

use std::os::fd::OwnedFd;

use casemate_spec::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::Stream;
use super::lines::Line;

const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a journal that takes nothing is waited for, at each line.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: Option<OwnedFd>,
    /// What is the same in every entry.
    fields: Vec<u8>,
    entry: Vec<u8>,
    lost: u64,
}

impl Journal {
    /// Connects to it.
    pub fn open(fields: &[(String, String)]) -> Self {
        let mut same = Vec::new();
        for (name, value) in fields {
            field(&mut same, name, value.as_bytes());
        }
        let mut journal = Self { socket: None, fields: same, entry: Vec::new(), lost: 0 };
        if let Err(errno) = journal.reconnect() {
            crate::complain(
                "casemate-shim",
                &Error::os(format!("connect to {SOCKET}"), errno.raw_os_error()),
            );
        }
        journal
    }

    /// Sends a line. One that cannot be sent is counted, and the count sent when one can.
    pub fn send(&mut self, stream: Stream, line: &Line<'_>) {
        if self.lost > 0 {
            let note = format!("casemate-shim: {} lines are missing here", self.lost);
            self.compose(Stream::Stderr, note.as_bytes(), line, true);
            if self.put().is_err() {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        let text = line.text.strip_suffix(b"\n").unwrap_or(line.text);
        self.compose(stream, text, line, line.is_last());
        if self.put().is_err() {
            self.lost += 1;
        }
    }

    fn compose(&mut self, stream: Stream, text: &[u8], line: &Line<'_>, whole: bool) {
        self.entry.clear();
        self.entry.extend_from_slice(&self.fields);
        field(&mut self.entry, "MESSAGE", text);
        // syslog(3): LOG_INFO and LOG_ERR, as Docker has them.
        let priority = if stream == Stream::Stdout { b"6" } else { b"3" };
        field(&mut self.entry, "PRIORITY", priority);
        field(&mut self.entry, "SYSLOG_TIMESTAMP", line.at.bytes());
        if !whole {
            field(&mut self.entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
    }

    fn put(&mut self) -> Result<(), Errno> {
        let mut again = true;
        loop {
            let done = match &self.socket {
                Some(socket) => send(socket, &self.entry, SendFlags::NOSIGNAL | SendFlags::DONTWAIT),
                None => Err(Errno::NOTCONN),
            };
            match done {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) if !again => return Err(errno),
                Err(Errno::AGAIN) => {
                    if let Some(socket) = &self.socket {
                        poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&PATIENCE))?;
                    }
                }
                // It was started anew.
                Err(_gone) => self.reconnect()?,
            }
            again = false;
        }
    }

    fn reconnect(&mut self) -> Result<(), Errno> {
        self.socket = None;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(&u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}
