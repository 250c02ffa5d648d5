//! Where things are, and the release build of the program under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::failure::{Doing as _, Outcome};

/// The repository's top folder.
pub fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.ancestors().nth(2).map(Path::to_path_buf).unwrap_or(here)
}

/// A folder of this name under the target folder, made when absent.
pub fn scratch(name: &str) -> Outcome<PathBuf> {
    let folder = target().join(name);
    std::fs::create_dir_all(&folder).doing(folder.display())?;
    Ok(folder)
}

/// The release build of `runtime`.
pub fn runtime() -> PathBuf {
    target().join(format!("{}-unknown-linux-gnu/release/runtime", env::consts::ARCH))
}

/// Those that hold privilege or read hostile archives. Cargo unites the features of what it builds at once: what the
/// daemon's crates switch on is not for these, and `runtime` is the same program whoever wants it.
const CONFINING: &[&str] = &["runtime", "shim", "layer", "broker", "net"];
const SERVING: &[&str] = &["daemon", "dns", "cli"];

/// Builds `runtime` in release and says where it is.
pub fn build_runtime() -> Outcome<PathBuf> {
    build(CONFINING)?;
    Ok(runtime())
}

/// Where the release builds of all our programs are.
pub fn programs() -> PathBuf {
    target().join(format!("{}-unknown-linux-gnu/release", env::consts::ARCH))
}

/// Builds them all in release and says where they are.
pub fn build_programs() -> Outcome<PathBuf> {
    build(CONFINING)?;
    build(SERVING)?;
    Ok(programs())
}

fn build(packages: &[&str]) -> Outcome {
    let wanted = packages.iter().flat_map(|name| ["--package".to_owned(), format!("casemate-{name}")]);
    command::run(cargo().args(["build", "--release"]).args(wanted))
}

/// `$CASEMATE_LIBEXEC` where the developer has chosen a folder of programs, else fresh release builds.
pub fn programs_under_test() -> Outcome<PathBuf> {
    match env::var_os("CASEMATE_LIBEXEC") {
        Some(chosen) => Ok(chosen.into()),
        None => build_programs(),
    }
}

/// `$CASEMATE_RUNTIME` where the developer has chosen a program, else a fresh release build.
pub fn runtime_under_test() -> Outcome<PathBuf> {
    match env::var_os("CASEMATE_RUNTIME") {
        Some(chosen) => Ok(chosen.into()),
        None => build_runtime(),
    }
}

/// Cargo, at the top of the repository. What `cargo run` put into our own environment is not handed on.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    for (name, _) in
        env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST"))
    {
        cargo.env_remove(name);
    }
    cargo
}

/// The target folder that cargo uses.
pub fn target() -> PathBuf {
    let chosen = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(chosen)
}
