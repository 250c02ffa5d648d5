//! The client for people, as a library, so that man pages and completions are made of its command line. The program is
//! `casemate`.
//!
//! Holds: certificates, starting and stopping the daemon's programs, the friendly verbs, policies and audit explained.
//! Never: privilege of its own; what needs root is refused to others.
//! Imports: spec, policy.
//! If broken: a certificate says more than its owner was given.
#![forbid(unsafe_code)]

mod arguments;
mod audit;
mod client;
mod doctor;
mod forward;
mod pki;
mod place;
mod policy;
mod rootless;
mod top;
mod up;
mod verbs;

use std::process::ExitCode;

pub use arguments::command;
use arguments::{Command, Program, parse};
use casemate_spec::Result;
use client::{Client, now};

/// The program.
pub fn main() -> ExitCode {
    let program = match parse() {
        Ok(program) => program,
        Err(code) => return code,
    };
    match run(program) {
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

fn run(program: Program) -> Result<ExitCode> {
    let client = || Client::from_environment(&program.data_root);
    match &program.command {
        Command::Up(_) | Command::Supervise(_) => rootless::enter(&program.data_root)?,
        Command::Pki(verb) if verb.writes() => rootless::enter(&program.data_root)?,
        _ => {}
    }
    match program.command {
        Command::MapIds { pid } => rootless::map_ids(pid).map(|()| ExitCode::SUCCESS),
        Command::Forward(args) => forward::forward(&args),
        Command::Up(args) => up::up(&args, &program.data_root),
        Command::Down(args) => up::down(&args, &program.data_root),
        Command::Supervise(args) => up::supervise(&args, &program.data_root),
        Command::Pki(verb) => pki::run(&verb, &program.data_root),
        Command::Audit(verb) => audit::run(&verb, &program.data_root),
        Command::Policy(verb) => policy::run(&verb, &program.data_root),
        Command::Doctor(args) => doctor::run(&args, &program.data_root),
        Command::Top(args) => now(top::run(&client()?, &args)),
        Command::Run(args) => now(verbs::run(&client()?, &args)),
        Command::Exec(args) => now(verbs::exec(&client()?, &args)),
        Command::Containers(verb) => now(verbs::containers(&client()?, &verb)),
        Command::Images(verb) => now(verbs::images(&client()?, &verb)),
        Command::System(verb) => now(verbs::system(&client()?, &verb)),
    }
}
