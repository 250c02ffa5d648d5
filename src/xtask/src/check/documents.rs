//! Rules about documents: a link within the repository leads somewhere.

use std::path::Path;

use crate::check::{Files, Violations};
use crate::workspace;

/// Follows every relative link of every page.
pub fn check(files: &Files, violations: &mut Violations) {
    for (path, text) in files.texts(&["md"]) {
        for (number, target) in links(&text) {
            let folder = path.parent().unwrap_or(Path::new(""));
            if !workspace::root().join(folder).join(target).exists() {
                violations.add("dead link", format!("{}:{number}: {target}", path.display()));
            }
        }
    }
}

/// Line number and target of each link to a file, outside code blocks.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (line, number) in text.lines().zip(1..) {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let is_file =
            |target: &&str| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
        found.extend(targets.filter(is_file).map(|target| (number, target)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn links_to_files_are_found_outside_code() {
        let text = "[a](b.md#c) and [d](https://e)\n```\n[f](g)\n```\n[h](i/j) [k](#l)\n";
        assert_eq!(links(text), [(1, "b.md"), (5, "i/j")]);
    }
}
