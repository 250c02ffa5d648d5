//! Linux 6.1 lacks things: our answers name them.

use casemate_tests::json;

use crate::Case;
use crate::fixture::Container;
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "features_answers", place: |h| !h.peer, run: features_answers },
    Case { name: "tmpfs_cannot_be_idmapped", place: ours_as_root, run: tmpfs_cannot_be_idmapped },
    Case { name: "no_intel_rdt", place: ours_as_root, run: no_intel_rdt },
];

fn ours_as_root(host: &Host) -> bool {
    host.is_root() && !host.peer
}

fn features_answers(host: &Host) {
    let container = Container::sleeping(host);
    let features = container.bundle.command(["features"]).run().ok().json();
    assert!(features["linux"]["cgroup"]["v2"].as_bool().is_some_and(|v2| v2), "{features}");
}

/// tmpfs takes id mappings since Linux 6.3.
fn tmpfs_cannot_be_idmapped(host: &Host) {
    let mut container = Container::sleeping(host);
    let source = "/dev/shm";
    container.bundle.edit(|c| {
        let mappings = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
        let mount = json!({"destination": "/mapped", "type": "none", "source": source,
            "options": ["bind", "idmap"], "uidMappings": mappings, "gidMappings": mappings});
        c["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    container.bundle.run_detached().fails_saying(&["id-map", source, "tmpfs 6.3"]);
    container.bundle.delete_force();
    container.bundle.assert_clean();
}

fn no_intel_rdt(host: &Host) {
    let mut container = Container::sleeping(host);
    container.bundle.edit(|c| c["linux"]["intelRdt"] = json!({"closID": "guaranteed"}));
    container.bundle.run_detached().fails_saying(&["intelRdt", "resctrl"]);
    container.bundle.delete_force();
    container.bundle.assert_clean();
}
