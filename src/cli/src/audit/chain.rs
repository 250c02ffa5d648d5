//! The chain of an audit log: every line vouches for all before it.

use std::io::BufRead;
use std::path::Path;

use casemate_spec::{Error, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The longest line that the log has, in bytes.
const LINE: u64 = 256 << 10;

/// What is known after some lines.
#[derive(Debug, Default)]
pub struct Chain {
    /// Lines read.
    pub lines: u64,
    /// What is wrong, for people.
    pub problems: Vec<String>,
    /// Sequence numbers and digests seen; a gap is a problem already.
    first: Option<u64>,
    hashes: Vec<[u8; 32]>,
    previous: Option<(u64, String)>,
}

#[derive(Deserialize)]
struct Links {
    seq: u64,
    prev: String,
    hash: String,
}

impl Chain {
    /// Reads one file; files are read in their order, the oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, file: &Path, mut lines: impl BufRead) -> Result<()> {
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            let read = std::io::Read::take(&mut lines, LINE)
                .read_until(b'\n', &mut line)
                .map_err(|error| Error::io(file.display().to_string(), &error))?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            let whole = line.strip_suffix(b"\n");
            let at = format!("{}:{number}", file.file_name().unwrap_or_default().display());
            match whole {
                Some(line) => self.line(&at, line),
                None => self.problem(format!("{at}: the line is cut off")),
            }
        }
    }

    fn line(&mut self, at: &str, line: &[u8]) {
        self.lines += 1;
        let Ok(links) = serde_json::from_slice::<Links>(line) else {
            return self.problem(format!("{at}: it is no line of an audit log"));
        };
        let digest: [u8; 32] = Sha256::digest(hashed(line)).into();
        if links.hash != hexadecimal(&digest) {
            self.problem(format!("{at}: it was changed (seq {})", links.seq));
        }
        match &self.previous {
            Some((sequence, hash)) => {
                if links.seq != sequence + 1 {
                    self.problem(format!("{at}: seq {} follows seq {sequence}", links.seq));
                } else if links.prev != *hash {
                    self.problem(format!("{at}: it does not continue the line before (seq {})", links.seq));
                }
            }
            None if links.seq == 1 && links.prev.bytes().any(|byte| byte != b'0') => {
                self.problem(format!("{at}: the first line continues another"));
            }
            None => {}
        }
        self.first.get_or_insert(links.seq);
        self.hashes.push(digest);
        self.previous = Some((links.seq, links.hash));
    }

    /// One more thing that is wrong.
    pub fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// A line that is known from elsewhere must be in the log as it was.
    pub fn must_hold(&mut self, source: &str, sequence: &str, hash: &str) {
        let Ok(sequence) = sequence.parse::<u64>() else {
            return self.problem(format!("{source}: {sequence:?} is no sequence number"));
        };
        let Some(first) = self.first else {
            return self.problem(format!("{source}: it names seq {sequence}, the log is empty"));
        };
        let place = sequence.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        match place.and_then(|place| self.hashes.get(place)) {
            Some(found) if hexadecimal(found) == hash => {}
            Some(_) => self.problem(format!("{source}: seq {sequence} is another line in the log")),
            // Rotated away: its absence proves nothing.
            None if sequence < first => {}
            None => self.problem(format!("{source}: the log ends before seq {sequence}: it was cut")),
        }
    }

    /// The last line's sequence number and digest.
    pub fn last(&self) -> Option<(u64, &str)> {
        self.previous.as_ref().map(|(sequence, hash)| (*sequence, hash.as_str()))
    }
}

/// What of a line is hashed: all before the last `,"hash":"`.
fn hashed(line: &[u8]) -> &[u8] {
    let mark = b",\"hash\":\"";
    let end = line.windows(mark.len()).rposition(|window| window == mark);
    &line[..end.unwrap_or(line.len())]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u64) -> Vec<String> {
        let mut previous = "0".repeat(64);
        let mut lines = Vec::new();
        for seq in 1..=count {
            let body = format!(
                "{{\"seq\":{seq},\"time\":1,\"prev\":\"{previous}\",\"event\":\"x\",\"reason\":\",\\\"hash\\\":\\\"\""
            );
            previous = hexadecimal(&Sha256::digest(body.as_bytes()));
            lines.push(format!("{body},\"hash\":\"{previous}\"}}"));
        }
        lines
    }

    fn problems(lines: &[String], head: (&str, &str)) -> Vec<String> {
        let mut chain = Chain::default();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        chain.read(Path::new("audit.log"), text.as_bytes()).expect("read");
        chain.must_hold("head", head.0, head.1);
        chain.problems
    }

    fn hash(line: &str) -> String {
        serde_json::from_str::<Links>(line).expect("a line").hash
    }

    #[test]
    fn every_change_is_found() {
        let whole = log(5);
        let end = hash(&whole[4]);
        let head = ("00000000000000000005", end.as_str());
        assert!(problems(&whole, head).is_empty());

        let mut changed = whole.clone();
        changed[2] = changed[2].replace("\"time\":1", "\"time\":2");
        assert_eq!(problems(&changed, head), ["audit.log:3: it was changed (seq 3)",]);
        let mut removed = whole.clone();
        removed.remove(1);
        assert!(problems(&removed, head).contains(&"audit.log:2: seq 3 follows seq 1".to_owned()));
        let mut moved = whole.clone();
        moved.swap(1, 2);
        assert!(!problems(&moved, head).is_empty());
        assert_eq!(
            problems(&whole[..4], head),
            ["head: the log ends before seq 00000000000000000005: it was cut"
                .replace("00000000000000000005", "5")]
        );
    }

    #[test]
    fn a_log_written_anew_is_not_the_one_that_is_known() {
        let other: Vec<String> = log(5);
        assert_eq!(problems(&other, ("3", &"0".repeat(64))), ["head: seq 3 is another line in the log"]);
    }
}
