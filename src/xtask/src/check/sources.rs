//! Rules about source files: sizes, cards, where `unsafe` may stand, names, leftovers.

use std::path::Path;

use crate::check::{Files, Violations, code};
use crate::workspace;

/// Longest file, in lines of every kind.
const FILE_LIMIT: usize = 500;
/// All of the core, in lines of code: no blanks, no comments, no tests. What explains a step is not rationed.
const CORE_LIMIT: usize = 3_000;
/// All of the broker, counted alike. The design wanted half of it: verbs each of which is checked against a hostile
/// asker, and none of which waits, have taken more; networks are a fifth of it. It may shrink, not grow.
const BROKER_LIMIT: usize = 4_260;
/// The one folder with `unsafe`.
const UNSAFE_ROOM: &str = "src/core/src/sys";
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];
/// Each room's card: what it holds, what it never does, whom it imports, what a defect in it means.
const CARD: [&str; 4] = ["//! Holds:", "//! Never:", "//! Imports:", "//! If broken:"];
/// Assembled here, so that this file does not trip over itself.
const LEFTOVERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];

/// Applies all of them.
pub fn check(files: &Files, violations: &mut Violations) {
    let mut budgets = [("src/core/src", CORE_LIMIT, 0), ("src/broker/src", BROKER_LIMIT, 0)];
    for (path, text) in files.texts(&["rs"]) {
        let bare = code::bare(&text);
        file_size(path, &text, violations);
        unsafe_code(path, &bare, violations);
        ignored_tests(path, &bare, violations);
        if let Some((.., lines)) = budgets.iter_mut().find(|(room, ..)| path.starts_with(room)) {
            let code = bare.lines().zip(code::test_lines(&bare));
            *lines += code.filter(|(line, is_test)| !is_test && !line.trim().is_empty()).count();
        }
    }
    for (room, limit, lines) in budgets {
        if lines > limit {
            violations.add("size", format!("{room}: {lines} lines of code, the limit is {limit}"));
        }
    }
    for (path, text) in files.texts(&["rs", "c", "sh", "toml", "md", "txt", "json", "yml"]) {
        leftovers(path, &text, violations);
        machine_paths(path, &text, violations);
    }
    for path in &files.paths {
        names(path, violations);
    }
    cards(files, violations);
}

fn file_size(path: &Path, text: &str, violations: &mut Violations) {
    let lines = text.lines().count();
    if lines > FILE_LIMIT {
        violations.add("size", format!("{}: {lines} lines, the limit is {FILE_LIMIT}", path.display()));
    }
}

fn unsafe_code(path: &Path, bare: &str, violations: &mut Violations) {
    if path.starts_with(UNSAFE_ROOM) {
        return;
    }
    for number in lines_with(bare, |line| code::has_word(line, "unsafe")) {
        violations.add("unsafe outside src/core/src/sys", format!("{}:{number}", path.display()));
    }
}

fn ignored_tests(path: &Path, bare: &str, violations: &mut Violations) {
    for number in lines_with(bare, |line| line.trim_start().starts_with("#[ignore")) {
        violations.add("ignored test", format!("{}:{number}", path.display()));
    }
}

fn leftovers(path: &Path, text: &str, violations: &mut Violations) {
    for number in lines_with(text, |line| LEFTOVERS.iter().any(|word| line.contains(word))) {
        violations.add("leftover", format!("{}:{number}", path.display()));
    }
}

fn machine_paths(path: &Path, text: &str, violations: &mut Violations) {
    let here = workspace::root().display().to_string();
    for number in lines_with(text, |line| line.contains(&here)) {
        violations.add("path of this machine", format!("{}:{number}", path.display()));
    }
}

fn names(path: &Path, violations: &mut Violations) {
    let parts = path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
    if parts.into_iter().any(|part| EMPTY_NAMES.contains(&part)) {
        violations.add("name that says nothing", path.display());
    }
}

fn cards(files: &Files, violations: &mut Violations) {
    let mut rooms: Vec<&Path> = files.paths.iter().filter_map(|path| room_of(path)).collect();
    rooms.dedup();
    for room in rooms {
        let places = [room.join("src/lib.rs"), room.join("src/main.rs")];
        let Some(front) = places.iter().find(|place| files.paths.contains(place)) else {
            violations.add("card", format!("{}: neither lib.rs nor main.rs", room.display()));
            continue;
        };
        let text = std::fs::read_to_string(workspace::root().join(front)).unwrap_or_default();
        for line in CARD.iter().filter(|line| !text.contains(*line)) {
            violations.add("card", format!("{}: no line `{line}`", front.display()));
        }
    }
}

/// `src/<room>` of a file in it.
fn room_of(path: &Path) -> Option<&Path> {
    path.starts_with("src").then(|| path.ancestors().find(|part| part.components().count() == 2)).flatten()
}

fn lines_with(text: &str, fits: impl Fn(&str) -> bool) -> Vec<usize> {
    text.lines().zip(1..).filter(|(line, _)| fits(line)).map(|(_, number)| number).collect()
}
