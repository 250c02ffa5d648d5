//! `cargo xtask <verb>`: the one door for developers. Continuous integration runs the same verbs.
//!
//! Holds: set-up of a fresh machine, building, testing, checking, measuring, packaging.
//! Never: anything that is installed or runs on a user's host.
//! Imports: nothing of ours (`dist` links `runtime` and `cli` for their command lines, behind the feature of that name).
//! If broken: a defect gets past the checks; no host is harmed.
#![forbid(unsafe_code)]

mod bench;
mod bundle;
mod check;
mod command;
mod demo;
mod dist;
mod failure;
mod fuzz;
mod hugetlb;
mod moby;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Outcome;

fn main() -> ExitCode {
    match run(Xtask::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Outcome {
    match verb {
        Verb::Setup => test::prepare(false),
        Verb::Build => workspace::build_runtime().map(drop),
        Verb::Check(args) => check::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Demo => demo::run(),
        Verb::Dist => dist::run(),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Bench(args) => bench::run(&args),
    }
}

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The one door for developers of Casemate")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what every other verb needs
    Setup,
    /// Build the release binary of `runtime`
    Build,
    /// Check what the design fixes: format, lints, imports, sizes, licences, documents
    Check(check::Args),
    /// Set the machine up, run every test, look for what they left behind
    Test(test::Args),
    /// Run a real container and show what confines it
    Demo,
    /// Put the programs, their man pages and completions into target/dist
    Dist,
    /// Run the fuzz targets
    Fuzz(fuzz::Args),
    /// Measure ours and the peers side by side in one run
    Bench(bench::Args),
}
