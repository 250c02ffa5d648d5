//! A mount's options, read: later words win over earlier ones.

use super::table::{self, Word};
use super::{attr, superblock};

/// Whether a bind mount takes the mounts beneath its source along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// `bind`: the source alone.
    One,
    /// `rbind`: the source and all beneath it.
    Recursive,
}

/// How ids are mapped on a mount that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idmap {
    /// `ridmap`: the mounts beneath too.
    pub recursive: bool,
}

/// How mount events travel between this mount and its peers (`mount_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationKind {
    /// Events go both ways.
    Shared,
    /// Events come in but do not go out.
    Slave,
    /// No events.
    Private,
    /// No events, and no bind mount of it.
    Unbindable,
}

/// One propagation change, applied in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// What to change to.
    pub kind: PropagationKind,
    /// `r*`: the mounts beneath too.
    pub recursive: bool,
}

/// What a list of option words means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `MOUNT_ATTR_*` to set on this mount. Disjoint from `clear`, but for [`attr::ATIME_FIELD`], which
    /// `clear` holds whole whenever an access time mode is chosen, as `mount_setattr(2)` wants it.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear on this mount: the words said so, as `rw` or `suid` do.
    pub clear: u64,
    /// As `set`, for this mount and all beneath it (`rro`, `rnosuid`, …; Linux 5.12).
    pub rec_set: u64,
    /// As `clear`, for this mount and all beneath it.
    pub rec_clear: u64,
    /// `bind` or `rbind`: the source is a path to graft, not a file system to make.
    pub bind: Option<Bind>,
    /// Propagation changes, in order, after the mount is attached.
    pub propagation: Vec<Propagation>,
    /// `idmap` or `ridmap`.
    pub idmap: Option<Idmap>,
    /// Fill a tmpfs with what its mount point held.
    pub tmpcopyup: bool,
    /// Change an existing mount in place.
    pub remount: bool,
    /// `MS_*` of the superblock (module [`superblock`]) to set.
    pub fs_flags: u64,
    /// `MS_*` of the superblock that the words turned off; matters for `remount` alone.
    pub fs_clear: u64,
    /// Options of the file system itself, in order: `fsconfig(2)` keys with or without a value.
    pub data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    /// Reads option words. Every word has a meaning: what is not in the table is the file system's own.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Self {
        let mut options = Self::default();
        for word in words {
            for part in split_outside_quotes(word.as_ref()) {
                options.apply(part);
            }
        }
        options
    }

    /// The superblock flags as `fsconfig(2)` flag keys. `silent`, `iversion` and `acl` have none: the kernel
    /// takes them from `mount(2)` alone, and file systems that know them have them as keys of their own.
    pub fn fs_keys(&self) -> impl Iterator<Item = &'static str> {
        const KEYS: [(u64, &str); 5] = [
            (superblock::RDONLY, "ro"),
            (superblock::SYNCHRONOUS, "sync"),
            (superblock::DIRSYNC, "dirsync"),
            (superblock::MANDLOCK, "mand"),
            (superblock::LAZYTIME, "lazytime"),
        ];
        let flags = self.fs_flags;
        KEYS.into_iter().filter(move |(bit, _)| flags & bit != 0).map(|(_, key)| key)
    }

    fn apply(&mut self, word: &str) {
        match table::lookup(word) {
            Some(Word::Nothing) => {}
            Some(Word::Set(bits)) => switch(&mut self.set, &mut self.clear, bits, true),
            Some(Word::Clear(bits)) => switch(&mut self.set, &mut self.clear, bits, false),
            Some(Word::Atime(mode)) => choose_atime(&mut self.set, &mut self.clear, mode),
            Some(Word::NotAtime(mode)) => leave_atime(&mut self.set, &mut self.clear, mode),
            Some(Word::RecursiveSet(bits)) => switch(&mut self.rec_set, &mut self.rec_clear, bits, true),
            Some(Word::RecursiveClear(bits)) => switch(&mut self.rec_set, &mut self.rec_clear, bits, false),
            Some(Word::RecursiveAtime(mode)) => choose_atime(&mut self.rec_set, &mut self.rec_clear, mode),
            Some(Word::RecursiveNotAtime(mode)) => leave_atime(&mut self.rec_set, &mut self.rec_clear, mode),
            Some(Word::Superblock(bits)) => switch(&mut self.fs_flags, &mut self.fs_clear, bits, true),
            Some(Word::NotSuperblock(bits)) => switch(&mut self.fs_flags, &mut self.fs_clear, bits, false),
            Some(Word::ReadOnly(on)) => {
                switch(&mut self.set, &mut self.clear, attr::RDONLY, on);
                switch(&mut self.fs_flags, &mut self.fs_clear, superblock::RDONLY, on);
            }
            Some(Word::Bind(bind)) => self.bind = Some(bind),
            Some(Word::Propagate(kind, recursive)) => self.propagation.push(Propagation { kind, recursive }),
            Some(Word::Idmap(recursive)) => self.idmap = Some(Idmap { recursive }),
            Some(Word::Tmpcopyup) => self.tmpcopyup = true,
            Some(Word::Remount) => self.remount = true,
            None => self.data.extend(own_option(word)),
        }
    }
}

/// Moves `bits` to the side the latest word put them on.
fn switch(set: &mut u64, clear: &mut u64, bits: u64, on: bool) {
    if on {
        *set |= bits;
        *clear &= !bits;
    } else {
        *set &= !bits;
        *clear |= bits;
    }
}

/// Access time modes are values of one field: choosing one takes the place of the other.
fn choose_atime(set: &mut u64, clear: &mut u64, mode: u64) {
    *set = (*set & !attr::ATIME_FIELD) | mode;
    *clear |= attr::ATIME_FIELD;
}

/// `atime` undoes noatime and `nostrictatime` undoes strictatime; neither touches the other mode.
fn leave_atime(set: &mut u64, clear: &mut u64, mode: u64) {
    if *set & attr::ATIME_FIELD == mode || *set & attr::ATIME_FIELD == 0 {
        choose_atime(set, clear, 0);
    }
}

/// A file system's own option. SELinux contexts may hold commas and come in quotes, which `mount(2)` strips
/// and `fsconfig(2)` does not.
fn own_option(word: &str) -> Option<(String, Option<String>)> {
    match word.split_once('=') {
        _ if word.is_empty() => None,
        Some((key, value)) => {
            let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            Some((key.to_owned(), Some(bare.to_owned())))
        }
        None => Some((word.to_owned(), None)),
    }
}

/// One word may hold several options: `mount(2)` splits its data at commas, and bundles rely on it.
fn split_outside_quotes(word: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    word.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}
