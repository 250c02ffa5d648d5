//! `test`: sets the machine up, builds, runs every test, and looks for what they left behind.

mod orphans;
mod traces;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use clap::Args as ClapArgs;

use crate::command::{self, shown};
use crate::failure::{Doing as _, Failure, Outcome};
use crate::test::traces::Traces;
use crate::{hugetlb, setup, workspace};

/// What to run.
#[derive(ClapArgs)]
pub struct Args {
    /// Leave out the engines and the virtual machines
    #[arg(long)]
    quick: bool,
    /// Words or options for nextest; words select tests by name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

/// Packages that only the engine tests need, kept beside those tests.
const ENGINES: &str = "tests/harness/packages.txt";

/// Runs everything; fails when a test fails or anything is left behind.
pub fn run(args: &Args) -> Outcome {
    prepare(args.quick)?;
    hugetlb::give_back()?;
    let programs = workspace::programs_under_test()?;
    let runtime = workspace::runtime_under_test()?;
    let skips = workspace::scratch("test")?.join("skips");
    fs::write(&skips, "").doing(skips.display())?;

    let before = Traces::take()?;
    let documented = if args.nextest.is_empty() { doctests() } else { Ok(()) };
    let tested = nextest(args, &programs, &runtime, &skips);
    let left = orphans::end()?;
    report_skips(&skips)?;
    let clean = report_leaks(&Traces::left_since(&before)?, &left);
    tested.and(documented).and(clean)
}

/// Installs what the tests need; `quick` leaves out the engines and the virtual machines.
pub fn prepare(quick: bool) -> Outcome {
    let machines = if quick { &[] } else { setup::MACHINES };
    let mut wanted: Vec<String> = [setup::TEST, machines].concat().into_iter().map(str::to_owned).collect();
    if !quick {
        wanted.extend(setup::listed(ENGINES)?);
    }
    setup::packages(&wanted)?;
    setup::nextest()
}

fn nextest(args: &Args, programs: &Path, runtime: &Path, skips: &Path) -> Outcome {
    let mut cargo = workspace::cargo();
    cargo.args(["nextest", "run", "--no-tests=fail"]);
    if args.quick {
        cargo.args(["--filterset", "not binary(/^(engines|vm)/)"]);
    }
    cargo
        .args(&args.nextest)
        .env("CASEMATE_LIBEXEC", programs)
        .env("CASEMATE_RUNTIME", runtime)
        .env("CASEMATE_SKIPS", skips)
        .stdin(Stdio::null());
    let line = shown(&cargo);
    eprintln!("$ {line}");
    orphans::adopt()?;
    let status = orphans::wait_for(&mut cargo)?;
    if status == Some(0) { Ok(()) } else { Err(Failure::new(line, "tests have failed")) }
}

fn doctests() -> Outcome {
    command::run(workspace::cargo().args(["test", "--workspace", "--doc", "--quiet"]))
}

fn report_skips(file: &Path) -> Outcome {
    let text = fs::read_to_string(file).doing(file.display())?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    println!("\nskipped: {}", lines.len());
    for line in lines {
        println!("  {line}");
    }
    Ok(())
}

fn report_leaks(traces: &[String], processes: &[String]) -> Outcome {
    let left = traces.len() + processes.len();
    println!("left behind: {left}");
    for trace in traces.iter().chain(processes) {
        println!("  {trace}");
    }
    if left == 0 { Ok(()) } else { Err(Failure::new("leak check", format!("{left} left behind"))) }
}
