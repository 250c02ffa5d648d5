//! `exec`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{ExecArgs, Global};

/// Runs the command.
///
/// # Errors
/// Always, until the core is there.
pub fn exec(_global: &Global, _args: &ExecArgs) -> Result<ExitCode> {
    Err(Error::new("exec", "this build has no core"))
}
