//! `policy`: which policies there are, and what one comes to.

use std::process::ExitCode;

use casemate_spec::Result;

use crate::choice::Policies;
use crate::cli::{Global, PolicyArgs, PolicyVerb};

/// Runs `policy list` or `policy show`.
///
/// # Errors
/// There is no such policy, or it is malformed.
pub fn policy(global: &Global, args: &PolicyArgs) -> Result<ExitCode> {
    let mut policies = Policies::on(global);
    match &args.verb {
        PolicyVerb::List => {
            let names = policies.names()?;
            super::print(&names.iter().fold(String::new(), |text, name| text + name + "\n"))
        }
        PolicyVerb::Show { policy } => super::print(&policies.find(policy)?.to_toml()),
    }
}
