//! `flock(2)` with bounded patience.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A file that is locked exclusively until this is dropped, and as long as a child holds a copy of the descriptor.
#[derive(Debug)]
pub struct Lock {
    file: OwnedFd,
}

impl Lock {
    /// How long [`Lock::wait`] waits: a `create` with slow hooks is given time, a stuck one does not block for ever.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Locks at once, or says that someone else holds the lock.
    ///
    /// # Errors
    /// The kernel's, `EWOULDBLOCK` apart.
    pub fn attempt(file: OwnedFd) -> Result<Result<Self, OwnedFd>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive)? {
            true => Ok(Ok(Self { file })),
            false => Ok(Err(file)),
        }
    }

    /// Locks within [`Lock::PATIENCE`].
    ///
    /// # Errors
    /// Another command kept the lock all the time.
    pub fn wait(mut file: OwnedFd) -> Result<Self> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            file = match Self::attempt(file)? {
                Ok(lock) => return Ok(lock),
                Err(file) => file,
            };
            if start.elapsed() >= Self::PATIENCE {
                return Err(Error::new(
                    "lock",
                    "another command has been working on this container for 10 seconds",
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// The descriptor: the lock is held until it and all its copies are closed.
    pub fn into_fd(self) -> OwnedFd {
        self.file
    }

    /// Whether somebody holds `file` locked exclusively.
    ///
    /// # Errors
    /// The kernel's.
    pub fn held(file: impl AsFd) -> Result<bool> {
        // The lock this may take goes with the caller's descriptor; being shared, it misleads no other asker.
        Ok(!flock(file, FlockOperation::NonBlockingLockShared)?)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn flock(file: impl AsFd, how: FlockOperation) -> Result<bool> {
    loop {
        match rustix::fs::flock(&file, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::os("lock", error.raw_os_error())),
        }
    }
}
