//! The gate: a configuration becomes admitted here or nowhere.
//!
//! Holds: judging of (configuration, policy, host facts).
//! Never: I/O, privilege.
//! Imports: `spec`.
//! If broken: a container starts with more than the operator allows.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

use std::fmt;
use std::str::FromStr;

use casemate_spec::{Config, Error, Host, Violation};

/// Who decides what a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The bundle to the letter: nothing added, nothing taken. For conformance suites, and for engines whose
    /// own policy the operator trusts.
    Oci,
}

impl Policy {
    /// Every policy there is.
    pub const ALL: [Self; 1] = [Self::Oci];

    /// The name by which the command line and the host's configuration choose it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
        }
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::new(format!("policy {name:?}"), "there is no such policy").hint(format!("known: {known}"))
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What judging needs to know of the host. Gathered by the caller: this crate does no I/O.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// What the specification's own rules depend on.
    pub host: Host,
}

/// One thing the policy made tighter than the bundle asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The policy's rule that did it.
    pub rule: &'static str,
    /// Where in the configuration.
    pub field: String,
    /// What the bundle asked for.
    pub asked: String,
    /// What will be enforced.
    pub enforced: String,
}

/// A configuration that passed the gate. Nothing but [`judge`] makes one, and only an `Admitted` becomes a plan.
#[derive(Debug)]
pub struct Admitted {
    config: Config,
    policy: Policy,
    changes: Vec<Change>,
}

impl Admitted {
    /// The configuration to enforce, changes applied.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The policy that admitted it.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Every difference between what was asked and what is enforced; always empty under [`Policy::Oci`].
    pub fn changes(&self) -> &[Change] {
        &self.changes
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
    match policy {
        Policy::Oci => Ok(Admitted { config, policy: *policy, changes: Vec::new() }),
    }
}

#[cfg(test)]
mod tests;
