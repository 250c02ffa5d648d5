//! The `casemate-net` program: see the crate it is the program of.
//!
//! Holds: nothing but the call.
//! Never: a decision.
//! Imports: the crate it is the program of.
//! If broken: nothing is connected.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::ExitCode;

fn main() -> ExitCode {
    casemate_net::main(std::env::args_os())
}
