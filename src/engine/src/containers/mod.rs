//! Containers: what was asked of them, and what is known of them.

use crate::Result;
use crate::db::Db;

/// The containers of all tenants.
#[derive(Debug, Default)]
pub struct Containers {}

impl Containers {
    /// Reads what is known of them.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn load(_db: &Db) -> Result<Self> {
        Ok(Self::default())
    }
}
