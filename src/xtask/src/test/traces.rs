//! What containers leave on a host when something goes wrong: compared before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::command;
use crate::failure::{Doing as _, Outcome};

/// Mounts, control groups, network devices, firewall rules and state folders, one line each.
pub struct Traces {
    lines: BTreeSet<String>,
}

impl Traces {
    /// Looks at the host as it is now.
    pub fn take() -> Outcome<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").doing("/proc/self/mountinfo")?;
        let places: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        let mut lines: BTreeSet<String> = places.iter().map(|place| format!("mount {place}")).collect();

        for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
            if let Some(place) = line.split(' ').nth(4) {
                add_groups(Path::new(place), Path::new(""), &mut lines);
            }
        }
        for folder in ["/sys/class/net", "/run/netns", "/run/casemate", "/run/runc", "/run/crun"] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            lines.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        lines.extend(id_ranges(Path::new("/run/casemate/@ids")));
        lines.remove("/run/casemate/@ids");
        for (program, args) in
            [("nft", &["list", "tables"][..]), ("iptables-save", &[]), ("ip6tables-save", &[])]
        {
            lines.extend(firewall(program, args));
        }
        Ok(Self { lines })
    }

    /// What has come since and stays. The kernel takes some things down after the last process has gone, so what
    /// is found gets a few seconds to vanish.
    pub fn left_since(before: &Self) -> Outcome<Vec<String>> {
        let mut left = Self::take()?.lines;
        left.retain(|line| !before.lines.contains(line));
        for _ in 0..10 {
            if left.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(500));
            let now = Self::take()?.lines;
            left.retain(|line| now.contains(line));
        }
        Ok(left.into_iter().collect())
    }
}

/// Ranges of ids that are still some container's; the pool itself and where it goes on is there to stay.
fn id_ranges(pool: &Path) -> Vec<String> {
    let entries = fs::read_dir(pool).into_iter().flatten().flatten();
    let owners = entries.filter_map(|entry| Some((fs::read_link(entry.path()).ok()?, entry.file_name())));
    owners.map(|(owner, first)| format!("ids {} of {}", first.display(), owner.display())).collect()
}

/// By name within the hierarchy: a container has one group of the same name in each.
fn add_groups(hierarchy: &Path, group: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(hierarchy.join(group)).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let group = group.join(entry.file_name());
            lines.insert(format!("cgroup /{}", group.display()));
            add_groups(hierarchy, &group, lines);
        }
    }
}

/// Rules only: comments carry dates, and counters change by themselves.
fn firewall(program: &str, args: &[&str]) -> Vec<String> {
    let Some(found) = command::find(program) else { return Vec::new() };
    let rules = command::output(Command::new(found).args(args)).unwrap_or_default();
    let rule = |line: &str| line.starts_with("-A") || line.starts_with("table");
    rules.lines().filter(|line| rule(line)).map(|line| format!("{program}: {line}")).collect()
}
