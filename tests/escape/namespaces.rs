//! New namespaces and mounts from inside: root in a namespace of one's own is where kernel code that was written for
//! root is reached by everybody.

use casemate_tests::{Bundle, json};

use crate::attack::{FROM_BASELINE, Fate, operations, operations_in};

#[test]
fn new_namespaces() {
    operations(
        FROM_BASELINE,
        &[
            "namespace:new user",
            "namespace:new mount",
            "namespace:new network",
            "namespace:new pid",
            "namespace:new ipc",
            "namespace:new uts",
            "namespace:new cgroup",
            "namespace:new time",
            "namespace:clone user",
            "namespace:clone3 user",
            "namespace:clone3 mount",
            "namespace:setns own network",
            "namespace:setns own mount",
        ],
    );
}

/// What a new user namespace is good for: CVE-2022-0185, CVE-2023-32233, CVE-2024-1086 and their kin.
#[test]
fn root_of_a_new_user_namespace() {
    operations(FROM_BASELINE, &["namespace:netfilter as root of a new user"]);
    operations(FROM_BASELINE, &["namespace:mount as root of a new user"]);
}

/// An unprivileged user inside needs no capability to try the same.
#[test]
fn a_user_without_privilege_makes_no_namespace_either() {
    let names = ["namespace:new user", "namespace:netfilter as root of a new user"];
    operations_in(FROM_BASELINE, &names, |bundle| {
        bundle.edit(|c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            c["process"].as_object_mut().expect("an object").remove("capabilities");
        });
    });
}

#[test]
fn roots_of_the_host() {
    operations(FROM_BASELINE, &["namespace:root of the host"]);
}

#[test]
fn mounts_from_inside() {
    operations(
        FROM_BASELINE,
        &[
            "mount:tmpfs",
            "mount:proc",
            "mount:sysfs",
            "mount:overlay",
            "mount:cgroup",
            "mount:cgroup2",
            "mount:devtmpfs",
            "mount:debugfs",
            "mount:tracefs",
            "mount:bpf",
            "mount:binfmt_misc",
            "mount:bind",
            "mount:remount / writable",
            "mount:make / shared",
            "mount:pivot_root",
            "mount:fsopen",
            "mount:open_tree clone",
            "mount:fspick",
            "mount:move_mount",
            "mount:mount_setattr",
        ],
    );
}

/// A mask is a mount, and whoever may unmount takes it off.
#[test]
fn masks_and_read_only_paths_taken_off() {
    let covered = |bundle: &mut Bundle| {
        bundle.edit(|c| {
            c["linux"]["maskedPaths"] = json!(["/proc/keys", "/sys/firmware"]);
            c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        });
    };
    operations_in(FROM_BASELINE, &["mount:remount /proc/sys writable"], covered);
    let names = [
        "mount:take the mask off /proc/keys",
        "mount:take the mask off /sys/firmware",
        "mount:take read-only off /proc/sys",
    ];
    operations_in(FROM_BASELINE, &names, covered);
}

/// A change of root takes no directory away that is open, and forgets the masks of the old root.
#[test]
fn a_change_of_root() {
    operations([Fate::Succeeds, Fate::Succeeds, Fate::Stopped, Fate::Stopped], &["mount:chroot"]);
}
