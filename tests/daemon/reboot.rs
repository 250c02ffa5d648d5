//! A host that starts anew: whatever was to start again does, on the networks that were there, with the addresses, names and
//! ports that it had.

use std::net::{SocketAddr, TcpListener, TcpStream};

use casemate_tests::engine::wait_patiently;
use casemate_tests::wait_until;

use crate::World;
use crate::networks::{address, cannot_reach, inspect, network, reaches, web};

#[test]
fn networks_ports_and_names_are_there_again() {
    let mut world = World::start();
    world.ok(&["network", "create", "--subnet", "10.221.0.0/24", "--ipv6", "--label", "a=b", "back"]);
    world.ok(&["network", "create", "--internal", "shut"]);
    let always = ["--restart", "always", "--network", "back"];
    web(&world, "site", &[&always[..], &["--ip", "10.221.0.77", "-p", "0.0.0.0::80"]].concat());
    web(&world, "app", &[&always[..], &["--network-alias", "application"]].concat());
    web(&world, "once", &["--network", "back"]);
    web(&world, "plain", &["--restart", "unless-stopped"]);
    web(&world, "stopped", &["--restart", "unless-stopped", "--network", "back"]);
    world.ok(&["network", "connect", "shut", "app"]);
    reaches(&world, "app", "site", "site");
    world.ok(&["stop", "-t", "0", "stopped"]);
    let shown = "{{.Id}} {{.Created}} {{json .IPAM}} {{json .Labels}} {{.Internal}}";
    let show = |world: &World| ["bridge", "back", "shut"].map(|name| network(world, name, shown));
    let port: SocketAddr = world.ok(&["port", "site", "80"]).parse().expect("an address");
    let before = (show(&world), inspect(&world, "site", "{{.NetworkSettings.Networks.back.MacAddress}}"));

    let again = ["app", "plain", "site"];
    let started = |world: &World, name: &str| inspect(world, name, "{{.State.Status}} {{.State.StartedAt}}");
    let first = again.map(|name| started(&world, name));

    world.reboot();

    // Until it has looked, the daemon knows of those that ran before.
    wait_patiently("all that was to run runs", || {
        let now = again.map(|name| started(&world, name));
        now.iter().zip(&first).all(|(now, first)| now.starts_with("running ") && now != first)
    });
    let mut running: Vec<String> =
        world.ok(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    running.sort_unstable();
    assert_eq!(running, again);
    let after = (show(&world), inspect(&world, "site", "{{.NetworkSettings.Networks.back.MacAddress}}"));
    assert_eq!(after, before);
    assert_eq!(address(&world, "site", "back"), "10.221.0.77");
    assert_eq!(world.ok(&["port", "site", "80"]), port.to_string());
    let here = SocketAddr::from(([127, 0, 0, 1], port.port()));
    wait_until("the port answers", || {
        use std::io::{Read, Write};
        let mut text = String::new();
        let asked = TcpStream::connect(here).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut text)
        });
        asked.is_ok() && text.trim_end().ends_with("site")
    });
    assert!(TcpListener::bind(here).is_err(), "a program of the host takes the port");
    reaches(&world, "app", "site", "site");
    reaches(&world, "site", "application", "app");
    reaches(&world, "app", &address(&world, "app", "shut"), "app");
    assert_eq!(inspect(&world, "app", "{{len .NetworkSettings.Networks}}"), "2");
    cannot_reach(&world, "plain", "10.221.0.77");
    // What was not to start again has no address and no name, and gets both when it starts.
    assert_eq!(address(&world, "once", "back"), "");
    cannot_reach(&world, "app", "once");
    world.ok(&["start", "once", "stopped"]);
    reaches(&world, "app", "once", "once");
    reaches(&world, "once", "stopped", "stopped");
    world.ok(&["rm", "-f", "site", "app", "once", "plain", "stopped"]);
    world.ok(&["network", "rm", "back", "shut"]);
    world.stop();
}
