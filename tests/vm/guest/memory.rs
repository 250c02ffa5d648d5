//! Out of memory: the exit code, the count, the event.

use std::fs;

use casemate_tests::{json, wait_until};

use crate::Case;
use crate::fixture::{Container, Group};
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "oom_kills_the_container", place: Host::has_cgroups, run: oom_kills_the_container },
    Case { name: "oom_is_an_event", place: Host::has_cgroups, run: oom_is_an_event },
    Case { name: "swap_is_usable", place: Host::is_root, run: swap_is_usable },
];

/// The pages of a tmpfs belong to who writes them.
const EAT: &str = "dd if=/dev/zero of=/dev/eaten bs=1M count=60 2>/dev/null";

fn oom_kills_the_container(host: &Host) {
    let mut container = Container::sh(host, &format!("exec {EAT}"));
    container.limit(json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}));
    container.bundle.run().fails_with(137);
    container.bundle.assert_clean();
}

fn oom_is_an_event(host: &Host) {
    let mut container =
        Container::sh(host, &format!("until [ -e /go ]; do sleep 0.1; done; {EAT}; exec sleep 1000"));
    container.limit(json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}}));
    let group: Group = container.up();
    let mut events = container.bundle.command(["events", "--interval", "60s", container.bundle.id()]).spawn();
    // The watch has to be there before the event: inotify instances and eventfds show in the watcher's descriptors.
    wait_until("events watches", || watches(events.pid()));
    fs::write(container.shared("go"), "").expect("give the word");
    wait_until("the kernel has killed", || group.entry("memory.events", "oom_kill") > 0);
    wait_until("the event is printed", || events.stdout().contains("\"type\":\"oom\""));
    assert!(!events.ended(), "events ends while the container runs");
    assert_eq!(container.bundle.status(), "running");
    container.bundle.kill("KILL").ok();
    events.wait().ok();
    container.down();
}

fn watches(pid: i32) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.to_string_lossy().contains("inotify"))
}

/// With swap beyond the limit the same meal is only slow.
fn swap_is_usable(host: &Host) {
    let mut container = Container::sh(host, EAT);
    container.limit(json!({"memory": {"limit": 24 << 20, "swap": 128 << 20}}));
    container.bundle.run().ok();
    container.bundle.assert_clean();
}
