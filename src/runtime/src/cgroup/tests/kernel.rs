//! Making, entering, freezing, killing and removing, on this host's hierarchies.

use super::{Place, resources_of, root};

#[test]
fn what_is_made_can_be_entered_and_removed() {
    root!();
    let mut place = Place::new();
    let cgroup = place.create("{}");
    let paths = place.placement.paths();
    assert!(paths.values().all(|path| path.is_dir()));
    let listed = place.output(&cgroup, "cat /proc/self/cgroup");
    for (_, _, path) in place.placement.hierarchies() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(listed.matches(&name).count(), place.placement.hierarchies().count(), "{listed}");
    }
    cgroup.remove().unwrap();
    assert!(place.is_gone());
    cgroup.remove().unwrap();
    assert!(place.placement.open().unwrap().is_empty());
}

#[test]
fn an_entry_leads_into_every_hierarchy() {
    root!();
    let place = Place::new();
    let entry = place.create("{}").entry().unwrap();
    let v1 = place.placement.hierarchies().filter(|(controllers, ..)| !controllers.is_empty()).count();
    assert_eq!(entry.tasks.len(), v1);
    assert_eq!(entry.unified.is_some(), place.placement.paths().contains_key(""));
}

#[test]
fn an_occupied_cgroup_is_not_shared() {
    root!();
    let mut place = Place::new();
    let cgroup = place.create("{}");
    place.run(&cgroup, "sleep 100");
    let error = place.placement.create(None).unwrap_err();
    assert!(error.to_string().contains("container's cgroup is not empty: "), "{error}");
    assert!(!cgroup.pids().unwrap().is_empty());
}

#[test]
fn a_failed_creation_leaves_nothing() {
    root!();
    let place = Place::new();
    let error = place.try_create(r#"{"cpu": {"shares": 1024, "cpus": "4000-5000"}}"#).unwrap_err();
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    assert!(place.is_gone());
}

#[test]
fn processes_below_are_listed_killed_and_removed_too() {
    root!();
    let mut place = Place::new();
    let cgroup = place.create("{}");
    let below: Vec<String> =
        place.placement.paths().values().map(|path| format!("mkdir -p {0}/a/b", path.display())).collect();
    let devices = place.path("devices");
    let script = format!(
        "{}\nsh -c 'echo $$ >{}/a/b/cgroup.procs; exec sleep 100' &\nsleep 100",
        below.join("\n"),
        devices.display()
    );
    place.run(&cgroup, &script);
    wait("three processes", || cgroup.pids().unwrap().len() == 3);
    cgroup.kill(9).unwrap();
    assert!(cgroup.pids().unwrap().is_empty());
    cgroup.remove().unwrap();
    assert!(place.is_gone());
}

#[test]
fn freezing_stops_and_thawing_lets_go_on() {
    root!();
    for mut place in Place::on_each_side() {
        let cgroup = place.create("{}");
        assert!(!cgroup.frozen().unwrap());
        let pid = place.run(&cgroup, "while :; do :; done").id();
        let time = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.split(' ').nth(13).unwrap().parse::<u64>().unwrap()
        };
        wait("the process to run", || time() > 3);
        cgroup.freeze().unwrap();
        assert!(cgroup.frozen().unwrap());
        let then = time();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(time(), then);
        cgroup.thaw().unwrap();
        assert!(!cgroup.frozen().unwrap());
        wait("the process to go on", || time() > then + 3);
    }
}

#[test]
fn frozen_processes_can_be_killed() {
    root!();
    for mut place in Place::on_each_side() {
        let cgroup = place.create("{}");
        place.run(&cgroup, "sleep 100 & sleep 100");
        wait("three processes", || cgroup.pids().unwrap().len() == 3);
        cgroup.freeze().unwrap();
        cgroup.kill(9).unwrap();
        assert!(cgroup.pids().unwrap().is_empty());
    }
}

