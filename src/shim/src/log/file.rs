//! The `json-file` log: whole lines alone, a new file when one is long enough, and a disk that may be full.

use std::os::fd::OwnedFd;

use casemate_spec::Error;
use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, ftruncate, linkat, openat, renameat, seek, unlinkat};
use rustix::io::Errno;

use super::lines::Line;
use super::time::Stamp;
use super::{Stream, json};

const NAME: &str = "json.log";
/// The next file, until it takes the name.
const NEXT: &str = ".json.log";
/// Lines are written together up to about so many bytes.
const BATCH: usize = 64 << 10;
/// No line is longer: a piece of which every byte was escaped, and what surrounds it.
const LONGEST: u64 = 6 * super::lines::LONGEST as u64 + 128;

/// The log.
#[derive(Debug)]
pub(super) struct JsonFile {
    dir: OwnedFd,
    file: Option<OwnedFd>,
    size: u64,
    max_size: u64,
    max_files: u32,
    batch: Vec<u8>,
    /// Lines that could not be written, and why.
    lost: Option<(u64, Errno)>,
}

impl JsonFile {
    /// Opens the newest file.
    pub fn open(dir: OwnedFd, max_size: u64, max_files: u32) -> Self {
        let mut log = Self { dir, file: None, size: 0, max_size, max_files, batch: Vec::new(), lost: None };
        if let Err(errno) = log.reopen() {
            crate::complain("casemate-shim", &Error::os("open the log", errno.raw_os_error()));
        }
        log
    }

    /// Adds a line; it is written with its neighbours by [`JsonFile::flush`] at the latest.
    pub fn add(&mut self, stream: Stream, line: &Line<'_>) {
        let pending = u64::try_from(self.batch.len()).unwrap_or(0);
        let is_long = self.max_size > 0 && self.size + pending >= self.max_size;
        if is_long || self.batch.len() >= BATCH {
            self.flush();
        }
        if is_long
            && self.size >= self.max_size
            && let Err(errno) = self.rotate()
        {
            // The file grows on: too long is better than lost.
            crate::complain("casemate-shim", &Error::os("rotate the log", errno.raw_os_error()));
        }
        json::append(&mut self.batch, stream, line);
    }

    /// Writes what was added, in one write.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        if self.tell_lost() {
            self.put(&batch);
        } else {
            self.lose(&batch, Errno::NOSPC);
        }
        self.batch = batch;
        self.batch.clear();
    }

    /// Says how many lines are missing, once there is room to say so.
    fn tell_lost(&mut self) -> bool {
        let Some((count, errno)) = self.lost.take() else { return true };
        let error = Error::os(format!("casemate-shim: {count} lines are missing here"), errno.raw_os_error());
        let mut note = Vec::new();
        let text = format!("{error}\n");
        let line = Line { text: text.as_bytes(), at: Stamp::now(), continues: false };
        json::append(&mut note, Stream::Stderr, &line);
        self.put(&note);
        let told = self.lost.is_none();
        if !told {
            self.lost = Some((count, errno));
        }
        told
    }

    /// Writes whole lines. What does not fit is taken back to the last whole one.
    fn put(&mut self, lines: &[u8]) {
        if self.file.is_none()
            && let Err(errno) = self.reopen()
        {
            return self.lose(lines, errno);
        }
        let Some(file) = &self.file else { return };
        let (written, errno) = match rustix::io::retry_on_intr(|| rustix::io::write(file, lines)) {
            Ok(written) => (written, Errno::NOSPC),
            Err(errno) => (0, errno),
        };
        let part = lines.get(..written).unwrap_or_default();
        let whole = part.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.size += u64::try_from(whole).unwrap_or(0);
        if whole < written && ftruncate(file, self.size).is_err() {
            // A reader sees a line without an end; the next begins in a file whose end was mended.
            self.file = None;
        }
        self.lose(lines.get(whole..).unwrap_or_default(), errno);
    }

    fn lose(&mut self, lines: &[u8], errno: Errno) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        if count > 0 {
            let before = self.lost.map_or(0, |(before, _)| before);
            self.lost = Some((before + u64::try_from(count).unwrap_or(0), errno));
        }
    }

    /// Opens the newest file, and takes away the part of a line that a crash may have left at its end.
    fn reopen(&mut self) -> Result<(), Errno> {
        let file = openat(&self.dir, NAME, flags(), mode())?;
        let size = seek(&file, SeekFrom::End(0))?;
        let mut tail = vec![0_u8; usize::try_from(size.min(LONGEST)).unwrap_or(0)];
        let from = size.saturating_sub(LONGEST);
        let read = rustix::io::pread(&file, tail.as_mut_slice(), from)?;
        let end = tail.get(..read).unwrap_or_default().iter().rposition(|byte| *byte == b'\n');
        self.size = match end {
            Some(at) => from + u64::try_from(at).unwrap_or(0) + 1,
            None => from,
        };
        if self.size < size {
            ftruncate(&file, self.size)?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Begins a new file. The name always has one: it is linked to its next name before the new one takes it.
    fn rotate(&mut self) -> Result<(), Errno> {
        let dir = &self.dir;
        let next = openat(dir, NEXT, flags() | OFlags::TRUNC, mode())?;
        let name = |number: u32| format!("{NAME}.{number}");
        if self.max_files > 1 {
            for number in (1..self.max_files.saturating_sub(1)).rev() {
                missing_is_good(renameat(dir, name(number), dir, name(number + 1)))?;
            }
            missing_is_good(unlinkat(dir, name(1), AtFlags::empty()))?;
            missing_is_good(linkat(dir, NAME, dir, name(1), AtFlags::empty()))?;
        }
        renameat(dir, NEXT, dir, NAME)?;
        (self.file, self.size) = (Some(next), 0);
        Ok(())
    }
}

fn flags() -> OFlags {
    OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn mode() -> Mode {
    Mode::from_raw_mode(0o640)
}

fn missing_is_good(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
