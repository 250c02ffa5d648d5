//! A container's init process, held by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use casemate_core::sys::pidfd;
use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::InitRecord;

/// An init process that is the recorded one beyond doubt.
#[derive(Debug)]
pub struct Init {
    pidfd: OwnedFd,
    pid: Pid,
}

impl Init {
    /// Opens the recorded process; `None` when it has ended (a zombie has).
    ///
    /// The descriptor comes first and the comparison second: from then on the number may be reused, the descriptor
    /// cannot.
    ///
    /// # Errors
    /// pidfd_open(2) or `/proc` fail.
    pub fn open(record: InitRecord) -> Result<Option<Self>> {
        // `from_raw` asserts that the number is not negative, and zero and negatives mean groups to signals.
        let Some(pid) = Some(record.pid).filter(|&pid| pid > 0).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number is a thread's by now.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(Error::os("pidfd_open", error.raw_os_error())),
        };
        let alive = start_time(record.pid)? == Some(record.start_time);
        Ok(alive.then_some(Self { pidfd, pid }))
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its descriptor alone.
    pub fn into_fd(self) -> OwnedFd {
        self.pidfd
    }

    /// Sends a signal by its number (0 asks whether one could be sent); says whether it was there to take it.
    ///
    /// # Errors
    /// pidfd_send_signal(2), `ESRCH` apart.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        match pidfd::send_signal(self.pidfd.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(Error::os("signal init", error.raw_os_error())),
        }
    }

    /// Waits for its end, at most so long; says whether it has ended.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn wait(&self, patience: Duration) -> Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(Error::os("wait for init", error.raw_os_error())),
        }
    }
}

impl AsFd for Init {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// When a process started, in clock ticks since boot; `None` when there is none or it is a zombie.
///
/// # Errors
/// `/proc` cannot be read.
pub fn start_time(pid: i32) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/stat");
    let file = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(error) => return Err(Error::os(format!("open {path}"), error.raw_os_error())),
    };
    // 52 numbers of at most 20 digits and a name of 16 bytes; field 22 lies well within.
    let mut buffer = [0; 1024];
    let read = match rustix::io::read(&file, &mut buffer) {
        Ok(read) => read,
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(Error::os(format!("read {path}"), error.raw_os_error())),
    };
    match buffer.get(..read).and_then(parse_stat) {
        Some((b'Z' | b'X' | b'x', _)) => Ok(None),
        Some((_, start)) => Ok(Some(start)),
        None => Err(Error::new(format!("read {path}"), "it is not in the form of proc_pid_stat(5)")),
    }
}

/// State (field 3) and start time (field 22). The name before them may hold blanks and parentheses.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let stat = b"7 (a) Z 1 (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9\n";
        assert_eq!(parse_stat(stat), Some((b'S', 4711)));
        assert_eq!(parse_stat(b"7 (a"), None);
        assert_eq!(parse_stat(b"7 (a) S 1 2"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn only_the_recorded_process_is_opened() {
        let pid = i32::try_from(std::process::id()).expect("a pid fits");
        let start = start_time(pid).expect("proc is there").expect("we run");
        assert!(Init::open(InitRecord { pid, start_time: start }).expect("open").is_some());
        assert!(Init::open(InitRecord { pid, start_time: start + 1 }).expect("open").is_none());
        assert!(Init::open(InitRecord { pid: 0, start_time: 0 }).expect("open").is_none());
        assert!(Init::open(InitRecord { pid: -1, start_time: 0 }).expect("open").is_none());
        assert!(Init::open(InitRecord { pid: i32::MAX, start_time: 0 }).expect("open").is_none());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("spawn");
        let pid = i32::try_from(child.id()).expect("a pid fits");
        let start = start_time(pid).expect("proc is there").expect("it runs");
        let init = Init::open(InitRecord { pid, start_time: start }).expect("open").expect("it runs");
        assert!(!init.wait(Duration::ZERO).expect("poll"));
        assert!(init.signal(9).expect("kill"));
        assert!(init.wait(Duration::from_secs(5)).expect("poll"));
        assert_eq!(start_time(pid).expect("proc is there"), None);
        assert!(Init::open(InitRecord { pid, start_time: start }).expect("open").is_none());
        child.wait().expect("reap");
        assert!(!init.signal(15).expect("ask"), "a signal reached a reaped process");
    }
}
