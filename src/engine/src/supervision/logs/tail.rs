//! Where the last lines of a log begin, found from its end: the length of a log does not matter.

use std::io::Result;
use std::os::unix::fs::FileExt;

use super::entry::Entry;
use super::files::LogFile;
use crate::supervision::stdio::Stream;

/// So much is read at once, backwards.
const PORTION: u64 = 64 << 10;

/// Which lines have been seen, from the last one.
#[derive(Debug)]
struct Count {
    left: usize,
    wanted: (bool, bool),
    /// Whether a piece of the standard output, and of the standard error, was seen already.
    seen: (bool, bool),
}

impl Count {
    /// Whether an entry, the one before all that were shown yet, is still wanted.
    fn takes(&mut self, line: &[u8]) -> bool {
        let Some(entry) = Entry::parse(line) else { return true };
        let (wanted, seen) = match entry.stream {
            Stream::Stdout => (self.wanted.0, &mut self.seen.0),
            Stream::Stderr => (self.wanted.1, &mut self.seen.1),
        };
        if !wanted {
            return true;
        }
        // A piece without a line end belongs to the line behind it, but for the very last.
        let ends_line = entry.text.ends_with('\n') || !*seen;
        *seen = true;
        if ends_line {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
        }
        true
    }
}

/// The file, and the place in it, where the last `lines` lines of the wanted streams (standard output, standard error)
/// begin.
///
/// # Errors
/// A file cannot be read.
pub fn begin(files: &[LogFile], lines: usize, wanted: (bool, bool)) -> Result<(usize, u64)> {
    let mut count = Count { left: lines, wanted, seen: (false, false) };
    for (index, file) in files.iter().enumerate().rev() {
        if let Some(at) = within(file, &mut count)? {
            return Ok((index, at));
        }
    }
    Ok((0, 0))
}

/// Where the wanted lines begin, if it is in this file.
fn within(file: &LogFile, count: &mut Count) -> Result<Option<u64>> {
    let mut at = file.file.metadata()?.len();
    // From `at` on; its first line may have begun before.
    let mut kept: Vec<u8> = Vec::new();
    while at > 0 {
        let from = at.saturating_sub(PORTION);
        let mut portion = vec![0_u8; usize::try_from(at - from).unwrap_or(0)];
        file.file.read_exact_at(&mut portion, from)?;
        portion.extend_from_slice(&kept);
        at = from;
        let mut end = portion.len();
        while let Some(feed) =
            portion.get(..end).and_then(|part| part.iter().rposition(|byte| *byte == b'\n'))
        {
            if !count.takes(portion.get(feed + 1..end).unwrap_or_default()) {
                // This entry is the last that is not wanted: what follows it is.
                return Ok(Some(at + end as u64));
            }
            end = feed;
        }
        portion.truncate(end);
        kept = portion;
    }
    Ok(if count.takes(&kept) { None } else { Some(kept.len() as u64) })
}
