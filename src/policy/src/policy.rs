//! A policy: what a container may have, resolved and as plain data.

use std::fmt;

use casemate_spec::Error;

/// What a container may have. Made by [`load`] or [`Policy::builtin`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    name: String,
}

impl Policy {
    /// The policies compiled in, strictest first.
    pub const BUILTIN: [&'static str; 4] = ["strict", "hardened", "baseline", "oci"];

    /// The policy compiled in under `name`.
    pub fn builtin(name: &str) -> Option<Self> {
        Self::BUILTIN.contains(&name).then(|| Self { name: name.to_owned() })
    }

    /// The bundle to the letter: nothing added, nothing taken.
    pub fn oci() -> Self {
        Self { name: "oci".to_owned() }
    }

    /// The name by which the command line and the host's configuration choose it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of every rule the stricter one.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        if self.name == "oci" { other.clone() } else { self.clone() }
    }

    /// The policy as a document of its own, without `extends`: [`load`] makes the same policy of it.
    pub fn to_toml(&self) -> String {
        format!("name = {:?}\n", self.name)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Reads a policy. `origin` names the file in errors; `parent` finds what `extends` names.
///
/// # Errors
/// A malformed document, said as `FILE:LINE:COLUMN: what`, with the line and a marker in the hint.
pub fn load(
    text: &str,
    origin: &str,
    parent: &mut dyn FnMut(&str) -> Result<Policy, Error>,
) -> Result<Policy, Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: Option<String>,
        extends: Option<String>,
    }
    let named: Named = crate::document::read(text, origin)?;
    match (named.extends, named.name) {
        (Some(extends), _) => parent(&extends),
        (None, Some(name)) => Ok(Policy { name }),
        (None, None) => Ok(Policy { name: origin.to_owned() }),
    }
}
