//! `record`: watches a bundle's process, and writes the tightest policy for it.

use std::process::ExitCode;

use casemate_spec::Result;

use crate::cli::{Global, RecordArgs};

/// Records; its exit code is the program's, or 0 when it was asked to end.
///
/// # Errors
/// The bundle cannot be run, or the policy cannot be written.
pub fn record(global: &Global, args: &RecordArgs) -> Result<ExitCode> {
    crate::record::record(global, args)
}
