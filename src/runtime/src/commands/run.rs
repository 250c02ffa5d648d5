//! `run`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{Global, RunArgs};

/// Runs the command.
///
/// # Errors
/// Always, until the core is there.
pub fn run(_global: &Global, _args: &RunArgs) -> Result<ExitCode> {
    Err(Error::new("run", "this build has no core"))
}
