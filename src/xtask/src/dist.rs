//! `dist`: what a package holds: the programs, the systemd unit, and what is made from `runtime`'s command line.

use crate::command;
use crate::failure::Outcome;
use crate::workspace;

/// Our programs.
#[cfg(feature = "dist")]
const PROGRAMS: [&str; 8] = [
    "runtime",
    "casemate",
    "casemated",
    "casemate-broker",
    "casemate-shim",
    "casemate-layer",
    "casemate-net",
    "casemate-dns",
];

/// Builds the programs, then starts this program once more with the feature that links `runtime`.
#[cfg(not(feature = "dist"))]
pub fn run() -> Outcome {
    workspace::build_programs()?;
    let mut again = workspace::cargo();
    command::run(again.args([
        "run",
        "--quiet",
        "--package",
        "casemate-xtask",
        "--features",
        "dist",
        "--",
        "dist",
    ]))
}

/// Writes target/dist.
#[cfg(feature = "dist")]
pub fn run() -> Outcome {
    use clap_complete::Shell;

    use crate::failure::Doing as _;

    let folder = workspace::scratch("dist")?;
    let mut definition = casemate_runtime::cli::command();
    let name = "runtime";
    clap_mangen::generate_to(definition.clone(), &folder).doing("man pages")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut definition, name, &folder).doing(shell)?;
    }
    let unit = workspace::root().join("src/cli/systemd/casemate.service");
    std::fs::copy(&unit, folder.join("casemate.service")).doing(unit.display())?;
    for name in PROGRAMS {
        let binary = workspace::programs().join(name);
        std::fs::copy(&binary, folder.join(name)).doing(binary.display())?;
    }
    command::run(std::process::Command::new("ls").arg("-l").arg(&folder))
}
