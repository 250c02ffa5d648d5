//! `exit.json`: how the process ended, there for whoever comes later.

use std::os::fd::OwnedFd;

use casemate_spec::wire::Exited;
use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::Errno;

const NAME: &str = "exit.json";
const NEXT: &str = ".exit.json";

/// The file to be, empty and under another name.
#[derive(Debug)]
pub struct Report {
    dir: OwnedFd,
    next: OwnedFd,
}

impl Report {
    /// Makes sure that it can be written later.
    ///
    /// # Errors
    /// The kernel's.
    pub fn prepare(dir: OwnedFd) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(&dir, NEXT, flags, Mode::from_raw_mode(0o640)).map_err(failed)?;
        Ok(Self { dir, next })
    }

    /// Writes it, whole or not at all. It is for the next broker of this boot, which may come after a crash of any program
    /// but not of the host: nobody waits for a disk here.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, exited: &Exited) -> Result<()> {
        let text = serde_json::to_vec(exited).map_err(|error| Error::new(NAME, error.to_string()))?;
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.next, rest));
            rest = rest.get(written.map_err(failed)?..).unwrap_or_default();
        }
        renameat(&self.dir, NEXT, &self.dir, NAME).map_err(failed)
    }
}

fn failed(errno: Errno) -> Error {
    Error::os("write exit.json", errno.raw_os_error())
}
