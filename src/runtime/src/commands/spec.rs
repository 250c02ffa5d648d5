//! `spec`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use serde::Serialize;

use crate::cli::{Global, SpecArgs};
use crate::example;

/// Writes a starter `config.json`; never over one that is there.
///
/// # Errors
/// There is one already; the kernel's.
pub fn spec(_global: &Global, args: &SpecArgs) -> Result<ExitCode> {
    let path = match &args.bundle {
        Some(bundle) => bundle.join("config.json"),
        None => "config.json".into(),
    };
    let failed = |error: std::io::Error| Error::io(format!("write {}", path.display()), &error);
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    example::example_spec(args.rootless)
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))
        .map_err(|error| Error::new("write config.json", error.to_string()))?;
    text.push(b'\n');
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new("", format!("file {} exists. Remove it first", path.display())));
        }
        other => other.map_err(failed)?,
    };
    file.write_all(&text).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
