//! Networks on another kernel, with control groups of version 2 and the unit that is shipped: made, reached by port and by
//! name, and there again when the host has started anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use casemate_tests::engine::wait_patiently;

use crate::Case;
use crate::host::Host;
use crate::site::{IMAGE, docker, try_docker, up};

pub const CASES: &[Case] = &[
    Case { name: "networks_are_made", place: |h| h.daemon, run: networks_are_made },
    Case { name: "networks_carry_packets", place: |h| h.daemon, run: networks_carry_packets },
];
/// After it.
pub const AFTER: &[Case] =
    &[Case { name: "networks_after_a_reboot", place: |h| h.daemon, run: networks_after_a_reboot }];

/// What is written down meanwhile.
const SHOWN: &str = "/root/shown";

const SERVE: &str = "echo $0 >/tmp/index.html; exec httpd -f -p 80 -h /tmp";

fn web(name: &str, flags: &[&str]) {
    let words = [&["run", "-d", "--name", name], flags, &[IMAGE, "sh", "-c", SERVE, name]];
    docker(&words.concat());
}

/// What is said at an address of this host.
fn fetch(url: &str) -> String {
    let output = Command::new("busybox").args(["timeout", "5", "wget", "-q", "-O", "-", url]).output();
    String::from_utf8_lossy(&output.expect("run busybox").stdout).trim_end().to_owned()
}

fn reaches(from: &str, name: &str) {
    let url = format!("http://{name}/");
    wait_patiently("it is reached by its name", || {
        let output = try_docker(&["exec", from, "timeout", "5", "wget", "-q", "-O", "-", &url]);
        String::from_utf8_lossy(&output.stdout).trim_end() == name
    });
}

/// The kernel loads what it needs for bridges and rules, one module after the other, which takes its time here.
fn networks_are_made(_: &Host) {
    up();
    let id = docker(&["network", "create", "--ipv6", "back"]);
    assert!(bridges().contains(&bridge_of(&id)));
    docker(&["network", "rm", "back"]);
    assert!(!bridges().contains(&bridge_of(&id)));
}

/// What is there still when the host has started anew: all of it is told to start again.
fn networks_carry_packets(_: &Host) {
    up();
    docker(&[
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "10.214.0.0/24",
        "--subnet",
        "fd00:214::/64",
        "back",
    ]);
    let always = ["--restart", "always", "--network", "back"];
    web("web", &[&always[..], &["-p", "8080:80", "--ip", "10.214.0.77", "--network-alias", "site"]].concat());
    web("peer", &always);
    wait_patiently("the port answers", || fetch("http://127.0.0.1:8080/") == "web");
    reaches("peer", "web");
    fs::write(SHOWN, shown()).expect("write down what there is");
}

/// All that clients see of the network.
fn shown() -> String {
    docker(&["network", "inspect", "--format", "{{.Id}} {{json .IPAM}} {{json .Options}}", "back"])
}

fn networks_after_a_reboot(_: &Host) {
    assert!(!Path::new("/run/casemate").exists() && bridges().is_empty(), "this host has not started anew");
    up();
    assert_eq!(shown(), fs::read_to_string(SHOWN).expect("what there was"));
    wait_patiently("the port answers", || fetch("http://127.0.0.1:8080/") == "web");
    assert_eq!(docker(&["port", "web"]), "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080");
    reaches("peer", "web");
    let found = try_docker(&["exec", "peer", "nslookup", "-type=a", "site"]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("10.214.0.77"));
    docker(&["rm", "-f", "web", "peer"]);
    let id = docker(&["network", "inspect", "--format", "{{.Id}}", "back"]);
    assert!(bridges().contains(&bridge_of(&id)));
    docker(&["network", "rm", "back"]);
    assert!(!bridges().contains(&bridge_of(&id)));
}

fn bridge_of(id: &str) -> String {
    format!("cmb{}", id.get(..12).expect("an id"))
}

fn bridges() -> Vec<String> {
    let names = fs::read_dir("/sys/class/net").expect("the interfaces").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("cmb")).collect()
}
