//! Rules about packages: who imports whom among ours, and what we take from others.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::check::{Violations, licence};
use crate::failure::{Doing as _, Outcome};
use crate::{command, workspace};

/// Who may import whom. The tests and xtask stand outside the product; everything else is listed.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("casemate-core", &[]),
    ("casemate-spec", &[]),
    ("casemate-policy", &["casemate-spec"]),
    ("casemate-runtime", &["casemate-core", "casemate-spec", "casemate-policy"]),
    ("casemate-broker", &["casemate-core", "casemate-spec", "casemate-policy"]),
    ("casemate-shim", &["casemate-core", "casemate-spec"]),
    ("casemate-layer", &["casemate-spec"]),
    ("casemate-net", &["casemate-core", "casemate-spec"]),
    ("casemate-dns", &["casemate-spec"]),
    ("casemate-engine", &["casemate-spec"]),
    ("casemate-daemon", &["casemate-engine", "casemate-spec"]),
    ("casemate-cli", &["casemate-spec", "casemate-policy"]),
    ("casemate-xtask", &["casemate-cli", "casemate-runtime"]),
];
const TESTS: &str = "casemate-tests";
/// Packages whose whole closure is written down, so that its growth is seen in review.
const CLOSURES: [&str; 6] = ["core", "runtime", "broker", "shim", "layer", "net"];

/// Applies all of them; `bless` writes the closures instead of comparing them.
pub fn check(bless: bool, violations: &mut Violations) -> Outcome {
    let text = command::output(workspace::cargo().args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).doing("cargo metadata")?;
    let members: BTreeSet<&str> = strings(&metadata["workspace_members"]).collect();
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();

    let (ours, foreign): (Vec<&Value>, Vec<&Value>) = packages
        .into_iter()
        .partition(|package| package["id"].as_str().is_some_and(|id| members.contains(id)));
    let names: BTreeSet<&str> = ours.iter().map(|package| name(package)).collect();
    imports(&ours, &names, violations);
    reasons(&ours, &names, violations);
    licences(&foreign, violations);
    for room in CLOSURES {
        closure(room, bless, violations)?;
    }
    Ok(())
}

fn imports(ours: &[&Value], names: &BTreeSet<&str>, violations: &mut Violations) {
    for package in ours.iter().filter(|package| name(package) != TESTS) {
        let Some((_, allowed)) = IMPORTS.iter().find(|(room, _)| *room == name(package)) else {
            violations.add("imports", format!("{}: not in the import table", name(package)));
            continue;
        };
        for import in direct(package).filter(|import| names.contains(import) && !allowed.contains(import)) {
            violations.add("imports", format!("{} imports {import}", name(package)));
        }
    }
}

/// docs/dependencies.md says of every package we name why it is there.
fn reasons(ours: &[&Value], names: &BTreeSet<&str>, violations: &mut Violations) {
    let page = fs::read_to_string(workspace::root().join("docs/dependencies.md")).unwrap_or_default();
    let direct: BTreeSet<&str> = ours.iter().flat_map(|package| direct(package)).collect();
    for package in direct.difference(names).filter(|package| !page.contains(&format!("`{package}`"))) {
        violations.add("docs/dependencies.md", format!("does not name `{package}`"));
    }
}

fn licences(foreign: &[&Value], violations: &mut Violations) {
    for package in foreign {
        let licence = package["license"].as_str().unwrap_or_default();
        if !licence::is_accepted(licence) {
            violations.add("licence", format!("{}: {licence:?}", name(package)));
        }
        if !package["source"].as_str().unwrap_or_default().starts_with("registry+") {
            violations.add("source", format!("{}: not from the registry", name(package)));
        }
    }
}

fn closure(room: &str, bless: bool, violations: &mut Violations) -> Outcome {
    let package = format!("casemate-{room}");
    let mut tree = workspace::cargo();
    tree.args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", &package]);
    let listed = command::output(&mut tree)?;
    let names: BTreeSet<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let now: String = names.iter().map(|name| format!("{name}\n")).collect();

    let file = workspace::root().join(format!("docs/closure-{room}.txt"));
    if bless {
        return fs::write(&file, now).doing(file.display());
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    let known: BTreeSet<&str> = known.lines().collect();
    for added in names.difference(&known) {
        violations.add(
            "closure",
            format!("{package} has grown by {added} (`cargo xtask check --bless` once agreed)"),
        );
    }
    for gone in known.difference(&names) {
        violations.add("closure", format!("{package} has lost {gone} (`cargo xtask check --bless`)"));
    }
    Ok(())
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn direct(package: &Value) -> impl Iterator<Item = &str> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|dependency| dependency["name"].as_str())
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
