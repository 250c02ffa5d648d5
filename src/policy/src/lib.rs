//! The gate: a configuration becomes admitted here or nowhere.
//!
//! Holds: judging of (configuration, policy, host facts).
//! Never: I/O, privilege.
//! Imports: `spec`.
//! If broken: a container starts with more than the operator allows.
#![forbid(unsafe_code)]
