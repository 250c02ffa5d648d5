//! `fuzz`: each fuzz target for a while, with the corpus that is kept beside it.

use std::fs;

use clap::Args as ClapArgs;

use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::{setup, workspace};

/// What to fuzz.
#[derive(ClapArgs)]
pub struct Args {
    /// For how long, each
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets by name (default: all)
    targets: Vec<String>,
}

/// Runs them one after the other; every target gets its time, then the failed ones are named.
pub fn run(args: &Args) -> Outcome {
    setup::packages(setup::FUZZ)?;
    if command::find("cargo-fuzz").is_none() {
        command::run(workspace::cargo().current_dir("/").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let targets = if args.targets.is_empty() { all()? } else { args.targets.clone() };
    let failed: Vec<String> =
        targets.into_iter().filter(|target| one(target, args.seconds).is_err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new("fuzz", failed.join(", "))) }
}

fn one(target: &str, seconds: u32) -> Outcome {
    let mut cargo = workspace::cargo();
    // Sanitizers are a nightly feature; the stable compiler has them behind this variable.
    cargo.current_dir(workspace::root().join("fuzz")).env("RUSTC_BOOTSTRAP", "1");
    cargo.args(["fuzz", "run", target, "--"]).arg(format!("-max_total_time={seconds}"));
    command::run(&mut cargo)
}

fn all() -> Outcome<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).doing(folder.display())?.flatten();
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    Ok(names)
}
