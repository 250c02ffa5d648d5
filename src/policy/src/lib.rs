//! The gate: a configuration becomes admitted here or nowhere.
//!
//! Holds: policies, their TOML form, and judging of (configuration, policy, host facts).
//! Never: I/O, privilege.
//! Imports: `spec`.
//! If broken: a container starts with more than the operator allows.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod confinement;
pub mod document;
mod facts;
mod gate;
mod grade;
mod judge;
mod meet;
mod policy;
mod protections;
mod report;
mod rules;
mod schema;
pub mod seccomp;

pub use confinement::{Confinement, Fallback, Landlock, Missing, UserNamespace};
pub use facts::{FromStore, HostFacts};
pub use gate::{Admitted, Denied, judge};
pub use grade::{Grade, Row, grade};
pub use judge::host_paths;
pub use policy::{Builtin, Policy, Sources, builtin_text, load, own_text};
pub use report::{Change, Protection};

#[cfg(test)]
mod tests;
