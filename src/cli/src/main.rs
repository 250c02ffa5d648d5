//! `casemate`: the client for people.
//!
//! Holds: certificates, starting and stopping the daemon's programs, the friendly verbs, policies and audit explained.
//! Never: privilege of its own; what needs root is refused to others.
//! Imports: spec, policy.
//! If broken: a certificate says more than its owner was given.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    casemate_cli::main()
}
