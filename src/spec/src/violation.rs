//! One broken rule of a configuration, in words a person can act on.

use std::fmt;

/// One thing a configuration may not ask for.
///
/// Displayed as `field: expected ALLOWED, found ASKED`, the form parse errors have too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name, stable across versions, such as `oci/namespaces`.
    pub rule: &'static str,
    /// Where in the configuration, as a path such as `process.args[2]`.
    pub field: String,
    /// What the configuration says there; empty when it says nothing and must.
    pub asked: String,
    /// What would have been accepted there.
    pub allowed: String,
    /// What to do about it, when that is not plain from `allowed`.
    pub remedy: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.asked.as_str() {
            "" => write!(f, "{}: is required and missing: {}", self.field, self.allowed)?,
            asked => write!(f, "{}: expected {}, found {asked}", self.field, self.allowed)?,
        }
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}
