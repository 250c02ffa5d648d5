//! The static C program that does inside a container what a shell cannot (`probe/probe.c`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::bundle::Bundle;

/// Builds the probe once per test program and puts a copy at `/probe` of the bundle's root.
///
/// # Panics
/// When there is no C compiler that links statically.
pub fn install_probe(bundle: &Bundle) {
    let target = bundle.rootfs().join("probe");
    std::fs::copy(probe(), target).expect("copy the probe into the root filesystem");
}

/// The probe on the host, for its roles outside a container.
pub fn probe() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = here.join("probe/probe.c");
        let cache = here.join("../target/probe");
        std::fs::create_dir_all(&cache).expect("make the probe's directory");
        let program = cache.join("probe");
        let newer = |a: &Path, b: &Path| {
            Some(a.metadata().ok()?.modified().ok()? > b.metadata().ok()?.modified().ok()?)
        };
        if newer(&program, &source) != Some(true) {
            // Built aside and renamed: test programs run side by side.
            let mine = cache.join(format!("probe-{}", std::process::id()));
            let built = Command::new("cc")
                .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
                .arg(&mine)
                .arg(&source)
                .status();
            assert!(built.is_ok_and(|status| status.success()), "cc -static {} failed", source.display());
            std::fs::rename(&mine, &program).expect("put the probe in place");
        }
        program
    })
}
