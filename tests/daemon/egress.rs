//! What a container may connect to, by its label and its tenant's list.

use casemate_tests::wait_until;

use crate::World;
use crate::networks::{inspect, web};

/// Whether a client with this list reaches what is published by the host's address.
fn reaches(world: &World, label: Option<&str>, address: &str) -> bool {
    let label = label.map(|list| format!("io.casemate.egress={list}"));
    let flags: Vec<&str> = label.iter().flat_map(|label| ["--label", label]).collect();
    let script = format!("timeout 3 wget -q -O - http://{address}/; exit $?");
    let words =
        [&["run", "--rm", "--network", "client"][..], &flags, &["busybox", "sh", "-c", &script]].concat();
    world.docker(words).run().text() == "server"
}

#[test]
fn a_label_allows_what_it_lists_and_no_more() {
    let world = World::start();
    world.ok(&["network", "create", "client"]);
    web(&world, "server", &["-p", "0.0.0.0::80"]);
    let port = world.ok(&["port", "server", "80/tcp"]);
    let port = port.rsplit(':').next().expect("a port").to_owned();
    let gateway = inspect(&world, "server", "{{.NetworkSettings.Gateway}}");
    let address = format!("{gateway}:{port}");
    wait_until("it is reached without a list", || reaches(&world, None, &address));
    assert!(!reaches(&world, Some("none"), &address), "none reaches something");
    // What is listed is the address that is asked for, not the one behind a published port.
    assert!(reaches(&world, Some(&format!("{address}/tcp")), &address), "what is listed is not reached");
    assert!(!reaches(&world, Some(&format!("{address}/udp")), &address), "another protocol is reached");
    assert!(!reaches(&world, Some("192.0.2.0/24 example.org"), &address), "what is not listed is reached");
    for (label, says) in
        [("io.casemate.egress=", "is empty"), ("io.casemate.egress=what?", "invalid egress rule")]
    {
        world.docker(["create", "--label", label, "busybox", "true"]).run().fails_saying(&[says]);
    }
    let events =
        ["events", "--since", "1", "--until", "0s", "--filter", "type=network", "--format", "{{.Action}}"];
    let told = world.ok(&events);
    for action in ["create", "connect", "disconnect"] {
        assert!(told.lines().any(|line| line == action), "{action}: {told}");
    }
    world.ok(&["rm", "-f", "server"]);
    world.stop();
}

#[test]
fn a_tenants_list_holds_for_all_its_containers() {
    let world = World::configured("[tenants.default.egress]\nallow = []\n");
    world.import();
    world.ok(&["network", "create", "client"]);
    web(&world, "server", &["-p", "0.0.0.0::80"]);
    web(&world, "near", &["--network", "client"]);
    let port = world.ok(&["port", "server", "80/tcp"]);
    let port = port.rsplit(':').next().expect("a port").to_owned();
    let gateway = inspect(&world, "server", "{{.NetworkSettings.Gateway}}");
    let near = inspect(&world, "near", "{{.NetworkSettings.Networks.client.IPAddress}}");
    let fetch = |address: &str| {
        let url = format!("http://{address}/");
        world.docker(["exec", "near", "timeout", "3", "wget", "-q", "-O", "-", &url]).run()
    };
    wait_until("it serves", || fetch(&near).text() == "near");
    assert!(!fetch(&format!("{gateway}:{port}")).success(), "the tenant's list is passed over");
    let widen = format!("io.casemate.egress={gateway}");
    let script = format!("timeout 3 wget -q -O - http://{gateway}:{port}/; exit $?");
    let words = ["run", "--rm", "--label", &widen, "--network", "client", "busybox", "sh", "-c", &script];
    assert!(!world.docker(words).run().success(), "a label widens the tenant's list");
    world.ok(&["rm", "-f", "server", "near"]);
    world.stop();
}
