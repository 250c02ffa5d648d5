//! Hosts of other kinds, by their `/proc/self/mountinfo` and `/proc/self/cgroup`.

use std::path::Path;

use casemate_spec::ContainerId;
use proptest::prelude::*;

use super::super::layout::Layout;
use super::super::{Placement, Wish};

const V1: (&str, &str) = (
    "25 30 0:23 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
     26 25 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd\n\
     27 25 0:25 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
     28 25 0:26 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory\n\
     29 25 0:27 / /sys/fs/cgroup/devices rw shared:12 - cgroup cgroup rw,devices\n\
     31 25 0:28 / /sys/fs/cgroup/elogind rw shared:13 - cgroup cgroup rw,name=elogind\n",
    "5:name=elogind:/x\n4:devices:/user.slice\n3:memory:/user.slice/s.scope\n2:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice/s.scope\n",
);
const V2: (&str, &str) = (
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    "0::/user.slice/user-1000.slice/session-2.scope\n",
);
/// A Docker container on a v1 host without a cgroup namespace: the mount shows the container's own cgroup.
const NESTED_V1: (&str, &str) = (
    "40 30 0:25 /docker/0123 /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n\
     41 30 0:27 /docker/0123 /sys/fs/cgroup/devices ro,nosuid - cgroup cgroup rw,devices\n",
    "3:devices:/docker/0123\n2:memory:/docker/0123/inner\n0::/docker/0123\n",
);
/// The host's hierarchy, mounted outside of our cgroup namespace.
const FOREIGN: (&str, &str) =
    ("30 23 0:26 /../.. /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n", "0::/\n");

fn layout((mountinfo, cgroup): (&str, &str)) -> Layout {
    Layout::parse(mountinfo.as_bytes(), cgroup.as_bytes()).unwrap()
}

fn place(host: (&str, &str), path: Option<&str>) -> casemate_spec::Result<Placement> {
    let id: ContainerId = "c1".parse().unwrap();
    layout(host).place(&Wish { id: &id, path: path.map(Path::new), systemd: false, rootless: false })
}

fn paths(host: (&str, &str), path: Option<&str>) -> Vec<String> {
    let placement = place(host, path).unwrap();
    placement.paths().into_iter().map(|(name, path)| format!("{name}={}", path.display())).collect()
}

#[test]
fn v1_with_controllers_mounted_together() {
    assert_eq!(
        paths(V1, Some("/docker/c1")),
        [
            "cpu=/sys/fs/cgroup/cpu,cpuacct/docker/c1",
            "cpuacct=/sys/fs/cgroup/cpu,cpuacct/docker/c1",
            "devices=/sys/fs/cgroup/devices/docker/c1",
            "memory=/sys/fs/cgroup/memory/docker/c1",
            "name=systemd=/sys/fs/cgroup/systemd/docker/c1",
        ]
    );
}

#[test]
fn a_relative_path_starts_from_our_own_cgroup_in_each_hierarchy() {
    let paths = paths(V1, None);
    assert!(paths.contains(&"memory=/sys/fs/cgroup/memory/user.slice/s.scope/c1".to_owned()));
    assert!(paths.contains(&"devices=/sys/fs/cgroup/devices/user.slice/c1".to_owned()));
}

#[test]
fn on_v2_a_relative_path_starts_beside_our_own_cgroup() {
    assert_eq!(paths(V2, None), ["=/sys/fs/cgroup/user.slice/user-1000.slice/c1"]);
    assert_eq!(paths(V2, Some("/a/b")), ["=/sys/fs/cgroup/a/b"]);
    assert!(place(V2, None).unwrap().is_pure_v2());
}

#[test]
fn in_a_container_what_is_mounted_is_taken_off_our_own_path() {
    assert_eq!(
        paths(NESTED_V1, Some("x")),
        ["devices=/sys/fs/cgroup/devices/x", "memory=/sys/fs/cgroup/memory/inner/x"]
    );
}

#[test]
fn a_mount_from_outside_the_cgroup_namespace_serves_absolute_paths_only() {
    assert_eq!(paths(FOREIGN, Some("/x")), ["=/sys/fs/cgroup/x"]);
    let error = place(FOREIGN, None).unwrap_err();
    assert!(error.to_string().contains("outside of what is mounted"), "{error}");
}

#[test]
fn of_two_mounts_the_one_at_the_conventional_place_is_taken() {
    let twice = format!("50 23 0:26 / /mnt/cg\\040x rw - cgroup2 none rw\n{}", V2.0);
    assert_eq!(layout((&twice, V2.1)).unified.unwrap().mount, Path::new("/sys/fs/cgroup"));
    let only = layout(("50 23 0:26 / /mnt/cg\\040x rw - cgroup2 none rw\n", V2.1));
    assert_eq!(only.unified.unwrap().mount, Path::new("/mnt/cg x"));
}

#[test]
fn a_path_that_is_no_cgroup_of_its_own_is_refused() {
    for path in ["/", ".", "..", "/..", "/a/..", "./"] {
        assert!(place(V2, Some(path)).is_err(), "{path:?} was accepted");
    }
}

#[test]
fn without_any_hierarchy_only_the_rootless_go_on() {
    let id: ContainerId = "c1".parse().unwrap();
    let wish = Wish { id: &id, path: None, systemd: false, rootless: false };
    assert!(layout(("", "")).place(&wish).is_err());
    assert!(layout(("", "")).place(&Wish { rootless: true, ..wish }).is_ok());
}

#[test]
fn a_placement_survives_the_state_file() {
    let placement = place(V1, None).unwrap();
    let json = serde_json::to_string(&placement).unwrap();
    assert_eq!(serde_json::from_str::<Placement>(&json).unwrap(), placement);
}

proptest! {
    #[test]
    fn no_path_leads_out_of_the_hierarchy(path in "[a/.]{0,24}") {
        if let Ok(placement) = place(V2, Some(&path)) {
            for path in placement.paths().into_values() {
                prop_assert!(path.starts_with("/sys/fs/cgroup") && path != Path::new("/sys/fs/cgroup"));
                prop_assert!(path.components().all(|part| part.as_os_str() != ".."));
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reading(mountinfo in any::<Vec<u8>>(), cgroup in any::<Vec<u8>>()) {
        Layout::parse(&mountinfo, &cgroup).ok();
    }
}
