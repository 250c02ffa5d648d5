//! `check`: what the design fixes and a machine can see. Every violation is reported, not only the first.

mod code;
mod documents;
mod licence;
mod packages;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args as ClapArgs;

use crate::failure::{Doing as _, Failure, Outcome};
use crate::{command, workspace};

/// What to check.
#[derive(ClapArgs)]
pub struct Args {
    /// Write the dependency closures down as they are now
    #[arg(long)]
    bless: bool,
    /// Leave out rustfmt and clippy, which take the longest
    #[arg(long)]
    quick: bool,
}

/// The crates that hold privilege, judge for those that do, or unpack what strangers have packed: they never panic.
const PRIVILEGED: [&str; 8] = [
    "casemate-core",
    "casemate-spec",
    "casemate-policy",
    "casemate-runtime",
    "casemate-broker",
    "casemate-shim",
    "casemate-layer",
    "casemate-net",
];
/// Clippy's names for the ways to panic.
const PANICS: [&str; 8] = [
    "unwrap_used",
    "expect_used",
    "panic",
    "indexing_slicing",
    "string_slice",
    "unreachable",
    "todo",
    "unimplemented",
];

/// Checks everything.
pub fn run(args: &Args) -> Outcome {
    let mut violations = Violations::default();
    let files = Files::tracked()?;
    sources::check(&files, &mut violations);
    documents::check(&files, &mut violations);
    packages::check(args.bless, &mut violations)?;
    if !args.quick {
        linters(&mut violations);
    }
    violations.report(files.paths.len())
}

fn linters(violations: &mut Violations) {
    let mut attempt = |name: &'static str, command: &mut Command| {
        if let Err(failure) = command::run(command) {
            violations.add(name, failure);
        }
    };
    attempt("format", workspace::cargo().args(["fmt", "--all", "--check"]));
    let everything =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--keep-going", "--quiet", "--"];
    attempt("clippy", workspace::cargo().args(everything).args(["-D", "warnings"]));

    // Tests may panic, that is how they fail; so this pass looks at the programs alone.
    let mut strict = workspace::cargo();
    strict.args(["clippy", "--lib", "--bins", "--keep-going", "--quiet"]);
    strict.args(PRIVILEGED.iter().flat_map(|room| ["--package", room])).arg("--");
    strict.args(PANICS.iter().flat_map(|lint| ["-D".to_owned(), format!("clippy::{lint}")]));
    attempt("no panic in privileged crates", &mut strict);
}

/// What was found, by rule.
#[derive(Default)]
struct Violations {
    found: BTreeMap<&'static str, Vec<String>>,
}

impl Violations {
    fn add(&mut self, rule: &'static str, what: impl ToString) {
        self.found.entry(rule).or_default().push(what.to_string());
    }

    fn report(&self, files: usize) -> Outcome {
        for (rule, found) in &self.found {
            println!("{rule}:");
            for violation in found {
                println!("  {violation}");
            }
        }
        let count: usize = self.found.values().map(Vec::len).sum();
        println!("check: {files} files, {count} violations");
        if count == 0 { Ok(()) } else { Err(Failure::new("check", format!("{count} violations"))) }
    }
}

/// The files of the repository, as git would commit them.
struct Files {
    paths: Vec<PathBuf>,
}

impl Files {
    fn tracked() -> Outcome<Self> {
        let mut git = Command::new("git");
        git.current_dir(workspace::root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let listed = command::output(&mut git).doing("list the files")?;
        let mut paths: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
        paths.retain(|path| workspace::root().join(path).is_file());
        Ok(Self { paths })
    }

    /// Path and text of every file with one of these endings.
    fn texts<'a>(&'a self, endings: &'a [&str]) -> impl Iterator<Item = (&'a Path, String)> {
        let fits =
            |path: &Path| path.extension().is_some_and(|end| endings.iter().any(|wanted| end == *wanted));
        self.paths.iter().filter(move |path| fits(path)).filter_map(|path| {
            Some((path.as_path(), std::fs::read_to_string(workspace::root().join(path)).ok()?))
        })
    }
}
