//! The survey: a static program that tries every dangerous operation from inside (`probe/survey/`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use casemate_tests::{Bundle, Output};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// What each operation came to, in the order of the survey: `None` when it was reachable, else why it was not.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    order: Vec<String>,
    refusals: BTreeMap<String, Option<String>>,
}

impl Findings {
    /// Reads what the survey has written.
    ///
    /// # Panics
    /// When it did not come to its end, or could not try something.
    #[track_caller]
    pub fn of(output: &Output) -> Self {
        let mut found = Self::default();
        let said = output.stdout();
        for line in said.lines() {
            let (name, refusal) = match line.rsplit_once(" refused ") {
                Some((name, why)) => (name, Some(why.to_owned())),
                None => match line.strip_suffix(" reachable") {
                    Some(name) => (name, None),
                    None => continue,
                },
            };
            found.order.push(name.to_owned());
            found.refusals.insert(name.to_owned(), refusal);
        }
        let end = format!("end {}", found.order.len());
        assert!(!found.order.is_empty() && said.lines().any(|line| line == end), "not finished: {output}");
        found
    }

    /// Every operation, in the survey's order.
    pub fn names(&self) -> &[String] {
        &self.order
    }

    /// Whether the kernel did it.
    pub fn reaches(&self, name: &str) -> bool {
        matches!(self.refusals.get(name), Some(None))
    }
}

/// Puts the survey at `/survey` of the bundle's root, and beside it device nodes such as an image may bring.
///
/// # Panics
/// When there is no C compiler that links statically, or a node cannot be made.
pub fn install_survey(bundle: &Bundle) {
    install_at(&bundle.rootfs());
}

/// The same for any root filesystem.
///
/// # Panics
/// As [`install_survey`].
pub fn install_at(root: &Path) {
    fs::copy(program(), root.join("survey")).expect("copy the survey into the root filesystem");
    for (name, kind, device) in [
        ("image-kmsg", FileType::CharacterDevice, makedev(1, 11)),
        ("image-fuse", FileType::CharacterDevice, makedev(10, 229)),
        ("image-disk", FileType::BlockDevice, makedev(7, 0)),
    ] {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, root.join(name), kind, mode, device).expect("make a device node in the image");
    }
}

/// Built once per test program; tests run side by side, so it is built aside and renamed.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = here.join("probe/survey");
        let cache = here.join("../target/probe");
        fs::create_dir_all(&cache).expect("make the program's directory");
        let program = cache.join("survey");
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        let files: Vec<_> =
            fs::read_dir(&sources).expect("the survey's sources").flatten().map(|e| e.path()).collect();
        let newest = files.iter().filter_map(|path| changed(path)).max();
        if changed(&program) <= newest {
            let mine = cache.join(format!("survey-{}", std::process::id()));
            let code = files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "c"));
            let mut command = Command::new("cc");
            command.args(["-static", "-O1", "-Wall", "-Werror", "-o"]).arg(&mine).args(code);
            assert!(
                command.status().is_ok_and(|status| status.success()),
                "cc -static {}",
                sources.display()
            );
            fs::rename(&mine, &program).expect("put the program in place");
        }
        program
    })
}
