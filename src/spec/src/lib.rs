//! What Casemate's programs say to each other: ids, errors, and the container configuration as it was parsed.
//!
//! Holds: container ids, the error type, the parsed OCI configuration.
//! Never: privilege, I/O, policy.
//! Imports: nothing of ours.
//! If broken: a malformed id or configuration is taken for a good one.
#![forbid(unsafe_code)]

mod error;
mod id;

pub use error::{Error, Result};
pub use id::ContainerId;
