//! The pool of id ranges: every container with a user namespace of its own gets 65,536 host ids that no other
//! container has.
//!
//! | entry of the pool's directory | what it is |
//! |---|---|
//! | `<first id>` | a taken range: a symbolic link whose text is a [`claim::Claim`], the home of the container that has it |
//! | `next` | where the search for a free range begins, so that a range that was given back rests as long as possible |
//!
//! A link is made whole or not at all by one system call, so no crash leaves half an entry. The directory itself is
//! `flock(2)`ed while a range is looked for or given back. A range of a `create` that was killed is taken back by
//! whoever comes across it in that search: there is nobody else to do it, and nothing to be done before.
//!
//! There is one pool on a host, whatever `--root` says: the kernel knows ids, not roots.

mod avoided;
mod claim;
mod obstacle;
mod pool;

#[cfg(test)]
mod tests;

pub use obstacle::obstacle;
pub use pool::{Pool, Settings, release_all};

use std::path::{Path, PathBuf};

use casemate_core::plan::{IdMap, Maps};
use casemate_spec::Result;
use serde::{Deserialize, Serialize};

/// Host ids that one container has to itself: users and groups alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Range {
    /// The host id of the container's id 0.
    pub first: u32,
    /// How many ids: [`Range::SIZE`].
    pub size: u32,
    /// The pool it came from, so that it finds back there after the host's configuration has changed.
    pub pool: PathBuf,
}

impl Range {
    /// As many as the ids of 16 bits, which is what images are made of.
    pub const SIZE: u32 = 65_536;

    /// The range as the maps of a user namespace.
    pub fn maps(&self) -> Maps {
        let map = vec![IdMap { inside: 0, outside: self.first, count: self.size }];
        Maps { uids: map.clone(), gids: map }
    }

    /// That of a store in a user namespace: its containers have it together, and it is in no pool.
    pub fn shared(first: u32) -> Self {
        Self { first, size: Self::SIZE, pool: PathBuf::new() }
    }

    /// See [`Range::shared`].
    pub fn is_shared(&self) -> bool {
        self.pool.as_os_str().is_empty()
    }

    /// Gives the range back. To be called under the lock of the container's home, before the home is removed, and
    /// once nothing of the container runs; calling it again, after a crash for instance, does nothing.
    ///
    /// # Errors
    /// The pool's directory is not to be trusted, or the kernel's.
    pub fn release(&self, home: &Path) -> Result<()> {
        if self.is_shared() { Ok(()) } else { pool::release(self, home) }
    }
}
