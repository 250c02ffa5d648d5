//! The `casemate-dns` program: answers the names that containers ask for.
//!
//! Holds: its standard input, the listening socket over which it is handed everything else.
//! Never: an argument, a file.
//! Imports: the crate it is the program of.
//! If broken: containers find no names.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match casemate_dns::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-dns: {error}");
            ExitCode::FAILURE
        }
    }
}
