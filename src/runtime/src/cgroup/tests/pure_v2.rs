//! The v2 code, on the v2 hierarchy of this host with whatever controllers it has.

use super::{Place, root};

#[test]
fn v2_alone_holds_a_container() {
    root!();
    let Some(mut place) = Place::on_v2() else {
        return super::skip(module_path!(), "this host has no cgroup v2");
    };
    let cgroup = place.create("{}");
    place.run(&cgroup, "sleep 100");
    assert!(!cgroup.pids().unwrap().is_empty());
    assert!(cgroup.stats().unwrap().cpu.usage.user < 1_000_000_000);
    cgroup.kill(9).unwrap();
    cgroup.remove().unwrap();
    assert!(place.is_gone());
}

#[test]
fn raw_files_are_written_when_their_controller_is_there() {
    root!();
    let (Some(place), Some(other)) = (Place::on_v2(), Place::on_v2()) else {
        return super::skip(module_path!(), "this host has no cgroup v2");
    };
    place.create(r#"{"unified": {"cgroup.max.depth": "7", "cgroup.max.descendants": "5"}}"#);
    assert_eq!(place.read("", "cgroup.max.depth"), "7");
    let error = other.try_create(r#"{"unified": {"nosuch.max": "1"}}"#).unwrap_err();
    let want = "unified resource \"nosuch.max\" can't be set: controller \"nosuch\" not available";
    assert_eq!(error.to_string(), want);
}

#[test]
fn without_v2_there_are_no_raw_files() {
    root!();
    let Some(place) = Place::on_v1() else {
        return super::skip(module_path!(), "this host has no cgroup v1");
    };
    let error = place.try_create(r#"{"unified": {"memory.max": "1"}}"#).unwrap_err();
    assert!(error.to_string().contains("cannot use unified on cgroup v1"), "{error}");
}
