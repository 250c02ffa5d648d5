//! What Casemate's programs say to each other: ids, errors, and the container configuration as it was parsed.
//!
//! Holds: container ids, the error type, the parsed OCI configuration and its rules, the mount option table.
//! Never: privilege, I/O, policy.
//! Imports: nothing of ours.
//! If broken: a malformed id or configuration is taken for a good one.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod capability;
pub mod config;
mod error;
mod id;
pub mod mount;
pub mod netlink;
pub mod user_namespace;
pub mod validate;
mod violation;
pub mod wire;

pub use config::{Config, parse, parse_process, parse_resources};
pub use error::{Error, Result};
pub use id::ContainerId;
pub use validate::{Host, sysctl_path, validate, validate_process, validate_resources};
pub use violation::Violation;
