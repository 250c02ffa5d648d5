//! `casemate`: the client for people.
//!
//! Holds: certificates, starting and stopping the daemon's programs, the friendly verbs, policies and audit explained.
//! Never: privilege of its own; what needs root is refused to others.
//! Imports: spec, policy.
//! If broken: a certificate says more than its owner was given.
#![forbid(unsafe_code)]

mod arguments;
mod client;
mod pki;
mod place;
mod up;

use std::process::ExitCode;

use arguments::{Command, parse};
use casemate_spec::Result;

fn main() -> ExitCode {
    let command = match parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("casemate: {error}");
            if let Some(hint) = error.remedy() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(args) => up::up(&args),
        Command::Down(args) => up::down(&args),
        Command::Supervise(args) => up::supervise(&args),
        Command::Pki(verb) => pki::run(&verb),
    }
}
