//! Children: started, listened to, waited for by descriptor, and never waited on.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_spec::wire::Refusal;
use casemate_spec::{Error, Result};
use rustix::io::{DupFlags, Errno};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The most that is kept of what a child says: its end.
const SAID: usize = 16 << 10;
/// How long a child that is followed may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// What a child says that has done what was asked of it.
const DONE: &[u8] = b"done\n";
/// The most that is kept of a document that a child prints.
const DOCUMENT: usize = 4 << 20;

/// A child.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    /// What it says: standard error, or standard output where that is a document to be read.
    pipe: Option<File>,
    said: Vec<u8>,
    listen: Listen,
    deadline: Option<Instant>,
}

/// How one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its status; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// What it said last.
    pub said: String,
}

impl Ended {
    /// Why the runtime failed.
    pub fn refusal(&self) -> Refusal {
        Refusal::of_runtime(self.code, &self.said)
    }
}

/// What is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Standard error.
    Errors,
    /// Both, as one.
    Output,
    /// Both, and that it is done: the kernel may take its time with taking back what a process had.
    Word,
    /// Nothing: its words go where ours go.
    Nothing,
}

impl Running {
    /// Starts a program in a process group of its own, so that what a terminal sends us does not reach it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, listen: Listen, patience: Option<Duration>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |errno: Errno| crate::tree::failed(&name, errno);
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(failed)?;
        if matches!(listen, Listen::Output | Listen::Word) {
            command.stdout(Stdio::from(theirs.try_clone().map_err(|error| Error::io(&name, &error))?));
        }
        if listen == Listen::Nothing {
            drop(theirs);
        } else {
            command.stderr(Stdio::from(theirs));
        }
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| Error::io(&name, &error))?;
        // The command holds the pipe's other end.
        drop(command);
        let pidfd = match of_child(&child) {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                let ended = child.kill().and_then(|()| child.wait());
                ended.map_err(|error| Error::io(&name, &error))?;
                return Err(failed(errno));
            }
        };
        let deadline = patience.map(|patience| Instant::now() + patience);
        Ok(Self { child, pidfd, pipe: Some(File::from(ours)), said: Vec::new(), listen, deadline })
    }

    /// Which process it is, while it is there.
    pub fn identity(&self) -> Option<Identity> {
        Identity::of(i32::try_from(self.child.id()).ok()?).map(|(identity, _)| identity)
    }

    /// Readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Readable when it says something.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// When it has had its time.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes what it has said; only the end is kept.
    pub fn listen(&mut self) {
        let mut buffer = [0; 4096];
        let most = if self.listen == Listen::Output { DOCUMENT } else { SAID };
        // A child that never stops talking is heard in turns, too.
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    self.said.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    let surplus = self.said.len().saturating_sub(most);
                    self.said.drain(..surplus);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Whether it says that it is done; once.
    pub fn is_done(&mut self) -> bool {
        let done = self.listen == Listen::Word && self.said == DONE;
        if done {
            self.said.clear();
        }
        done
    }

    /// How it ended; `None` while it runs. What its own children still say is not waited for.
    pub fn ended(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().ok()??;
        self.listen();
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
        Some(Ended { code, said: String::from_utf8_lossy(&self.said).into_owned() })
    }

    /// Sends it a signal. One that has ended gets none; one that is asked to end has not long to do so.
    pub fn signal(&mut self, signal: Signal) {
        self.deadline = (signal == Signal::TERM).then(|| Instant::now() + GRACE);
        if pidfd_send_signal(&self.pidfd, signal).is_err() {
            // It ended a moment ago: its descriptor will say so.
            self.deadline = None;
        }
    }
}

/// A descriptor for a child that was not waited for yet, so that the number is its own.
fn of_child(child: &Child) -> Result<OwnedFd, Errno> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    pidfd_open(pid, PidfdFlags::empty())
}

/// Numbers that a child finds descriptors under: 3 and 4. They are taken at the start, and lent for the moment in which
/// a child is started.
#[derive(Debug)]
pub struct Slots([OwnedFd; 2]);

