//! Which policy a container is under, and what is said about its verdict.
//!
//! | asked by | may choose |
//! |---|---|
//! | the command line (`--policy`) | any policy, by name or file |
//! | the host's configuration (`policy`) | the one for whoever names none |
//! | the annotation `io.casemate.policy` | what is stricter; another only if the host lists it as `selectable` |
//!
//! Whatever was chosen is met with the host's `ceiling`, which nothing lifts.

mod audit;
mod facts;
mod gate;
mod host;
mod limits;
mod policies;
mod store;
mod trusted;

use std::collections::HashMap;

use casemate_policy::{Builtin, Policy};
use casemate_spec::{Error, Result};

pub use audit::Tried;
pub use facts::facts;
pub use gate::judged;
pub use host::HostConfig;
pub use limits::bounded;
pub use policies::Policies;
pub use store::StoreDocument;

use crate::cli::Global;
use crate::store::{Container, POLICY};

/// The annotation that names a policy.
pub const ANNOTATION: &str = "io.casemate.policy";

/// The policy of one container, and who chose it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// What it is judged by.
    pub policy: Policy,
    /// Whether that is only tried: what it would change or refuse is logged, and passes.
    pub audit: bool,
    /// What holds even where a policy is only tried.
    pub ceiling: Policy,
    /// Who chose, such as `hardened (host configuration)`.
    pub why: String,
    /// The host's configuration.
    pub host: HostConfig,
}

impl Chosen {
    /// What is enforced: the policy, or the ceiling alone where the policy is only tried.
    pub fn enforced(&self) -> &Policy {
        if self.audit { &self.ceiling } else { &self.policy }
    }
}

/// Chooses the policy of a configuration with these annotations.
///
/// # Errors
/// A policy that is not there or malformed, or a file that somebody else could have written.
pub fn choose(global: &Global, annotations: Option<&HashMap<String, String>>) -> Result<Chosen> {
    let host = HostConfig::load(global)?;
    let mut policies = Policies::on(global);
    let (mut policy, mut why) = match (&global.policy, &host.policy) {
        (Some(asked), _) => (policies.find(asked)?, format!("{asked} (command line)")),
        (None, Some(name)) => {
            let policy = policies.named(name).map_err(|error| error.within("runtime.toml: policy"))?;
            (policy, format!("{name} (host configuration)"))
        }
        (None, None) => (policies.named(HostConfig::POLICY)?, format!("{} (default)", HostConfig::POLICY)),
    };
    if let Some(name) = annotations.and_then(|annotations| annotations.get(ANNOTATION)) {
        // By name only: whoever wrote the request must not have files read with our rights.
        let asked = policies.named(name).map_err(|error| error.within(format!("annotation {ANNOTATION}")))?;
        if host.selectable.contains(name) {
            (policy, why) = (asked, format!("{name} (annotation)"));
        } else {
            (policy, why) = (policy.meet(&asked), format!("{why} and {name} (annotation)"));
        }
    }
    let ceiling = ceiling(&mut policies, &host)?;
    if let Some(name) = &host.ceiling {
        policy = policy.meet(&ceiling);
        why = format!("{why}, never weaker than {name} (ceiling)");
    }
    Ok(Chosen { policy, audit: global.audit || host.audit, ceiling, why, host })
}

/// The policy that a container was made under, for what happens to it later; the ceiling is today's.
///
/// # Errors
/// As [`choose`]; the policy that was kept is malformed.
pub fn kept(global: &Global, container: &Container) -> Result<Chosen> {
    let record = container.record();
    let lost = || Error::new(POLICY, "the container has lost its copy");
    let document = container.home().read(POLICY)?.ok_or_else(lost)?;
    let document = String::from_utf8(document).map_err(|_| Error::new(POLICY, "not UTF-8"))?;
    let host = HostConfig::load(global)?;
    let mut policies = Policies::on(global);
    let made = casemate_policy::load(&document, POLICY, &mut Builtin)?;
    let ceiling = ceiling(&mut policies, &host)?;
    let policy = if host.ceiling.is_some() { made.meet(&ceiling) } else { made };
    Ok(Chosen { policy, audit: record.audit, ceiling, why: record.chosen.clone(), host })
}

fn ceiling(policies: &mut Policies, host: &HostConfig) -> Result<Policy> {
    match &host.ceiling {
        Some(name) => policies.named(name).map_err(|error| error.within("runtime.toml: ceiling")),
        None => Ok(Policy::oci()),
    }
}
