//! Which certificates were issued, and which are revoked.

use std::io::ErrorKind;
use std::path::Path;

use casemate_spec::{Error, Result};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::place;

/// The list, in `pki/issued.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Issued {
    /// The number of the last revocation list: each has a higher one.
    pub list: u64,
    /// In the order in which they were issued.
    pub certificates: Vec<Certificate>,
}

/// One client's certificate.
#[derive(Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// In hexadecimal.
    pub serial: String,
    /// Who.
    pub name: String,
    /// Whose.
    pub tenant: String,
    /// What it may do.
    pub groups: Vec<String>,
    /// From when.
    pub issued: Date,
    /// Until when.
    pub expires: Date,
    /// Since when no longer.
    pub revoked: Option<Date>,
}

impl Issued {
    /// What is known; nothing before the first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(pki: &Path) -> Result<Self> {
        let path = pki.join("issued.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(path.display().to_string(), error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(path.display().to_string(), &error)),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, pki: &Path) -> Result<()> {
        let path = pki.join("issued.json");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(path.display().to_string(), error.to_string()))?;
        place::write(&path, &text, 0o600, None)
    }
}