impl Slots {
    /// Takes the numbers.
    ///
    /// # Errors
    /// They are in use: whoever started us left them open.
    pub fn take() -> Result<Self> {
        use std::os::fd::AsRawFd;
        let null = || {
            let file = File::open("/dev/null").map_err(|error| Error::io("/dev/null", &error))?;
            Ok::<_, Error>(OwnedFd::from(file))
        };
        let slots = [null()?, null()?];
        let [three, four] = &slots;
        if (three.as_raw_fd(), four.as_raw_fd()) == (3, 4) {
            return Ok(Self(slots));
        }
        // Whoever started us left some open. A new beginning closes them.
        const AGAIN: &str = "CASEMATE_BROKER_AGAIN";
        if std::env::var_os(AGAIN).is_some() {
            return Err(Error::new("descriptors", "numbers 3 and 4 are in use"));
        }
        casemate_core::sys::fds::seal_from(3).map_err(|errno| crate::tree::failed("descriptors", errno))?;
        let mut again = Command::new("/proc/self/exe");
        Err(Error::io("start again", &again.args(std::env::args_os().skip(1)).env(AGAIN, "").exec()))
    }

    /// Does something while `three` and `four` are under these numbers, to be inherited.
    ///
    /// # Errors
    /// The kernel's, or what was done says.
    pub fn lend<T>(
        &mut self,
        three: &OwnedFd,
        four: &OwnedFd,
        done: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let failed = |errno| crate::tree::failed("descriptors", errno);
        let null = File::open("/dev/null").map_err(|error| Error::io("/dev/null", &error))?;
        let [third, fourth] = &mut self.0;
        rustix::io::dup2(three, third).map_err(failed)?;
        rustix::io::dup2(four, fourth).map_err(failed)?;
        let result = done();
        rustix::io::dup3(&null, third, DupFlags::CLOEXEC).map_err(failed)?;
        rustix::io::dup3(&null, fourth, DupFlags::CLOEXEC).map_err(failed)?;
        result
    }
}

/// A process by its number and the moment it began, so that a later one with the same number is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// As the host numbers it.
    pub pid: i32,
    /// Clock ticks since the host began (proc_pid_stat(5)).
    pub start: u64,
}

impl Identity {
    /// Of a process that is there, with its parent's number.
    pub fn of(pid: i32) -> Option<(Self, i32)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, blanks and brackets too.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some((Self { pid, start }, parent))
    }

    /// A descriptor for it, while it is there.
    pub fn open(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Asked after the descriptor is held: it is the one that began then, or there is none.
        (Self::of(self.pid)?.0 == self).then_some(pidfd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(mut running: Running) -> Ended {
        loop {
            if let Some(ended) = running.ended() {
                return ended;
            }
            running.listen();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_child_is_heard_to_its_end_and_no_further() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "yes | head -c 100000 >&2; echo end >&2; exit 3"]);
        let ended = wait(Running::start(command, Listen::Errors, None).expect("started"));
        assert_eq!(ended.code, 3);
        assert!(ended.said.ends_with("end\n") && ended.said.len() <= SAID);
        let mut command = Command::new("/bin/sh");
        // What it leaves behind holds the pipe open, and nobody waits for that.
        command.args(["-c", "echo out; sleep 30 & kill -9 $$"]);
        let ended = wait(Running::start(command, Listen::Output, None).expect("started"));
        assert_eq!((ended.code, ended.said.as_str()), (137, "out\n"));
        assert!(Running::start(Command::new("/nowhere"), Listen::Errors, None).is_err());
    }

    #[test]
    fn a_child_that_is_done_says_so_before_its_end() {
        let start = |listen| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "echo done; read line; exit 3"]).stdin(Stdio::piped());
            Running::start(command, listen, None).expect("started")
        };
        let mut running = start(Listen::Word);
        while !running.is_done() {
            running.listen();
        }
        assert!(!running.is_done() && running.ended().is_none());
        drop(running.child.stdin.take());
        assert_eq!(wait(running), Ended { code: 3, said: String::new() });
        // What others say is a text like any other.
        let mut running = start(Listen::Output);
        while running.said.is_empty() {
            running.listen();
        }
        assert!(!running.is_done());
        drop(running.child.stdin.take());
        assert_eq!(wait(running).said, "done\n");
    }

    #[test]
    fn a_number_is_not_a_process() {
        let own = i32::try_from(std::process::id()).expect("a number");
        let (identity, _) = Identity::of(own).expect("this process");
        assert!(identity.open().is_some());
        assert!(Identity { start: identity.start + 1, ..identity }.open().is_none());
    }
}
