//! `create`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{CreateArgs, Global};

/// Runs the command.
///
/// # Errors
/// Always, until the core is there.
pub fn create(_global: &Global, _args: &CreateArgs) -> Result<ExitCode> {
    Err(Error::new("create", "this build has no core"))
}
