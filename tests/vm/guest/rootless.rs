//! Rootless: ranges through newuidmap, and a host that delegates nothing.

use casemate_tests::json;

use crate::Case;
use crate::fixture::{Container, wait_text};
use crate::host::{Host, USER};

pub const CASES: &[Case] = &[
    Case { name: "newuidmap", place: |h| h.rootless && h.delegated, run: newuidmap },
    Case { name: "limits_without_delegation", place: |h| !h.delegated, run: limits_without_delegation },
];

/// The range that /etc/subuid gives to the user.
const SUB_IDS: u32 = 100_000;

fn newuidmap(host: &Host) {
    let mut container = Container::sh(
        host,
        "id -u; cat /proc/self/uid_map; touch /tmp/x; echo done >/tmp/ready; exec sleep 1000",
    );
    container.bundle.edit(|c| {
        let mappings = json!([
            {"containerID": 0, "hostID": USER, "size": 1},
            {"containerID": 1, "hostID": SUB_IDS, "size": 65_536},
        ]);
        c["linux"]["uidMappings"] = mappings.clone();
        c["linux"]["gidMappings"] = mappings;
        c["process"]["user"] = json!({"uid": 33, "gid": 33});
    });
    container.up();
    wait_text(&container.shared("tmp/ready"));
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", container.bundle.pid()))
        .expect("read the mapping");
    let fields: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(fields, [["0", "1000", "1"], ["1", "100000", "65536"]]);
    let owner =
        std::os::unix::fs::MetadataExt::uid(&container.shared("tmp/x").metadata().expect("the file it made"));
    assert_eq!(owner, SUB_IDS + 32);
    container.down();
}

fn limits_without_delegation(host: &Host) {
    let mut container = Container::sleeping(host);
    container.limit(json!({"pids": {"limit": 50}}));
    container.bundle.run_detached().fails_saying(&["cgroup"]);
    container.bundle.delete_force();
    container.bundle.assert_clean();
}
