//! Networks of the host: one order, done as a whole or not at all, and the end.
//!
//! Holds: bridges, pairs of interfaces, their addresses and routes, and the rules of one table of our own.
//! Never: a socket that listens on the host, a rule of anybody else's, a name that was not derived from an id.
//! Imports: `core`, `spec`.
//! If broken: containers reach what they must not, or are reached.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

use std::ffi::OsString;
use std::process::ExitCode;

/// The program.
pub fn main(_arguments: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::from(2)
}
