//! The `runtime` program: read the command line, run one command, report how it ended.
//!
//! Holds: the order of these three, and the exit code.
//! Never: a decision about containers.
//! Imports: the crate it is the program of.
//! If broken: nothing starts.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::ExitCode;

use casemate_runtime::cli::{self, Stop};
use casemate_runtime::{commands, log, standby};

fn main() -> ExitCode {
    let arguments = match standby::arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return log::failure(&error),
    };
    let (global, command) = match cli::parse(arguments) {
        Ok(parsed) => parsed,
        Err(Stop::Print(text)) => return commands::printed(&text),
        Err(Stop::Usage(error)) => return log::failure(&error),
    };
    if let Err(error) = log::open(&global) {
        return log::failure(&error);
    }
    commands::run(&global, &command).unwrap_or_else(|error| log::failure(&error))
}
