//! Policies explained and tried out: those that confine containers, and those that say who may what.

mod explain;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use casemate_spec::{Error, Result};
use clap::{Args, Subcommand};

use crate::client::{Client, now};
use crate::place::Place;
use crate::up;
pub use explain::ExplainArgs;

/// What may be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Say which protections hold for a container, and by which rule; or who may what, and by which policy
    #[command(after_help = explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// Hold a file of expectations against the authorization policies: exit status 0 when all hold, 1 when some do not, 2
    /// when the file or a policy is wrong
    Test(TestArgs),
}

/// `casemate policy test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The configuration's folder, with `policies` in it; else this data root's
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where casemated and the other programs are
    #[arg(long, value_name = "DIR")]
    libexec: Option<PathBuf>,
    /// The expectations
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs one of them.
///
/// # Errors
/// The daemon says no, or is not installed.
pub fn run(verb: &PolicyVerb, data_root: &Path) -> Result<ExitCode> {
    match verb {
        PolicyVerb::Explain(args) => now(explain::run(&Client::from_environment(data_root)?, args)),
        PolicyVerb::Test(args) => test(args, data_root),
    }
}

/// The daemon's program judges, as it would judge a call; it is started for that alone.
fn test(args: &TestArgs, data_root: &Path) -> Result<ExitCode> {
    let program = up::libexec(args.libexec.as_deref())?.join("casemated");
    let config = match &args.config {
        Some(config) if !config.is_dir() => {
            return Err(Error::new(config.display().to_string(), "no such directory").exit(2));
        }
        Some(config) => config.clone(),
        None => Place::find(data_root)?.etc,
    };
    let mut command = Command::new(&program);
    command.arg("--etc").arg(config).arg("--test-policies").arg(&args.file).stdin(Stdio::null());
    let ended = command.status().map_err(|e| Error::io(program.display().to_string(), &e).exit(2))?;
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    code.map(ExitCode::from)
        .ok_or_else(|| Error::new(program.display().to_string(), ended.to_string()).exit(2))
}
