//! What a recording saw: plain data, from which policy, profile and summary are written.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// No workload's paths or arguments fill our memory: what comes after so many different ones is only counted.
const MOST_FILES: usize = 20_000;
/// A profile takes no more rules for one call; one that needs more is not told apart.
pub const MOST_VALUES: usize = 64;

/// Everything that was seen.
#[derive(Debug, Default, Serialize)]
pub struct Seen {
    /// Calls by name.
    pub calls: BTreeMap<&'static str, Uses>,
    /// Files by their path in the container.
    pub files: BTreeMap<String, Access>,
    /// Device nodes that were opened: by number, in the form `c 1:3`, each with a path it was opened by.
    pub devices: BTreeMap<String, String>,
    /// TCP ports that were bound; 0 is one of the kernel's choice.
    pub bound: BTreeSet<u16>,
    /// TCP ports that were connected to.
    pub connected: BTreeSet<u16>,
    /// Capabilities by number, each with the call that first needed it.
    pub capabilities: BTreeMap<u8, &'static str>,
    /// The most memory that was in use, in bytes; 0 where that is not known.
    pub memory_peak: u64,
    /// The most processes and threads that were there when it was looked.
    pub processes_peak: u64,
    /// Whether the kernel told of capabilities.
    pub traced: bool,
    /// Whether some program entered the kernel as an i386 program does.
    pub i386: bool,
    /// Whether a program was executed that takes on another user's rights.
    pub set_id: Option<String>,
    /// What the recording could not see, or had to assume.
    pub notes: BTreeSet<String>,
    /// The container's mounts when the program began.
    #[serde(skip)]
    pub mounts: Vec<Mount>,
}

/// How a call was used.
#[derive(Debug, Default, Serialize)]
pub struct Uses {
    /// How often.
    pub count: u64,
    /// The program that first made it.
    pub first: String,
    /// Values of the argument that a profile tells apart; see [`super::calls::told`].
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<u64>,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Opened for reading.
    pub read: bool,
    /// Opened for writing, made, removed, renamed, or its attributes changed.
    pub written: bool,
    /// Executed.
    pub executed: bool,
    /// Made, removed or renamed, which changes the directory that it is in.
    pub moved: bool,
    /// It was there before the workload first touched it.
    pub existed: bool,
}

/// One of the container's mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is, in the container.
    pub path: String,
    /// Whether nothing can be written to it.
    pub read_only: bool,
    /// The type of its file system.
    pub kind: String,
}

impl Seen {
    /// Counts a call.
    pub fn call(&mut self, name: &'static str, value: Option<u64>, first: impl FnOnce() -> String) {
        let uses = self.calls.entry(name).or_insert_with(|| Uses { first: first(), ..Uses::default() });
        uses.count += 1;
        if let Some(value) = value
            && uses.values.len() <= MOST_VALUES
        {
            uses.values.insert(value);
        }
    }

    /// Adds to what was done with a file.
    pub fn file(&mut self, path: String, access: Access) {
        if self.files.len() >= MOST_FILES && !self.files.contains_key(&path) {
            self.note(format!("more than {MOST_FILES} different files: the rest is not in this recording"));
            return;
        }
        let fresh = Access { existed: access.existed, ..Access::default() };
        let known = self.files.entry(path).or_insert(fresh);
        known.read |= access.read;
        known.written |= access.written;
        known.executed |= access.executed;
        known.moved |= access.moved && access.written;
    }

    /// Something that the reader of the policy must know.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.insert(text.into());
    }

    /// The mount that `path` is in.
    pub fn mount_of(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().filter(|mount| is_beneath(path, &mount.path)).max_by_key(|mount| mount.path.len())
    }
}

/// Whether `path` is `directory` or in it; both absolute.
pub fn is_beneath(path: &str, directory: &str) -> bool {
    directory == "/"
        || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads mountinfo (proc_pid_mountinfo(5)). Of two mounts in one place the later one is what is seen.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut fields = before.split(' ').skip(4);
        let (Some(path), Some(options)) = (fields.next(), fields.next()) else { continue };
        let mut behind = after.split(' ');
        let kind = behind.next().unwrap_or_default().to_owned();
        let of_file_system = behind.nth(1).unwrap_or_default();
        let read_only = [options, of_file_system].iter().any(|options| options.split(',').any(|o| o == "ro"));
        let path = unescaped(path);
        mounts.retain(|mount| mount.path != path);
        mounts.push(Mount { path, read_only, kind });
    }
    mounts
}

/// Blanks are octal there.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let text = "1 0 0:1 / / ro,relatime - overlay o rw\n2 1 0:2 / /data rw - ext4 /dev/vda rw\n\
                    3 1 0:3 / /data/a\\040b ro - tmpfs t ro\n4 1 0:4 / /data rw - tmpfs t rw\n";
        let seen = Seen { mounts: mounts(text), ..Seen::default() };
        let at = |path: &str| seen.mount_of(path).map(|m| (m.path.as_str(), m.read_only, m.kind.as_str()));
        assert_eq!(at("/etc/x"), Some(("/", true, "overlay")));
        assert_eq!(at("/data/x"), Some(("/data", false, "tmpfs")));
        assert_eq!(at("/database"), Some(("/", true, "overlay")));
        assert_eq!(at("/data/a b/c"), Some(("/data/a b", true, "tmpfs")));
    }

    #[test]
    fn neither_files_nor_values_grow_without_end() {
        let mut seen = Seen::default();
        for number in 0..100_000_u64 {
            seen.file(format!("/{number}"), Access { read: true, ..Access::default() });
            seen.call("ioctl", Some(number), String::new);
        }
        assert_eq!(seen.files.len(), MOST_FILES);
        assert_eq!(seen.calls["ioctl"].values.len(), MOST_VALUES + 1);
        assert_eq!(seen.notes.len(), 1);
    }
}
