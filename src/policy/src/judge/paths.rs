//! Masked and read-only paths: what of the kernel's own files a container sees, and may write.

use std::path::{Component, Path};

use oci_spec::runtime::Linux;

use super::Case;
use crate::schema::AbsolutePath;

/// A path as it will be walked, without a file system to ask: `.` and doubled slashes gone, `..` resolved.
pub(crate) fn plain(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or("\u{fffd}")),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", parts.join("/"))
}

pub(super) fn apply(case: &mut Case<'_>) {
    let (masked, read_only) = (&case.rules.paths.masked, &case.rules.paths.read_only);
    add(case, "masked-paths", "linux.maskedPaths", masked, Linux::masked_paths, |linux, list| {
        linux.set_masked_paths(Some(list));
    });
    add(case, "read-only-paths", "linux.readonlyPaths", read_only, Linux::readonly_paths, |linux, list| {
        linux.set_readonly_paths(Some(list));
    });
}

fn add(
    case: &mut Case<'_>,
    rule: &'static str,
    field: &str,
    wanted: &[AbsolutePath],
    get: fn(&Linux) -> &Option<Vec<String>>,
    set: fn(&mut Linux, Vec<String>),
) {
    let asked = case.linux().and_then(|linux| get(linux).as_deref()).unwrap_or_default();
    let missing: Vec<String> =
        wanted.iter().filter(|path| !asked.contains(&path.0)).map(|path| path.0.clone()).collect();
    if missing.is_empty() {
        return;
    }
    let list: Vec<String> = asked.iter().chain(&missing).cloned().collect();
    set(case.linux_mut(), list);
    case.change(rule, field, "not listed", missing.join(" "));
}
