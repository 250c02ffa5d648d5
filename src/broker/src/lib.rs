//! The privileged side of the daemon: one thread, a closed table of verbs, and an audit log.
//!
//! Holds: what may be asked and when, the places of the store, the state of what runs, the audit log.
//! Never: HTTP, TLS, archives, a path taken from its asker on trust; namespaces and control groups are the runtime's.
//! Imports: `core`, `spec`, `policy`.
//! If broken: whoever holds the daemon holds the host.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod adopt;
mod apart;
mod arguments;
pub mod audit;
mod broker;
mod bundle;
mod child;
mod containers;
mod daemon;
mod dns;
mod endpoints;
mod help;
mod host;
mod networks;
mod packet;
mod places;
mod ports;
mod process;
mod refusal;
mod serve;
mod start;
mod storage;
mod sweep;
mod tree;
pub mod verbs;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use arguments::Asked;

/// The program.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let done = match arguments::parse(arguments) {
        Ok(Asked::Serve(arguments)) => broker::serve(*arguments),
        Ok(Asked::Work(work)) => sweep::work(&work),
        Ok(Asked::Print(text)) => std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| casemate_spec::Error::io("standard output", &error)),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// To people, on standard error; there is nobody left to tell when that is gone.
pub(crate) fn say(error: &casemate_spec::Error) {
    let hint = error.remedy().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
    let text = format!("casemate-broker: {error}\n{hint}");
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
