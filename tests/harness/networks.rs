//! What a test may have left of networks: interfaces, tables of rules, and network namespaces that have a name.

use std::fs;
use std::process::Command;

use crate::Leak;

const NAMESPACES: &str = "/run/netns";

/// Everything that carries the id: our interfaces have their instance's name for their alias, our tables are called so.
/// What has no name ends with the last process in it, which is a leak itself.
pub fn networks(id: &str) -> Vec<Leak> {
    let interfaces = names("/sys/class/net").into_iter().filter(|name| {
        let alias = fs::read_to_string(format!("/sys/class/net/{name}/ifalias")).unwrap_or_default();
        name.contains(id) || alias.contains(id)
    });
    let namespaces = names(NAMESPACES).into_iter().filter(|name| name.contains(id));
    let tables = tables().into_iter().filter(|table| table.contains(id));
    let interfaces = interfaces.map(Leak::Interface);
    interfaces.chain(tables.map(Leak::Table)).chain(namespaces.map(Leak::NetworkNamespace)).collect()
}

/// Removes it.
pub fn sweep_networks(id: &str) {
    for leak in networks(id) {
        let (program, words) = match &leak {
            Leak::Interface(name) => ("ip", format!("link delete {name}")),
            Leak::Table(table) => ("nft", format!("delete {table}")),
            Leak::NetworkNamespace(name) => ("ip", format!("netns delete {name}")),
            _ => continue,
        };
        // The far end of a pair goes with the near one: what is gone is as good.
        Command::new(program).args(words.split(' ')).output().ok();
    }
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// As `table inet NAME`; none on a host without nft(8).
fn tables() -> Vec<String> {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{find_leaks, sweep};

    /// The check can fail, for each of what it looks for.
    #[test]
    fn what_is_left_of_networks_is_found_and_swept() {
        let id = format!("cmleak{}", std::process::id());
        let nowhere = Path::new("/nonexistent").join(&id);
        let find = || find_leaks(&id, &nowhere, &nowhere);
        assert_eq!(find(), []);
        let interface = format!("cml{}", std::process::id());
        let run = |line: &str| {
            let mut words = line.split(' ');
            let program = words.next().expect("a program");
            let output = Command::new(program).args(words).output().expect(program);
            assert!(output.status.success(), "{line}: {output:?}");
        };
        run(&format!("ip link add {interface} type bridge"));
        assert_eq!(find(), [], "an interface of somebody else's");
        run(&format!("ip link set {interface} alias casemate-{id}"));
        run(&format!("nft add table inet casemate-{id}"));
        run(&format!("ip netns add {id}"));
        let left = find();
        let expected = [
            Leak::Interface(interface),
            Leak::Table(format!("table inet casemate-{id}")),
            Leak::NetworkNamespace(id.clone()),
        ];
        sweep(&id, &nowhere);
        assert!(expected.iter().all(|leak| left.contains(leak)), "{left:#?}");
        assert_eq!(find(), []);
    }
}