#[test]
fn forks_do_not_outrun_the_killing() {
    root!();
    for mut place in Place::on_each_side() {
        let cgroup = place.create("{}");
        place.run(&cgroup, "f() { while :; do sleep 0.2 & done; }; f & f & f");
        wait("many processes", || cgroup.pids().unwrap().len() > 20);
        cgroup.kill(9).unwrap();
        assert!(cgroup.pids().unwrap().is_empty());
    }
}

#[test]
fn any_signal_reaches_all() {
    root!();
    let mut place = Place::new();
    let cgroup = place.create("{}");
    // A real-time signal, which few interfaces can name.
    place.run(&cgroup, "trap 'exit 7' 36; while :; do sleep 0.01; done");
    std::thread::sleep(std::time::Duration::from_millis(100));
    cgroup.kill(36).unwrap();
    let status = place.children.last_mut().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(7));
    assert!(cgroup.kill(4000).is_ok(), "nobody is left to be signalled");
}

#[test]
fn exec_can_go_to_a_cgroup_below() {
    root!();
    let place = Place::new();
    let cgroup = place.create("{}");
    let argument = |text: &str| vec![text.to_owned()];
    for path in place.placement.paths().values() {
        std::fs::create_dir_all(path.join("in/ner")).unwrap();
    }
    assert!(cgroup.sub(&argument("in/ner")).is_ok());
    assert!(cgroup.sub(&argument("/in/ner")).is_ok());
    if place.is_v1("memory") && place.is_v1("pids") {
        let sub = cgroup.sub(&argument("memory,systemd:in")).unwrap();
        assert!(sub.v1_dir("memory").unwrap().path().ends_with("in"));
        assert!(!sub.v1_dir("pids").unwrap().path().ends_with("in"));
    }
    for bad in ["missing", "memory:missing", "nope:in", "a:b:c", ",memory:in", "..", "memory,memory:in"] {
        assert!(cgroup.sub(&argument(bad)).is_err(), "{bad:?} was accepted");
    }
    assert!(cgroup.sub(&["in".to_owned(), "memory:in".to_owned()]).is_err());
}

#[test]
fn running_out_of_memory_is_news() {
    root!();
    let mut place = Place::new();
    let cgroup = place.create(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#);
    let mut watch = cgroup.oom_events().unwrap();
    assert_eq!(watch.read().unwrap(), super::super::OomNews::Nothing);
    place.run(&cgroup, "tail /dev/zero");
    wait("the news", || watch.read().unwrap() == super::super::OomNews::Oom);
    cgroup.kill(9).unwrap();
    cgroup.remove().unwrap();
    wait("the end", || watch.read().unwrap() == super::super::OomNews::Gone);
}

#[test]
fn usage_is_counted() {
    root!();
    let mut place = Place::new();
    let cgroup = place.create(r#"{"pids": {"limit": 50}, "memory": {"limit": 67108864}}"#);
    place.output(&cgroup, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    place.run(&cgroup, "sleep 100");
    // The kernel charges memory in batches.
    wait("memory to be charged", || cgroup.stats().unwrap().memory.usage.usage > 0);
    let stats = cgroup.stats().unwrap();
    assert!(stats.cpu.usage.total > 1_000_000);
    assert_eq!((stats.pids.limit, stats.memory.usage.limit), (50, 67_108_864));
    assert!(stats.pids.current >= 1);
    assert!(!stats.memory.raw.is_empty());
    assert_eq!(stats.cpuset.cpus.is_empty(), !place.is_v1("cpuset"));
}

#[test]
fn an_update_after_the_end_is_an_error() {
    root!();
    let place = Place::new();
    let cgroup = place.create("{}");
    cgroup.remove().unwrap();
    assert!(cgroup.apply(&resources_of(r#"{"pids": {"limit": 5}}"#)).is_err());
}

pub(super) fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !until() {
        assert!(std::time::Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
