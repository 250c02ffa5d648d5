//! Real software from Debian's packages under `baseline` and `hardened`, by `runtime run` and under dockerd.
//!
//! The root filesystem comes from `prepare.sh` and is kept in `target/software`. `CASEMATE_CASE` selects programs by name.

mod bundle;
mod host;
mod programs;
mod relaxed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use casemate_tests::engine::run_cases;
use casemate_tests::runtimes;
use host::Host;

/// Most of a server's start is waiting.
const AT_ONCE: usize = 2;

#[test]
fn software_under_oci() {
    plain("oci");
}

#[test]
fn software_under_baseline() {
    plain("baseline");
}

#[test]
fn software_under_hardened() {
    plain("hardened");
}

/// Both under one daemon: importing the image takes longer than running the programs.
#[test]
fn software_under_docker() {
    let policies = ["baseline", "hardened"];
    let Some(docker) = host::daemon(&policies) else { return };
    std::thread::scope(|scope| {
        for policy in policies {
            let host = Host::docker(policy, docker.clone());
            scope.spawn(move || run_all(&host));
        }
    });
}

/// The page is what people read; the table is what is proved.
#[test]
fn the_page_lists_every_relaxation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let page = std::fs::read_to_string(page).expect("read docs/compatibility.md");
    for entry in relaxed::RELAXED {
        let row = format!("| {} | {} | `{}` | {} |", entry.program, entry.policy, entry.line, entry.why);
        assert!(page.contains(&row), "docs/compatibility.md lacks the row\n{row}");
        assert!(!entry.line.contains('\n'), "{}: one line is all a program may need", entry.program);
    }
    let rows = page.lines().filter(|line| line.contains("| hardened | `") || line.contains("| baseline | `"));
    assert_eq!(
        rows.count(),
        relaxed::RELAXED.len(),
        "docs/compatibility.md lists what the test does not know"
    );
}

fn plain(policy: &'static str) {
    if runtimes().iter().any(|runtime| runtime.is_ours()) {
        run_all(&Host::plain(policy));
    }
}

fn run_all(host: &Host) {
    run_cases(host, AT_ONCE, &programs::CASES.iter().collect::<Vec<_>>());
}

/// The image's root filesystem, made when it is missing or its recipe has changed; beside it, the same as an archive.
pub fn root() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = crate_dir.parent().unwrap_or(crate_dir).join("target/software");
        let made = Command::new(crate_dir.join("engines_software/prepare.sh")).arg(&dir).status();
        assert!(made.as_ref().is_ok_and(|status| status.success()), "prepare.sh: {made:?}");
        dir.join("root")
    })
    .clone()
}
