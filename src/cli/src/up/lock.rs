//! Who keeps a data root's broker running: the process that has the lock, by flock(2), so that a crash gives it back.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const NAME: &str = "up.pid";

/// The lock, as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// Another process has it.
    pub fn take(run: &Path) -> Result<Self> {
        let path = run.join(NAME);
        let failed = |error: std::io::Error| Error::io(path.display().to_string(), &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::new(
                    path.display().to_string(),
                    "casemate runs already for this data root",
                ));
            }
            Err(errno) => return Err(Error::os(path.display().to_string(), errno.raw_os_error())),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(std::process::id().to_string().as_bytes()).map_err(failed)?;
        Ok(Self(file))
    }

    /// Who has it, if anybody.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn holder(run: &Path) -> Result<Option<Pid>> {
        holder(&run.join(NAME), &run.join(NAME))
    }
}

/// The broker that runs, if any.
///
/// # Errors
/// It cannot be looked at.
pub fn broker(run: &Path) -> Result<Option<Pid>> {
    holder(&run.join("lock"), &run.join("broker.pid"))
}

/// Who has a lock, by the number in a file.
fn holder(lock: &Path, pid: &Path) -> Result<Option<Pid>> {
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(lock.display().to_string(), &error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let text = std::fs::read_to_string(pid).map_err(|e| Error::io(pid.display().to_string(), &e))?;
            let holder = text.trim().parse().ok().and_then(Pid::from_raw);
            holder.map(Some).ok_or_else(|| Error::new(pid.display().to_string(), "it names no process"))
        }
        Err(errno) => Err(Error::os(lock.display().to_string(), errno.raw_os_error())),
    }
}

/// Sends a signal to the holder of the lock, and waits until it has ended, and all that it ends last with it: the lock goes
/// before. Whether it has.
///
/// # Errors
/// The kernel refuses.
pub fn end(holder: Pid, signal: Signal, patience: Duration) -> Result<bool> {
    let failed = |errno: Errno| Error::os(format!("process {holder:?}"), errno.raw_os_error());
    let process = match pidfd_open(holder, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(true),
        Err(errno) => return Err(failed(errno)),
    };
    tell(holder, signal)?;
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| failed(Errno::INVAL))?;
        match rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(ended) => return Ok(ended > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// Sends a signal to the holder of the lock; one that has just ended needs none.
///
/// # Errors
/// The kernel refuses.
pub fn tell(holder: Pid, signal: Signal) -> Result<()> {
    let failed = |errno: Errno| Error::os(format!("signal process {holder:?}"), errno.raw_os_error());
    match pidfd_open(holder, PidfdFlags::empty()) {
        Ok(process) => match pidfd_send_signal(process, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(failed(errno)),
        },
        Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}
