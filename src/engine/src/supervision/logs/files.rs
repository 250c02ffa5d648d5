//! The files of a log, in the order in which they were written, however often they are rotated meanwhile.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Asked;
use super::entry::Entry;
use super::tail;

/// The newest; older ones have a number behind it.
const NAME: &str = "json.log";
/// So much is read at once.
const PORTION: usize = 256 << 10;
/// Longer lines are none of a shim's.
const LONGEST: usize = 1 << 20;
/// How often to look again where files were renamed while they were looked for.
const TRIES: usize = 5;

/// A place in a log.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    now: Option<LogFile>,
    later: VecDeque<LogFile>,
    /// Where the next portion begins.
    at: u64,
    /// The beginning of a line whose end was not there yet.
    begun: Vec<u8>,
}

/// One file.
#[derive(Debug)]
pub struct LogFile {
    /// Open, so that no renaming matters.
    pub file: File,
    /// Device and inode.
    id: (u64, u64),
}

impl Files {
    /// Opens a log where the client wants it to begin. One that does not exist is empty.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn open(folder: &Path, asked: &Asked) -> Result<Self> {
        let mut later: VecDeque<LogFile> = list(folder)?.into();
        let mut at = 0;
        if let Some(lines) = asked.tail {
            let wanted = (asked.stdout, asked.stderr);
            let (index, begin) = tail::begin(later.make_contiguous(), lines, wanted)?;
            later.drain(..index);
            at = begin;
        }
        let now = later.pop_front();
        Ok(Self { folder: folder.to_owned(), now, later, at, begun: Vec::new() })
    }

    /// Reads a portion. Whether this is the present end.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&mut self, take: &mut impl FnMut(&Entry<'_>)) -> Result<bool> {
        let mut portion = vec![0_u8; PORTION];
        loop {
            let read = match &self.now {
                Some(now) => now.file.read_at(&mut portion, self.at)?,
                None => 0,
            };
            if read > 0 {
                self.at += read as u64;
                if self.lines(portion.get(..read).unwrap_or_default(), take) {
                    return Ok(false);
                }
                continue;
            }
            if let Some(next) = self.later.pop_front() {
                self.turn_to(next, take);
                continue;
            }
            self.mend()?;
            self.later = self.newer()?.into();
            if self.later.is_empty() {
                return Ok(true);
            }
            // Once more, then: lines may have come between the last read and the rotation.
        }
    }

    /// Gives the whole lines of what was read. Whether there were any.
    fn lines(&mut self, read: &[u8], take: &mut impl FnMut(&Entry<'_>)) -> bool {
        let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else {
            if self.begun.len() + read.len() <= LONGEST {
                self.begun.extend_from_slice(read);
            }
            return false;
        };
        let (whole, rest) = read.split_at(end);
        let mut lines = whole.split(|byte| *byte == b'\n');
        let mut any = false;
        let mut give = |line: &[u8]| {
            if let Some(entry) = Entry::parse(line) {
                any = true;
                take(&entry);
            }
        };
        let first = lines.next().unwrap_or_default();
        if self.begun.is_empty() {
            give(first);
        } else {
            self.begun.extend_from_slice(first);
            give(&self.begun);
        }
        lines.for_each(give);
        self.begun.clear();
        self.begun.extend_from_slice(rest.get(1..).unwrap_or_default());
        any
    }

    fn turn_to(&mut self, next: LogFile, take: &mut impl FnMut(&Entry<'_>)) {
        // A line that lacks its end only is one all the same.
        if let Some(entry) = Entry::parse(&self.begun) {
            take(&entry);
        }
        self.begun.clear();
        (self.now, self.at) = (Some(next), 0);
    }

    /// A file that has become shorter lost the part of a line that a crash had left, or everything.
    fn mend(&mut self) -> Result<()> {
        let Some(now) = &self.now else { return Ok(()) };
        let length = now.file.metadata()?.len();
        if length < self.at {
            let line = self.at.saturating_sub(self.begun.len() as u64);
            self.at = if length < line { 0 } else { line };
            self.begun.clear();
        }
        Ok(())
    }

    /// What has been begun since the present file.
    fn newer(&self) -> Result<Vec<LogFile>> {
        if let (Some(now), Ok(newest)) = (&self.now, LogFile::open(&self.folder.join(NAME)))
            && newest.id == now.id
        {
            return Ok(Vec::new());
        }
        let mut all = list(&self.folder)?;
        let now = self.now.as_ref().and_then(|now| all.iter().position(|one| one.id == now.id));
        Ok(match now {
            Some(place) => all.split_off(place + 1),
            // It is rotated out: everything that is there is newer.
            None => all,
        })
    }
}

impl LogFile {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { id: (metadata.dev(), metadata.ino()), file })
    }
}

/// The files that there are, the oldest first, each once.
fn list(folder: &Path) -> Result<Vec<LogFile>> {
    let mut before = Vec::new();
    for _ in 0..TRIES {
        let all = list_once(folder)?;
        let ids: Vec<_> = all.iter().map(|one| one.id).collect();
        if ids == before {
            return Ok(all);
        }
        before = ids;
    }
    list_once(folder)
}

fn list_once(folder: &Path) -> Result<Vec<LogFile>> {
    // The newest first: a rotation meanwhile shows one twice, and hides none but the oldest.
    let mut names = vec![(0, folder.join(NAME))];
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let number = name.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('.'));
                if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
                    names.push((number, path));
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    names.sort();
    let mut all: Vec<LogFile> = Vec::new();
    for (_, path) in names {
        match LogFile::open(&path) {
            Ok(file) if all.iter().any(|one| one.id == file.id) => {}
            Ok(file) => all.push(file),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    all.reverse();
    Ok(all)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
