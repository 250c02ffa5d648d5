//! Volumes, and files that go in and out of containers.

use crate::Result;
use crate::db::Db;

/// The volumes of all tenants.
#[derive(Debug, Default)]
pub struct Volumes {}

impl Volumes {
    /// Reads what is known of them.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn load(_db: &Db) -> Result<Self> {
        Ok(Self::default())
    }
}
