//! `features`: the OCI specification's "Features Structure".

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{Global, NoArgs};

/// Prints what this runtime supports.
///
/// # Errors
/// Standard output cannot be written to.
pub fn features(_global: &Global, _args: &NoArgs) -> Result<ExitCode> {
    let text = serde_json::to_string_pretty(&crate::features::features())
        .map_err(|error| Error::new("print features", error.to_string()))?;
    super::print(&(text + "\n"))
}
