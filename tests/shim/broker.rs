//! The broker's part: starts a shim with an order and descriptors, and speaks with it as the daemon does.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use casemate_spec::wire::{
    DAEMON, Exited, Frame, LogOrder, Order, Outcome, PACKET, SHIM, STORE_IDS, Streams,
};
use casemate_tests::{Bundle, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, bind, connect, listen, recv, send, sendmsg, socket_with, socketpair,
};

/// Whom a shim becomes.
pub const IDENTITY: (u32, u32) = (STORE_IDS + SHIM, STORE_IDS + DAEMON);
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Streams without a terminal, an open input or a log.
pub fn plain() -> Streams {
    Streams { tty: false, size: None, stdin: false, stdin_once: false, log: LogOrder::None }
}

/// A file log that never rotates.
pub fn json_file() -> LogOrder {
    LogOrder::JsonFile { max_size: 0, max_files: 1 }
}

/// The program under test: `$CASEMATE_SHIM`, else the workspace's release build.
pub fn program() -> PathBuf {
    let built = || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        workspace.join(format!("target/{}-unknown-linux-gnu/release/casemate-shim", std::env::consts::ARCH))
    };
    let path = std::env::var_os("CASEMATE_SHIM").map_or_else(built, PathBuf::from);
    assert!(path.is_file(), "{} is missing: cargo build --release -p casemate-shim", path.display());
    path
}

/// The command line that runs a bundle's container.
pub fn runtime(bundle: &Bundle) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let state = path(&bundle.state_dir());
    let words = ["--root", &state, "--policy", "oci", "run", "--detach", "--bundle"];
    let mut line = vec![path(bundle.runtime().path())];
    line.extend(words.map(str::to_owned));
    line.extend([path(&bundle.bundle_dir()), bundle.id().to_owned()]);
    line
}

