//! `dist`: what a package of `runtime` holds, from the one definition of its command line.

use crate::command;
use crate::failure::Outcome;
use crate::workspace;

/// Builds the binary, then starts this program once more with the feature that links `runtime`.
#[cfg(not(feature = "dist"))]
pub fn run() -> Outcome {
    workspace::build_runtime()?;
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
    let binary = workspace::runtime();
    std::fs::copy(&binary, folder.join(name)).doing(binary.display())?;
    command::run(std::process::Command::new("ls").arg("-l").arg(&folder))
}
