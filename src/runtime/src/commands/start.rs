//! `start`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{Global, IdArgs};

/// Runs the command.
///
/// # Errors
/// Always, until the core is there.
pub fn start(_global: &Global, _args: &IdArgs) -> Result<ExitCode> {
    Err(Error::new("start", "this build has no core"))
}
