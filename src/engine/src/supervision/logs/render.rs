//! Entries as a client is shown them.

use super::Asked;
use super::entry::Entry;
use crate::clock;
use crate::supervision::stdio::{Stream, frame};

/// How they are shown, and how far that is.
#[derive(Debug, Clone)]
pub struct Render {
    asked: Asked,
    /// What each line begins with, after its time.
    details: String,
    /// The last piece of the standard output, and of the standard error, did not end its line.
    within: (bool, bool),
}

impl Render {
    /// From the beginning.
    pub fn new(asked: &Asked, details: String) -> Self {
        Self { asked: *asked, details, within: (false, false) }
    }

    /// Shows an entry. What follows one that is too new may be older: the clock may have been set back.
    pub fn add(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let asked = &self.asked;
        let (wanted, within) = match entry.stream {
            Stream::Stdout => (asked.stdout, &mut self.within.0),
            Stream::Stderr => (asked.stderr, &mut self.within.1),
        };
        let continues = std::mem::replace(within, !entry.text.ends_with('\n'));
        let timed = asked.timestamps || asked.since.is_some() || asked.until.is_some();
        let at = if timed { entry.at() } else { 0 };
        let late = asked.until.is_some_and(|until| at > until);
        if late || !wanted || asked.since.is_some_and(|since| at < since) {
            return;
        }
        // A long line that was kept in pieces is one line again.
        let stamp = if asked.timestamps && !continues { clock::rfc3339(at) + " " } else { String::new() };
        let details = if continues { "" } else { &self.details };
        let parts = [stamp.as_bytes(), details.as_bytes(), entry.text.as_bytes()];
        if asked.framed {
            out.extend_from_slice(&frame(entry.stream, parts.iter().map(|part| part.len()).sum()));
        }
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}
