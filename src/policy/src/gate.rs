//! Judging: the one place that makes an [`Admitted`].

use std::fmt;

use casemate_spec::{Config, Error, Violation};

use crate::{Change, Confinement, HostFacts, Policy, Protection};

/// A configuration that passed the gate. Nothing but [`judge`] makes one, and only an `Admitted` becomes a plan.
#[derive(Debug)]
pub struct Admitted {
    config: Config,
    policy: Policy,
    changes: Vec<Change>,
    confinement: Confinement,
    protections: Vec<Protection>,
}

impl Admitted {
    /// The configuration to enforce, changes applied.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The policy that admitted it.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every difference between what was asked and what is enforced; always empty under `oci`.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What is enforced beside the configuration; nothing under `oci`.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Every protection, changed or not, in a fixed order.
    pub fn protections(&self) -> &[Protection] {
        &self.protections
    }
}

/// Why a configuration was refused: every violation, not only the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    violations: Vec<Violation>,
}

impl Denied {
    /// Everything that stands against the configuration; never empty.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // More than anybody reads at once; all of them are in `violations`.
        const SHOWN: usize = 20;
        for (index, violation) in self.violations.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        match self.violations.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Denied {}

/// One line, since engines show their users a runtime's last line.
impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Error::new("config.json", denied.to_string())
    }
}

/// Admits `config` under `policy`, or says everything that stands against it.
///
/// # Errors
/// [`Denied`], when a rule of the OCI specification or of the policy is broken.
pub fn judge(config: Config, policy: &Policy, host: &HostFacts) -> Result<Admitted, Denied> {
    let violations = casemate_spec::validate(&config, &host.host);
    if !violations.is_empty() {
        return Err(Denied { violations });
    }
    let (changes, protections) = (Vec::new(), Vec::new());
    let confinement = Confinement::default();
    Ok(Admitted { config, policy: policy.clone(), changes, confinement, protections })
}
