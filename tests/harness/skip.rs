//! Skips are printed and counted, never silent.

use std::io::Write;

/// Says why the running test cannot do its work here, and appends `test: reason` to `$CASEMATE_SKIPS`.
///
/// The caller returns right after: `return skip("…")`.
///
/// # Panics
/// When the file named by `$CASEMATE_SKIPS` cannot be written: an uncounted skip would be a silent one.
pub fn skip(reason: &str) {
    // One line each, whatever a program has said: lines are counted.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{}: {reason}\n", test_name());
    eprint!("skipped {line}");
    let Some(path) = std::env::var_os("CASEMATE_SKIPS") else { return };
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The test's name: libtest names the thread after it, except where it runs a single test on the main thread.
fn test_name() -> String {
    let thread = std::thread::current();
    let name = match thread.name() {
        Some(name) if name != "main" => Some(name.to_owned()),
        _ => std::env::args().skip(1).find(|arg| !arg.starts_with('-')),
    };
    let program = std::env::args().next().unwrap_or_default();
    let file = program.rsplit('/').next().unwrap_or_default();
    // Cargo names the program `<file>-<hash>`.
    let file = file.rsplit_once('-').map_or(file, |(file, _)| file);
    format!("{file}::{}", name.as_deref().unwrap_or("?"))
}
