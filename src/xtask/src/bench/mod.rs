//! `bench`: ours and the peers side by side in one run.
//!
//! Contenders take turns within every round, so that a noisy minute hurts them all alike; ratios of medians are
//! what to trust. Programs are timed from spawn to exit, in this process, with no shell between.

mod bundles;
mod case;
mod contender;
mod engines;
mod floor;
mod report;
mod sample;

use clap::Args as ClapArgs;

use crate::bench::case::Case;
use crate::bench::contender::Contender;
use crate::bench::floor::Floor;
use crate::bench::report::Report;
use crate::bench::sample::Samples;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::hugetlb::OnV1;
use crate::{setup, workspace};

/// What to measure.
#[derive(ClapArgs)]
pub struct Args {
    /// How often each case is measured for each contender
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Contenders by name, comma-separated (default: casemate, runc, crun, youki where installed, baseline, hardened)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Cases whose name contains one of these words, comma-separated
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Leave the binary of `runtime` as it is
    #[arg(long)]
    no_build: bool,
    /// Install youki from the Cargo registry first
    #[arg(long)]
    with_youki: bool,
    /// Measure casemated beside dockerd instead, by the docker client
    #[arg(long)]
    engines: bool,
    /// Measure their networks instead
    #[arg(long, conflicts_with = "engines")]
    networks: bool,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Measures, prints, and cleans up.
pub fn run(args: &Args) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("bench", "needs root: the peers are measured as engines call them"));
    }
    if args.engines {
        return engines::run(args.rounds, !args.no_build, args.write);
    }
    if args.networks {
        return engines::networks::run(args.rounds, !args.no_build, args.write);
    }
    setup::packages(setup::BENCH)?;
    let youki = setup::youki(args.with_youki)?;
    let ours = if args.no_build { workspace::runtime() } else { workspace::runtime_under_test()? };
    let bench = workspace::scratch("bench")?;
    let floor = Floor::build(&bench)?;
    // Containers whose runtime has left become our children: their end is seen at once, without polling.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing("become a subreaper")?;

    let mut contenders = contender::all(&ours, &args.only, youki.as_deref(), &bench)?;
    let overlays = bundles::write(&bench, &contenders)?;
    let hugetlb = contenders.iter().any(|one| one.name() == "crun").then(OnV1::lend).transpose()?;
    let cases: Vec<Case> = Case::ALL.into_iter().filter(|case| case.is_among(&args.cases)).collect();
    let samples = measure(&mut contenders, &floor, &cases, args.rounds);
    let report = Report::new(&contenders, &cases, samples?, args.rounds);
    drop(contenders);
    drop(overlays);
    drop(hugetlb);
    print!("{}", report.as_text());
    if args.write { report.write() } else { Ok(()) }
}

fn measure(contenders: &mut [Contender], floor: &Floor, cases: &[Case], rounds: usize) -> Outcome<Samples> {
    let mut samples = Samples::default();
    for round in 0..rounds {
        eprint!("\rround {} of {rounds} ", round + 1);
        // The first place of a round goes to another contender each time.
        let first = round % contenders.len().max(1);
        contenders.rotate_left(first);
        for case in cases.iter().filter(|case| case.is_due(round, rounds)) {
            for contender in contenders.iter_mut().filter(|contender| contender.takes(*case)) {
                // A case that has failed once is not tried again: it may be one that hangs.
                if !samples.has_failed(*case, contender.name()) {
                    samples.add(*case, contender.name(), contender.measure(*case, floor));
                }
            }
            if matches!(case, Case::Run(case::Profile::None)) {
                samples.add(*case, Floor::NAME, floor.measure());
            }
        }
        contenders.rotate_right(first);
    }
    eprintln!();
    Ok(samples)
}
