//! One line of a `json-file` log.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use crate::supervision::stdio::Stream;

/// What stands in one line of the file: a line of output, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Which stream.
    pub stream: Stream,
    /// The text; without a line end it is a piece, and the next of the same stream continues it.
    pub text: Cow<'a, str>,
    /// When, as it is written.
    time: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    /// Reads a line of the file. A crash may have left the beginning of another one before it; what cannot be read is
    /// nothing.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        if let Some(entry) = Self::whole(line) {
            return Some(entry);
        }
        let begin = b"{\"log\":";
        let places = line.windows(begin.len()).enumerate().filter(|(_, window)| window == begin);
        let mut rests = places.filter(|(at, _)| *at > 0).filter_map(|(at, _)| line.get(at..));
        rests.find_map(Self::whole)
    }

    /// In nanoseconds since 1970; 0 if it is no time.
    pub fn at(&self) -> u64 {
        let time: Option<Timestamp> = self.time.parse().ok();
        time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
    }

    fn whole(line: &'a [u8]) -> Option<Self> {
        let written: Written<'a> = serde_json::from_slice(line).ok()?;
        let stream = match &*written.stream {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        };
        Some(Self { stream, text: written.log, time: written.time })
    }
}
