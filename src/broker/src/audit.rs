//! The audit log: JSON lines, each of which holds the digest of the one before. docs/audit.md says how it is checked.
//!
//! A line is written whole before what it tells of is answered. A crash of ours loses nothing; one of the host at most
//! what the kernel had not written back, which a child sees to every few seconds, since waiting for a disk is not ours.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

pub use casemate_spec::wire::Entry;
use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What stands before the first line there is.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A new file is begun at this many bytes.
const LARGEST: u64 = 16 << 20;
/// So many older files are kept.
const KEPT: u32 = 64;
/// No line is: six texts, each byte of which may take six when written, and names.
const LINE: u64 = 256 << 10;

/// The log.
#[derive(Debug)]
pub struct Audit {
    directory: OwnedFd,
    log: File,
    head: File,
    length: u64,
    sequence: u64,
    previous: String,
    lost: u64,
    unsaved: bool,
}

impl Audit {
    /// Opens it and goes on where it ends.
    ///
    /// # Errors
    /// The kernel's; its last line is none of ours.
    pub fn open(directory: OwnedFd) -> Result<Self> {
        let log = open(&directory, "audit.log")?;
        let head = open(&directory, "head")?;
        let mut audit = Self {
            directory,
            log,
            head,
            length: 0,
            sequence: 0,
            previous: NOTHING.to_owned(),
            lost: 0,
            unsaved: false,
        };
        let torn = audit.resume()?;
        if torn > 0 {
            let torn = i64::try_from(torn).unwrap_or(i64::MAX);
            audit.write(&Entry::new("audit.torn").number("bytes", torn))?;
        }
        Ok(audit)
    }

