//! The runtimes a portable test runs against: the reference, which proves the test, and ours.

use std::path::{Path, PathBuf};

/// One OCI runtime binary.
#[derive(Debug, Clone)]
pub struct Runtime {
    name: &'static str,
    path: PathBuf,
}

impl Runtime {
    /// `casemate` or `runc`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The binary.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For differences that are meant: the test says which and why beside the call.
    pub fn is_ours(&self) -> bool {
        self.name == "casemate"
    }
}

/// Runs a portable test against every runtime of [`runtimes`], naming each first, so that a failure says whose.
pub fn each(test: impl Fn(&Runtime)) {
    for runtime in runtimes() {
        eprintln!("== with {}", runtime.name());
        test(&runtime);
    }
}

/// The reference where it is installed, then ours; `$CASEMATE_ONLY` selects one of them.
pub fn runtimes() -> Vec<Runtime> {
    match std::env::var("CASEMATE_ONLY").as_deref() {
        Ok("ours") => vec![ours()],
        Ok("reference") => reference().into_iter().collect(),
        _ => reference().into_iter().chain([ours()]).collect(),
    }
}

/// Our binary: `$CASEMATE_RUNTIME`, else the release build of this workspace.
///
/// # Panics
/// When it has not been built.
pub fn ours() -> Runtime {
    let path = std::env::var_os("CASEMATE_RUNTIME").map_or_else(
        || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
            workspace.join(format!("target/{}-unknown-linux-gnu/release/runtime", std::env::consts::ARCH))
        },
        PathBuf::from,
    );
    assert!(path.is_file(), "{} is missing: cargo build --release -p casemate-runtime", path.display());
    Runtime { name: "casemate", path }
}

/// runc, where it is installed.
pub fn reference() -> Option<Runtime> {
    ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .map(|path| Runtime { name: "runc", path })
}
