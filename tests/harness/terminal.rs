//! Pseudo-terminals: the console socket that receives a container's, and one to run a program on.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// The socket given to `--console-socket`: a runtime sends the master side of the container's terminal to it.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens at `path`, which must be shorter than 108 bytes.
    ///
    /// # Panics
    /// When that fails.
    pub fn listen(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("bind the console socket");
        listener.set_nonblocking(true).expect("make the console socket non-blocking");
        Self { listener, path: path.to_owned() }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal that was sent; waits up to twenty seconds.
    ///
    /// # Panics
    /// When none comes, or the message holds not exactly one descriptor.
    pub fn receive(&self) -> Terminal {
        readable(&self.listener, Duration::from_secs(10))
            .then_some(())
            .expect("a connection to the console socket");
        let (stream, _) = self.listener.accept().expect("accept the runtime's connection");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("receive the terminal");
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        assert_eq!(descriptors.len(), 1, "the message must hold one descriptor");
        Terminal { master: descriptors.remove(0).into(), seen: String::new() }
    }
}

/// The master side of a pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    seen: String,
}

impl Terminal {
    /// A new one, and its slave side to be a program's standard input, output and error.
    ///
    /// # Panics
    /// When the host has none to give.
    pub fn open() -> (Self, [File; 3]) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("open a terminal");
        grantpt(&master).expect("grant the terminal");
        unlockpt(&master).expect("unlock the terminal");
        let name = ptsname(&master, Vec::new()).expect("name the terminal");
        let name = name.to_str().expect("a printable terminal name").to_owned();
        let slave =
            File::options().read(true).write(true).open(name).expect("open the terminal's slave side");
        let copy = || slave.try_clone().expect("copy a descriptor");
        let files = [copy(), copy(), copy()];
        (Self { master: master.into(), seen: String::new() }, files)
    }

    /// Types on it.
    ///
    /// # Panics
    /// When the other side is gone.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("type on the terminal");
    }

    /// Reads until `word` has appeared and gives all that was read since the last call.
    ///
    /// # Panics
    /// When it does not appear within twenty seconds, or the terminal hangs up before.
    #[track_caller]
    pub fn expect(&mut self, word: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(word) {
            if self.pull(until) {
                continue;
            }
            let why = if Instant::now() < until { "it hung up" } else { "the time is over" };
            panic!("no {word:?} on the terminal, but {:?}: {why}", self.seen);
        }
        std::mem::take(&mut self.seen)
    }

    /// Reads until `word` appears, and does this again and again until then: a client that has only just begun may not
    /// listen yet to what it is told.
    ///
    /// # Panics
    /// When it does not appear within twenty seconds.
    #[track_caller]
    pub fn expect_doing(&mut self, word: &str, mut again: impl FnMut()) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(word) {
            assert!(Instant::now() < until, "no {word:?} on the terminal, but {:?}", self.seen);
            again();
            self.pull(until.min(Instant::now() + Duration::from_millis(200)));
        }
        std::mem::take(&mut self.seen)
    }

    /// Reads until the other side hangs up.
    pub fn rest(&mut self) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while self.pull(until) {}
        std::mem::take(&mut self.seen)
    }

    /// Columns and rows.
    ///
    /// # Panics
    /// When it is no terminal.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.master).expect("ask for the terminal's size");
        (size.ws_col, size.ws_row)
    }

    /// Sets columns and rows.
    ///
    /// # Panics
    /// When it is no terminal.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("set the terminal's size");
    }

    /// Reads once; false at the end or when the time is over. EIO is how a terminal says that nobody has it open.
    fn pull(&mut self, until: Instant) -> bool {
        if !readable(&self.master, until.saturating_duration_since(Instant::now())) {
            return false;
        }
        let mut bytes = [0; 4096];
        let Ok(count) = self.master.read(&mut bytes) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }
}

fn readable(fd: &impl AsFd, within: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let limit =
        rustix::time::Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
    poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
}
