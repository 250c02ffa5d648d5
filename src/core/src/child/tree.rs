//! Mount trees of the host, detached: opened by the parent, or by a child that has the right its parent lacks.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::Hands;
use super::mounts::instance;
use crate::plan::{Plan, Source};
use crate::report::{Fault, Stage};

/// A detached mount tree.
#[derive(Debug)]
pub struct Tree {
    /// Its detached root.
    pub fd: OwnedFd,
    /// It is a directory.
    pub directory: bool,
}

impl Tree {
    /// Clones what the source names in the caller's mount namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` over that namespace (open_tree(2)), else what the path walk says.
    pub fn open(source: &Source) -> Result<Self, Errno> {
        if let Some(kind) = &source.instance {
            return Self::of(instance(kind, std::iter::empty())?);
        }
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if source.recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        Self::of(open_tree(CWD, &source.path, flags)?)
    }

    /// A tree that is open already.
    ///
    /// # Errors
    /// fstat(2).
    pub fn of(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?;
        Ok(Self { fd, directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory })
    }
}

/// Opens the sources that the parent was not permitted to: a rootless one has no right over the host's mount
/// namespace, while the child has it over its own copy. The child still walks as the caller's user. A relay mounts what
/// shows the namespaces that it has joined, and that alone.
pub(super) fn open_rest(plan: &Plan, hands: &Hands, instances_only: bool) -> Result<(), Fault> {
    let pairs = plan.sources.iter().zip(&hands.trees).enumerate();
    let pairs = pairs.filter(|(_, (source, _))| source.instance.is_some() || !instances_only);
    for (index, (source, tree)) in pairs.filter(|(_, (_, tree))| tree.get().is_none()) {
        match Tree::open(source) {
            Err(_absent) if source.optional => {}
            Err(errno) => return Err(Stage::Source.fault_at(index, errno)),
            // Only ever done for an empty one.
            Ok(opened) => drop(tree.get_or_init(|| opened)),
        }
    }
    Ok(())
}
