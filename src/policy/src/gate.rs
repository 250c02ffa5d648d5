//! Judging: the one place that makes an [`Admitted`].

use std::fmt;

use casemate_spec::{Config, Error, Violation};
use oci_spec::runtime::{Linux, LinuxIdMappingBuilder, LinuxNamespaceType};

use crate::judge::{Case, takes_range};
use crate::protections::{self, View};
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
    policy: String,
    violations: Vec<Violation>,
    changes: Vec<Change>,
    protections: Vec<Protection>,
}

impl Denied {
    /// Everything that stands against the configuration; never empty. Rules of the OCI specification have names that
    /// begin with `oci/`.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What would have been made tighter; empty when the configuration is malformed.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Every protection as it would have been; empty when the configuration is malformed.
    pub fn protections(&self) -> &[Protection] {
        &self.protections
    }

    /// The name of the policy that was asked.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Whether the configuration is malformed, under whatever policy: all violations are of the specification then.
    pub fn is_malformed(&self) -> bool {
        self.violations.iter().any(|violation| violation.rule.starts_with("oci/"))
    }

    fn malformed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // More than anybody reads at once; all of them are in `violations`.
        const SHOWN: usize = 20;
        for (index, violation) in self.violations.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        and_more(f, self.violations.len().saturating_sub(SHOWN))
    }

    fn refused(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One readable sentence: engines show it to their users.
        const SHOWN: usize = 3;
        for (index, violation) in self.violations.iter().take(SHOWN).enumerate() {
            let Violation { field, asked, allowed, .. } = violation;
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {asked} is refused, expected {allowed}")?;
            if let Some(remedy) = &violation.remedy {
                write!(f, " (to allow it: {remedy})")?;
            }
        }
        and_more(f, self.violations.len().saturating_sub(SHOWN))
    }
}

fn and_more(f: &mut fmt::Formatter<'_>, more: usize) -> fmt::Result {
    match more {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_malformed() {
            true => self.malformed(f),
            false => self.refused(f),
        }
    }
}

impl std::error::Error for Denied {}

/// One line, since engines show their users a runtime's last line.
impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied.is_malformed() {
            true => Error::new("config.json", denied.to_string()),
            false => {
                Error::new(format!("policy {} denies this container", denied.policy), denied.to_string())
            }
        }
    }
}

/// Admits `config` under `policy`, or says everything that stands against it.
///
/// Judging what was admitted once more changes nothing.
///
/// # Errors
/// [`Denied`], when a rule of the OCI specification or of the policy is broken.
pub fn judge(mut config: Config, policy: &Policy, host: &HostFacts) -> Result<Admitted, Denied> {
    let violations = malformed(&mut config, policy, host);
    if !violations.is_empty() {
        let policy = policy.name().to_owned();
        return Err(Denied { policy, violations, changes: Vec::new(), protections: Vec::new() });
    }
    let asked = View::of(&config, host, None);
    let mut case = Case::new(config, &policy.rules, host);
    case.apply_rules();
    let Case { config, changes, violations, confinement, .. } = case;
    let enforced = View::of(&config, host, Some(&confinement));
    let protections = protections::rows(asked, enforced, &policy.rules);
    if !violations.is_empty() {
        return Err(Denied { policy: policy.name().to_owned(), violations, changes, protections });
    }
    Ok(Admitted { config, policy: policy.clone(), changes, confinement, protections })
}

/// The specification's own rules. A new user namespace without mappings breaks one of them, unless it is to be given
/// a range: then it is judged as if every id were mapped.
fn malformed(config: &mut Config, policy: &Policy, host: &HostFacts) -> Vec<Violation> {
    let given = takes_range(config, &policy.rules, host);
    let listed = |linux: &Linux| {
        linux.namespaces().iter().flatten().any(|space| space.typ() == LinuxNamespaceType::User)
    };
    match config.spec.linux_mut().as_mut().filter(|linux| given && listed(linux)) {
        None => casemate_spec::validate(config, &host.host),
        Some(linux) => {
            let all = LinuxIdMappingBuilder::default().size(u32::MAX).build().unwrap_or_default();
            let kept = (linux.uid_mappings().clone(), linux.gid_mappings().clone());
            linux.set_uid_mappings(Some(vec![all])).set_gid_mappings(Some(vec![all]));
            let violations = casemate_spec::validate(config, &host.host);
            if let Some(linux) = config.spec.linux_mut() {
                linux.set_uid_mappings(kept.0).set_gid_mappings(kept.1);
            }
            violations
        }
    }
}
