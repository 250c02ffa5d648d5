//! One file a command, and the dispatch to them.

pub mod cgroup;
pub mod check;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod grade;
pub mod kill;
pub mod list;
pub mod pause;
pub mod plan;
pub mod policy;
mod process_of;
pub mod ps;
pub mod record;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
mod table;
pub mod update;

use std::io::Write;
use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{Command, Global};

/// Runs what was asked for.
///
/// # Errors
/// The command's; its exit code goes with it ([`Error::exit_code`]).
pub fn run(global: &Global, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Create(args) => create::create(global, args),
        Command::Start(args) => start::start(global, args),
        Command::Run(args) => run::run(global, args),
        Command::Exec(args) => exec::exec(global, args),
        Command::Cgroup(args) => cgroup::cgroup(global, args),
        Command::Check(args) => check::check(global, args),
        Command::Checkpoint(_) | Command::Restore(_) => Err(Error::new(
            "checkpoint and restore",
            "not supported: this runtime does not drive CRIU, which would have to run privileged inside the container",
        )),
        Command::Delete(args) => delete::delete(global, args),
        Command::Events(args) => events::events(global, args),
        Command::Kill(args) => kill::kill(global, args),
        Command::List(args) => list::list(global, args),
        Command::Pause(args) => pause::pause(global, args),
        Command::Ps(args) => ps::ps(global, args),
        Command::Resume(args) => resume::resume(global, args),
        Command::State(args) => state::state(global, args),
        Command::Update(args) => update::update(global, args),
        Command::Spec(args) => spec::spec(global, args),
        Command::Features(args) => features::features(global, args),
        Command::Grade(args) => grade::grade(global, args),
        Command::Plan(args) => plan::plan(global, args),
        Command::Record(args) => record::record(global, args),
        Command::Policy(args) => policy::policy(global, args),
    }
}

/// Prints to standard output. A reader that has left early is no failure.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to standard output", &error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// [`print`] for callers that have nobody to report to.
pub fn printed(text: &str) -> ExitCode {
    print(text).unwrap_or_else(|error| crate::log::failure(&error))
}