/// A shell script in the place of runtime and container, where neither is what is tested. Its arguments are then the
/// script, `--pid-file`, a path, an id.
pub fn stand_in(script: &str) -> Vec<String> {
    let line =
        ["/bin/sh", "-c", r#"exec 5<&0; /bin/sh -c "$1" <&5 5<&- & echo $! >"$3""#, "stand-in", script, "id"];
    line.map(str::to_owned).to_vec()
}

/// A shim.
#[derive(Debug)]
pub struct Shim {
    child: Child,
    control: Option<OwnedFd>,
    place: PathBuf,
}

impl Shim {
    /// Starts one, and gives the first connection.
    pub fn start(bundle: &Bundle, runtime: Vec<String>, streams: Streams) -> (Self, Connection) {
        Self::start_by(Command::new(program()), bundle, runtime, streams)
    }

    /// Starts one by a command that becomes it.
    pub fn start_by(
        command: Command,
        bundle: &Bundle,
        runtime: Vec<String>,
        streams: Streams,
    ) -> (Self, Connection) {
        let spare = Spare::start_by(command, bundle);
        spare.order(bundle, runtime, streams)
    }
}

/// A shim that waits for its order.
#[derive(Debug)]
pub struct Spare {
    child: Child,
    control: OwnedFd,
}

impl Spare {
    /// Starts one that has our runtime stand by.
    pub fn start(bundle: &Bundle) -> Self {
        let mut command = Command::new(program());
        command.arg(bundle.runtime().path());
        Self::start_by(command, bundle)
    }

    fn start_by(mut command: Command, bundle: &Bundle) -> Self {
        let (control, theirs) = pair();
        let errors = std::fs::File::options().append(true).create(true).open(bundle.dir().join("errors"));
        let child = command
            .stdin(theirs)
            .stderr(errors.unwrap())
            // By this the bundle finds whatever is left of it.
            .env("CASE", bundle.id())
            .spawn()
            .unwrap();
        Self { child, control }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Goes away without an order. Gives its exit status.
    pub fn dismiss(self) -> i32 {
        let Self { mut child, control } = self;
        drop(control);
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Tells it what to do, and gives the first connection.
    pub fn order(self, bundle: &Bundle, runtime: Vec<String>, streams: Streams) -> (Shim, Connection) {
        let Self { child, control } = self;
        let place = bundle.dir().join("shim");
        let log = log_dir(bundle);
        for dir in [&place, &log] {
            if !dir.exists() {
                std::fs::DirBuilder::new().mode(0o750).create(dir).unwrap();
                chown(dir, Some(IDENTITY.0), Some(IDENTITY.1)).unwrap();
            }
        }
        let path = place.join("shim.sock");
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        let listener = seqpacket();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 128).unwrap();
        let (ours, first) = pair();
        let dirs = [&place, &log].map(|dir| OwnedFd::from(std::fs::File::open(dir).unwrap()));
        let order = Order { runtime, streams, identity: IDENTITY };
        let mut rights = vec![dirs[0].as_fd(), listener.as_fd(), first.as_fd()];
        if matches!(order.streams.log, LogOrder::JsonFile { .. }) {
            rights.push(dirs[1].as_fd());
        }
        tell(control.as_fd(), &serde_json::to_vec(&order).unwrap(), &rights);
        (Shim { child, control: Some(control), place }, Connection(ours))
    }
}

impl Shim {
    /// Starts one that succeeds, and gives the process's id.
    pub fn started(bundle: &Bundle, runtime: Vec<String>, streams: Streams) -> (Self, Connection, i32) {
        let (mut shim, connection) = Self::start(bundle, runtime, streams);
        match shim.outcome() {
            Outcome::Started { pid } => {
                assert_eq!(connection.take(), Taken::Running(pid));
                (shim, connection, pid)
            }
            Outcome::Failed { message, code } => panic!("{code}: {message}"),
        }
    }

    /// Its answer.
    pub fn outcome(&mut self) -> Outcome {
        let control = self.control.take().unwrap();
        let mut bytes = vec![0; PACKET];
        readable(control.as_fd(), PATIENCE);
        let (read, _) = recv(&control, bytes.as_mut_slice(), RecvFlags::empty()).unwrap();
        serde_json::from_slice(&bytes[..read]).expect("an outcome")
    }

    /// Goes away without having heard an answer, as a broker that is killed.
    pub fn leave(&mut self) {
        self.control = None;
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// One more connection.
    pub fn connect(&self) -> Connection {
        let socket = seqpacket();
        connect(&socket, &SocketAddrUnix::new(self.place.join("shim.sock")).unwrap()).unwrap();
        Connection(socket)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(process(self.pid()), signal).unwrap();
    }

    /// What the kernel says of it in a file of `/proc`.
    pub fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap()
    }

    /// `exit.json`, if it is there.
    pub fn report(&self) -> Option<Exited> {
        let text = std::fs::read(self.place.join("exit.json")).ok()?;
        Some(serde_json::from_slice(&text).expect("a whole document"))
    }

    /// Waits for its end and gives its exit status.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the shim does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let errors = std::fs::read_to_string(self.place.with_file_name("errors"));
            eprintln!("the shim's words: {}", errors.unwrap_or_default());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap_or_default();
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

/// A packet that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Exited(Exited),
    Running(i32),
    /// The shim has closed the connection.
    End,
}

/// Everything that came until the end.
#[derive(Debug)]
pub struct Rest {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Exited,
}

/// A connection to a shim.
#[derive(Debug)]
pub struct Connection(pub OwnedFd);

impl Connection {
    /// Sends a packet, waiting for room.
    pub fn send(&self, frame: &Frame<'_>) {
        send(&self.0, &frame.encode(), SendFlags::NOSIGNAL).unwrap();
    }

    /// Sends a packet if there is room.
    pub fn try_send(&self, frame: &Frame<'_>) -> bool {
        send(&self.0, &frame.encode(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok()
    }

    /// The next packet.
    #[track_caller]
    pub fn take(&self) -> Taken {
        assert!(readable(self.0.as_fd(), PATIENCE), "nothing comes from the shim");
        let mut bytes = vec![0; PACKET];
        let (read, _) = recv(&self.0, bytes.as_mut_slice(), RecvFlags::empty()).unwrap();
        if read == 0 {
            return Taken::End;
        }
        match Frame::decode(&bytes[..read]).expect("a packet of a shim's") {
            Frame::Stdout(bytes) => Taken::Stdout(bytes.to_vec()),
            Frame::Stderr(bytes) => Taken::Stderr(bytes.to_vec()),
            Frame::Exited(text) => Taken::Exited(serde_json::from_slice(text).unwrap()),
            Frame::Running(pid) => Taken::Running(pid),
            other => panic!("a shim does not send {other:?}"),
        }
    }

    /// Whether something comes within a time.
    pub fn has_something(&self, within: Duration) -> bool {
        readable(self.0.as_fd(), within)
    }

    /// Takes output until `word` has come.
    #[track_caller]
    pub fn expect(&self, word: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.take() {
                Taken::Stdout(bytes) | Taken::Stderr(bytes) => seen.extend(bytes),
                Taken::Running(_) => {}
                other => panic!("{other:?} instead of {word:?} after {:?}", String::from_utf8_lossy(&seen)),
            }
            let text = String::from_utf8_lossy(&seen);
            if text.contains(word) {
                return text.into_owned();
            }
        }
    }

    /// Takes all until the connection's end, which must come right after the process's.
    #[track_caller]
    pub fn rest(&self) -> Rest {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.take() {
                Taken::Stdout(bytes) => stdout.extend(bytes),
                Taken::Stderr(bytes) => stderr.extend(bytes),
                Taken::Running(_) => {}
                Taken::Exited(exited) => {
                    assert_eq!(self.take(), Taken::End);
                    return Rest { stdout, stderr, exited };
                }
                Taken::End => panic!("the connection ended before the process was said to have"),
            }
        }
    }
}

/// Where a bundle's log is.
pub fn log_dir(bundle: &Bundle) -> PathBuf {
    bundle.dir().join("log")
}

/// A log file's lines, each an object; a partial one is a failure.
pub fn log_lines(bundle: &Bundle, name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log_dir(bundle).join(name)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{name} ends in the middle of a line");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The text of a log file's lines.
pub fn log_text(bundle: &Bundle, name: &str) -> String {
    log_lines(bundle, name).iter().map(|line| line["log"].as_str().unwrap()).collect()
}

/// Waits until a process is gone from the host.
pub fn wait_gone(pid: i32) {
    wait_until(&format!("{pid} is gone"), || !Path::new(&format!("/proc/{pid}")).exists());
}

pub fn process(pid: i32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid).unwrap()
}

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn tell(socket: BorrowedFd<'_>, bytes: &[u8], rights: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(rights)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

fn readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let limit = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&limit)).unwrap() > 0
}
