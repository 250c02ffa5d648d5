//! The words themselves.

use super::PropagationKind::{Private, Shared, Slave, Unbindable};
use super::{Bind, PropagationKind, attr, superblock};

/// What one option word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Says what is so anyway.
    Nothing,
    /// Sets mount attributes.
    Set(u64),
    /// Clears mount attributes.
    Clear(u64),
    /// Chooses an access time mode.
    Atime(u64),
    /// Leaves an access time mode for the default, relatime.
    NotAtime(u64),
    /// As `Set`, all mounts beneath too.
    RecursiveSet(u64),
    /// As `Clear`, all mounts beneath too.
    RecursiveClear(u64),
    /// As `Atime`, all mounts beneath too.
    RecursiveAtime(u64),
    /// As `NotAtime`, all mounts beneath too.
    RecursiveNotAtime(u64),
    /// Sets superblock flags.
    Superblock(u64),
    /// Clears superblock flags.
    NotSuperblock(u64),
    /// Concerns the mount and the superblock alike.
    ReadOnly(bool),
    /// Grafts a path.
    Bind(Bind),
    /// Changes propagation; true with all mounts beneath.
    Propagate(PropagationKind, bool),
    /// Maps ids; true with all mounts beneath.
    Idmap(bool),
    /// Copies what the mount point held.
    Tmpcopyup,
    /// Changes an existing mount.
    Remount,
}

/// Every word, sorted by name.
const WORDS: &[(&str, Word)] = &[
    ("acl", Word::Superblock(superblock::POSIXACL)),
    ("async", Word::NotSuperblock(superblock::SYNCHRONOUS)),
    ("atime", Word::NotAtime(attr::NOATIME)),
    ("bind", Word::Bind(Bind::One)),
    ("defaults", Word::Nothing),
    ("dev", Word::Clear(attr::NODEV)),
    ("diratime", Word::Clear(attr::NODIRATIME)),
    ("dirsync", Word::Superblock(superblock::DIRSYNC)),
    ("exec", Word::Clear(attr::NOEXEC)),
    ("idmap", Word::Idmap(false)),
    ("iversion", Word::Superblock(superblock::I_VERSION)),
    ("lazytime", Word::Superblock(superblock::LAZYTIME)),
    ("loud", Word::NotSuperblock(superblock::SILENT)),
    ("mand", Word::Superblock(superblock::MANDLOCK)),
    ("noacl", Word::NotSuperblock(superblock::POSIXACL)),
    ("noatime", Word::Atime(attr::NOATIME)),
    ("nodev", Word::Set(attr::NODEV)),
    ("nodiratime", Word::Set(attr::NODIRATIME)),
    ("nodirsync", Word::NotSuperblock(superblock::DIRSYNC)),
    ("noexec", Word::Set(attr::NOEXEC)),
    ("noiversion", Word::NotSuperblock(superblock::I_VERSION)),
    ("nolazytime", Word::NotSuperblock(superblock::LAZYTIME)),
    ("nomand", Word::NotSuperblock(superblock::MANDLOCK)),
    // Not relatime is the default, which is relatime: there is no third mode for it to choose.
    ("norelatime", Word::Nothing),
    ("nostrictatime", Word::NotAtime(attr::STRICTATIME)),
    ("nosuid", Word::Set(attr::NOSUID)),
    ("nosymfollow", Word::Set(attr::NOSYMFOLLOW)),
    ("private", Word::Propagate(Private, false)),
    ("ratime", Word::RecursiveNotAtime(attr::NOATIME)),
    ("rbind", Word::Bind(Bind::Recursive)),
    ("rdev", Word::RecursiveClear(attr::NODEV)),
    ("rdiratime", Word::RecursiveClear(attr::NODIRATIME)),
    ("relatime", Word::Atime(0)),
    ("remount", Word::Remount),
    ("rexec", Word::RecursiveClear(attr::NOEXEC)),
    ("ridmap", Word::Idmap(true)),
    ("rnoatime", Word::RecursiveAtime(attr::NOATIME)),
    ("rnodev", Word::RecursiveSet(attr::NODEV)),
    ("rnodiratime", Word::RecursiveSet(attr::NODIRATIME)),
    ("rnoexec", Word::RecursiveSet(attr::NOEXEC)),
    ("rnorelatime", Word::Nothing),
    ("rnostrictatime", Word::RecursiveNotAtime(attr::STRICTATIME)),
    ("rnosuid", Word::RecursiveSet(attr::NOSUID)),
    ("rnosymfollow", Word::RecursiveSet(attr::NOSYMFOLLOW)),
    ("ro", Word::ReadOnly(true)),
    ("rprivate", Word::Propagate(Private, true)),
    ("rrelatime", Word::RecursiveAtime(0)),
    ("rro", Word::RecursiveSet(attr::RDONLY)),
    ("rrw", Word::RecursiveClear(attr::RDONLY)),
    ("rshared", Word::Propagate(Shared, true)),
    ("rslave", Word::Propagate(Slave, true)),
    ("rstrictatime", Word::RecursiveAtime(attr::STRICTATIME)),
    ("rsuid", Word::RecursiveClear(attr::NOSUID)),
    ("rsymfollow", Word::RecursiveClear(attr::NOSYMFOLLOW)),
    ("runbindable", Word::Propagate(Unbindable, true)),
    ("rw", Word::ReadOnly(false)),
    ("shared", Word::Propagate(Shared, false)),
    ("silent", Word::Superblock(superblock::SILENT)),
    ("slave", Word::Propagate(Slave, false)),
    ("strictatime", Word::Atime(attr::STRICTATIME)),
    ("suid", Word::Clear(attr::NOSUID)),
    ("symfollow", Word::Clear(attr::NOSYMFOLLOW)),
    ("sync", Word::Superblock(superblock::SYNCHRONOUS)),
    ("tmpcopyup", Word::Tmpcopyup),
    ("unbindable", Word::Propagate(Unbindable, false)),
];

/// The meaning of `word`, or none: then it is the file system's own.
pub(super) fn lookup(word: &str) -> Option<Word> {
    let at = WORDS.binary_search_by(|(name, _)| (*name).cmp(word)).ok()?;
    WORDS.get(at).map(|(_, meaning)| *meaning)
}

/// Every word there is, sorted: what `features` reports.
pub fn names() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_word_is_found() {
        assert!(WORDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, meaning) in WORDS {
            assert_eq!(lookup(name), Some(*meaning));
        }
    }
}
