//! The `casemate-layer` program: one task with files, told by its argument, answered on descriptor 3.
//!
//! Holds: the order of reading, doing and answering.
//! Never: a path from its order that is not resolved beneath a descriptor.
//! Imports: the crate it is the program of, spec.
//! If broken: a task fails; its kernel namespaces and its user hold what the program does not.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

use std::process::ExitCode;

use casemate_layer::{door, task};
use casemate_spec::Result;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // Whoever started us may have closed it; the exit status says it too.
            writeln!(std::io::stderr(), "casemate-layer: {error}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

/// The whole program: what it answers is its only way to speak.
fn run() -> Result<()> {
    let mut replies = door::Replies::open()?;
    let done = door::order(std::env::args().skip(1)).and_then(|order| {
        // Modes are as the archive says.
        rustix::process::umask(rustix::fs::Mode::empty());
        task::run(&order, &mut replies)
    });
    match done {
        Ok(reply) => replies.send(&reply),
        Err(error) => {
            replies.send(&door::failure(&error))?;
            Err(error)
        }
    }
}
