//! Who asks.

use casemate_spec::wire::Tenant;

/// A client, as its certificate names it. Everything that the engine finds, lists or makes is its tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The identity in the certificate, for the audit log.
    pub identity: String,
    /// Whose objects it sees, names and touches.
    pub tenant: Tenant,
    /// Groups that authorization knows it by.
    pub groups: Vec<String>,
}
