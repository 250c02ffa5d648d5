//! From the chosen policy to the verdict: enforced, or only tried.

use casemate_policy::{Admitted, Denied, HostFacts, judge};
use casemate_spec::{Config, Error, Result};

use super::Chosen;
use super::audit::Tried;
use crate::log;

/// Judges a configuration. Where the policy is only tried, the ceiling alone is enforced, and what the policy would
/// have done is there to be told.
///
/// # Errors
/// Everything that stands against the configuration.
pub fn judged(chosen: &Chosen, config: Config, host: &HostFacts) -> Result<(Admitted, Option<Tried>)> {
    let tried = chosen.audit.then(|| Tried::of(chosen, config.clone(), host));
    let admitted = judge(config, chosen.enforced(), host).map_err(denial)?;
    log::debug(format_args!("policy {}", chosen.why));
    for change in admitted.changes() {
        let (rule, field, asked, done) = (change.rule, &change.field, &change.asked, &change.enforced);
        log::debug(format_args!("policy rule {rule}: {field}: {done} in place of {asked}"));
    }
    Ok((admitted, tried))
}

fn denial(denied: Denied) -> Error {
    match denied.is_malformed() {
        true => Error::from(denied),
        false => {
            let error =
                Error::from(denied).hint("runtime check BUNDLE shows every protection and every rule");
            log::caused(error, log::Cause::Denied)
        }
    }
}
