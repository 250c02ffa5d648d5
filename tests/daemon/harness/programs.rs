//! The programs under test.

use std::path::{Path, PathBuf};

/// Where they are: `$CASEMATE_LIBEXEC`, else the workspace's debug build.
///
/// # Panics
/// When one has not been built.
pub fn libexec() -> PathBuf {
    let built = || {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
        workspace.join(format!("target/{}-unknown-linux-gnu/debug", std::env::consts::ARCH))
    };
    let found = std::env::var_os("CASEMATE_LIBEXEC").map_or_else(built, PathBuf::from);
    assert!(
        found.join("casemated").is_file(),
        "{}: casemated is missing: cargo build --workspace",
        found.display()
    );
    found
}
