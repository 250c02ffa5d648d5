//! `policy`: which policies there are, and what one comes to.

use std::process::ExitCode;

use casemate_spec::Result;

use super::table::Table;
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
            let mut table = Table::new(["POLICY", "DESCRIPTION"], [64, 80]);
            for name in policies.names()? {
                // One that is no good hides none of the others.
                let description = match policies.named(&name) {
                    Ok(policy) => policy.description().to_owned(),
                    Err(error) => format!("no good: {error}"),
                };
                table.row([name, description]);
            }
            super::print(&table.text())
        }
        PolicyVerb::Show { policy } => super::print(&policies.find(policy)?.to_toml()),
    }
}