    /// Takes up the chain. A line that a crash of the host cut short is removed, and counted.
    fn resume(&mut self) -> Result<u64> {
        let failed = |error: std::io::Error| Error::io("audit.log", &error);
        let size = self.log.seek(SeekFrom::End(0)).map_err(failed)?;
        let start = size.saturating_sub(LINE);
        let mut tail = Vec::new();
        self.log.seek(SeekFrom::Start(start)).map_err(failed)?;
        (&self.log).take(LINE).read_to_end(&mut tail).map_err(failed)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let torn = (tail.len() - whole) as u64;
        if whole == 0 && start > 0 {
            return Err(
                Error::new("audit.log", "its end is none of ours").hint("casemate audit verify tells more")
            );
        }
        self.length = size - torn;
        if torn > 0 {
            self.log.set_len(self.length).map_err(failed)?;
        }
        let last =
            tail.get(..whole.saturating_sub(1)).and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        match last.filter(|line| !line.is_empty()).map(end_of) {
            Some(Some((sequence, hash))) => (self.sequence, self.previous) = (sequence, hash),
            Some(None) => return Err(Error::new("audit.log", "its last line is none of ours")),
            // Rotation was cut short, or this is the first line of all: the head knows.
            None => {
                let mut head = String::new();
                self.head.read_to_string(&mut head).map_err(failed)?;
                if let Some((sequence, hash)) = end_of_head(&head) {
                    (self.sequence, self.previous) = (sequence, hash);
                }
            }
        }
        Ok(torn)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// It cannot be written; the log is as it was, and the next line tells how many are missing.
    pub fn write(&mut self, entry: &Entry) -> Result<()> {
        if self.lost > 0 {
            let lost = i64::try_from(self.lost).unwrap_or(i64::MAX);
            self.append(&Entry::new("audit.lost").number("lines", lost))?;
            self.lost = 0;
        }
        self.append(entry).inspect_err(|_| self.lost += 1)
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        if self.length >= LARGEST {
            self.rotate()?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let (line, hash) =
            entry.line(self.sequence + 1, u64::try_from(now).unwrap_or(0), &self.previous, digest);
        let failed = |error: std::io::Error| Error::io("audit.log", &error);
        if let Err(error) = self.log.write_all(line.as_bytes()) {
            self.log.set_len(self.length).map_err(failed)?;
            return Err(failed(error));
        }
        self.length += line.len() as u64;
        self.sequence += 1;
        self.previous = hash;
        self.unsaved = true;
        let head = format!("{:020} {}\n", self.sequence, self.previous);
        self.head.write_all_at(head.as_bytes(), 0).map_err(failed)
    }

    /// `audit.log` becomes `audit.log.1`, that becomes `audit.log.2`, and the last goes. The chain goes on.
    fn rotate(&mut self) -> Result<()> {
        let name =
            |number: u32| if number == 0 { "audit.log".to_owned() } else { format!("audit.log.{number}") };
        for number in (0..KEPT).rev() {
            match rustix::fs::renameat(&self.directory, name(number), &self.directory, name(number + 1)) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(crate::tree::failed("audit.log", errno)),
            }
        }
        self.log = open(&self.directory, "audit.log")?;
        self.length = 0;
        Ok(())
    }

    /// The log, for a child that waits until it is on the disk; nothing when it is.
    pub fn unsaved(&mut self) -> Option<OwnedFd> {
        if !std::mem::take(&mut self.unsaved) {
            return None;
        }
        self.log.try_clone().ok().map(OwnedFd::from)
    }
}

/// The sequence number and the digest that a line claims.
fn end_of(line: &[u8]) -> Option<(u64, String)> {
    let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    Some((fields.get("seq")?.as_u64()?, fields.get("hash")?.as_str()?.to_owned()))
}

fn end_of_head(head: &str) -> Option<(u64, String)> {
    let (sequence, hash) = head.trim_end().split_once(' ')?;
    Some((sequence.parse().ok()?, Some(hash.to_owned()).filter(|hash| hash.len() == 64)?))
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open(directory: &OwnedFd, name: &str) -> Result<File> {
    let append = if name == "head" { OFlags::empty() } else { OFlags::APPEND };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | append;
    let opened = rustix::fs::openat(directory, name, flags, Mode::from(0o600));
    opened.map(File::from).map_err(|errno| crate::tree::failed(name, errno))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use std::path::{Path, PathBuf};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("casemate-audit-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).expect("a folder");
            Self(path)
        }

        fn audit(&self) -> Audit {
            Audit::open(File::open(&self.0).expect("the folder").into()).expect("a log")
        }

        fn lines(&self) -> Vec<Value> {
            let text = std::fs::read_to_string(self.0.join("audit.log")).expect("a log");
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("removed");
        }
    }

    fn chained(path: &Path) -> bool {
        let text = std::fs::read_to_string(path).expect("a log");
        let mut previous: Option<String> = None;
        text.lines().all(|line| {
            let (bytes, _) = line.rsplit_once(",\"hash\":\"").expect("a hash");
            let value: Value = serde_json::from_str(line).expect("JSON");
            let good = value["hash"] == digest(bytes)
                && previous.as_ref().is_none_or(|previous| value["prev"] == previous.as_str());
            previous = value["hash"].as_str().map(str::to_owned);
            good
        })
    }

    #[test]
    fn the_chain_goes_on_after_a_crash() {
        let folder = Folder::new("crash");
        folder.audit().write(&Entry::new("a").text("x", "\"\n\u{1b}").number("n", -1)).expect("written");
        let log = folder.0.join("audit.log");
        let mut torn = std::fs::OpenOptions::new().append(true).open(&log).expect("the log");
        torn.write_all(b"{\"seq\":2,\"ti").expect("written");
        folder.audit().write(&Entry::new("b")).expect("written");
        let lines = folder.lines();
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap_or_default()).collect();
        assert_eq!(events, ["a", "audit.torn", "b"]);
        assert_eq!((&lines[0]["prev"], &lines[2]["seq"]), (&json!(NOTHING), &json!(3)));
        assert!(chained(&log));
        let head = std::fs::read_to_string(folder.0.join("head")).expect("the head");
        assert_eq!(end_of_head(&head).map(|(sequence, _)| sequence), Some(3));
    }

    #[test]
    fn the_chain_goes_on_in_the_next_file() {
        let folder = Folder::new("rotation");
        let mut audit = folder.audit();
        audit.write(&Entry::new("a")).expect("written");
        audit.rotate().expect("rotated");
        drop(audit);
        folder.audit().write(&Entry::new("b")).expect("written");
        let lines = folder.lines();
        let old = std::fs::read_to_string(folder.0.join("audit.log.1")).expect("the old file");
        let old: Value = serde_json::from_str(old.trim_end()).expect("JSON");
        assert_eq!((&lines[0]["seq"], &lines[0]["prev"]), (&json!(2), &old["hash"]));
    }

    #[test]
    fn a_text_of_a_stranger_has_an_end() {
        let entry = Entry::new("a").text("x", &"ä".repeat(1 << 20));
        let (line, _) = entry.line(1, 0, NOTHING, digest);
        assert!(line.len() < 5000);
    }
}
