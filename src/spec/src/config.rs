//! `config.json`, `exec`'s process document and `update`'s resources: bytes to typed, once.
//!
//! Bytes become a tree of values within bounds (`tree`), the tree is made to fit the types (`tidy`, by the list
//! of known properties in `shape`), and the types are filled from it. What goes wrong is said in one line
//! with its place (`fault`).

mod fault;
mod path;
mod shape;
mod tidy;
mod tree;

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use self::path::Shown;
use self::shape::Shape;
pub use self::tree::{MAX_DEPTH, MAX_VALUES};
use crate::{Error, Result};

/// The largest document accepted, in bytes: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// A configuration as it was written: typed, but not yet judged.
///
/// Only [`parse`] makes one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The typed document (OCI runtime specification 1.3). Text that means "absent" when empty is absent here.
    pub spec: Spec,
    /// What was in the document and is not honoured: unknown properties and capabilities, each with its path.
    /// The specification has a runtime ignore them ("Extensibility"); they are reported at debug level.
    pub ignored: Vec<String>,
}

/// Parses a bundle's `config.json`.
///
/// # Errors
/// One line that says where: `config.json: process.args[2]: expected a string, found integer `5``.
pub fn parse(bytes: &[u8]) -> Result<Config> {
    let (spec, ignored) = read(bytes, &shape::SPEC, complete_spec).map_err(|e| within("config.json", e))?;
    Ok(Config { spec, ignored })
}

/// Parses the document of `exec --process`.
///
/// # Errors
/// As [`parse`], with `process.json` before the path.
pub fn parse_process(bytes: &[u8]) -> Result<Process> {
    let (process, _) =
        read(bytes, &shape::PROCESS, complete_process).map_err(|e| within("process.json", e))?;
    Ok(process)
}

/// Parses the document of `update --resources`.
///
/// # Errors
/// As [`parse`], with `resources.json` before the path.
pub fn parse_resources(bytes: &[u8]) -> Result<LinuxResources> {
    let (resources, _) = read(bytes, &shape::RESOURCES, |_| {}).map_err(|e| within("resources.json", e))?;
    Ok(resources)
}

fn read<T: for<'de> Deserialize<'de>>(
    bytes: &[u8],
    shape: &Shape,
    complete: fn(&mut Map<String, Value>),
) -> Result<(T, Vec<String>)> {
    if bytes.len() > MAX_BYTES {
        return Err(fault::too_large(MAX_BYTES));
    }
    let mut notes = Vec::new();
    let mut value = tree::read(bytes, &mut notes).map_err(|e| fault::syntax(&e))?;
    tidy::tidy(&mut value, shape, &mut notes)?;
    match &mut value {
        Value::Object(map) => complete(map),
        other => return Err(fault::not_an_object(other)),
    }
    let typed = T::deserialize(&value).map_err(|e| fault::mismatch::<T>(&value, &e))?;
    Ok((typed, notes))
}

fn complete_spec(spec: &mut Map<String, Value>) {
    if let Some(Value::Object(process)) = spec.get_mut("process") {
        complete_process(process);
    }
}

/// The types want a user where the specification's schema, and every runtime, take root for granted.
fn complete_process(process: &mut Map<String, Value>) {
    process.entry("user").or_insert_with(|| Value::Object(Map::new()));
}

fn within(document: &str, error: Error) -> Error {
    error.within(document)
}

#[cfg(test)]
mod tests;
