//! What containers leave on a host when something goes wrong: compared before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::command;
use crate::failure::{Doing as _, Outcome};

/// Mounts, control groups, network devices and namespaces, firewall rules and state folders, one line each.
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
        lines.extend(network_namespaces());
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

/// Those that a process is in; others have a name in /run/netns, or are mounted somewhere.
fn network_namespaces() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok());
    found.map(|namespace| format!("network namespace {}", namespace.display())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) {
        let mut words = line.split(' ');
        let program = words.next().expect("a program");
        let output = Command::new(program).args(words).output().expect(program);
        assert!(output.status.success(), "{line}: {output:?}");
    }

    /// The comparison can fail, for everything that networks leave.
    #[test]
    fn what_is_left_of_networks_is_told() {
        let before = Traces::take().expect("taken");
        let name = format!("cmt{}", std::process::id());
        run(&format!("ip link add {name} type bridge"));
        run(&format!("nft add table inet casemate-{name}"));
        run(&format!("ip netns add {name}"));
        let mut inside = Command::new("unshare").args(["--net", "sleep", "100"]).spawn().expect("unshare");
        let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
        let path = format!("/proc/{}/ns/net", inside.id());
        let theirs = loop {
            match fs::read_link(&path).expect("a namespace") {
                theirs if theirs != own => break theirs,
                _ => thread::sleep(Duration::from_millis(2)),
            }
        };
        let left = Traces::left_since(&before).expect("compared");
        inside.kill().expect("killed");
        inside.wait().expect("its end");
        run(&format!("ip netns delete {name}"));
        run(&format!("nft delete table inet casemate-{name}"));
        run(&format!("ip link delete {name}"));
        for expected in [
            format!("/sys/class/net/{name}"),
            format!("nft: table inet casemate-{name}"),
            format!("/run/netns/{name}"),
            format!("network namespace {}", theirs.display()),
        ] {
            assert!(left.contains(&expected), "{expected}: {left:#?}");
        }
        let left = Traces::left_since(&before).expect("compared");
        assert!(!left.iter().any(|line| line.contains(&name)), "{left:#?}");
    }
}
