//! What a container gets on each of its networks, and what becomes of it over its life, as under Docker.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use casemate_tests::wait_until;

use crate::World;
use crate::harness::within;
use crate::networks::{inspect, web};

fn idle(world: &World, name: &str, flags: &[&str]) {
    world.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat());
}

fn inside(world: &World, name: &str, script: &str) -> String {
    world.ok(&["exec", name, "sh", "-c", script])
}

fn of(world: &World, name: &str, network: &str, field: &str) -> String {
    inspect(world, name, &format!("{{{{(index .NetworkSettings.Networks {network:?}).{field}}}}}"))
}

fn finds(world: &World, from: &str, name: &str) -> bool {
    world.docker(["exec", from, "nslookup", "-type=a", name, "127.0.0.11"]).run().success()
}

/// As the host's root in a container's network: what is in it may send no raw packets.
fn pings(world: &World, from: &str, address: &str) -> bool {
    let pid = inspect(world, from, "{{.State.Pid}}").parse().expect("a pid");
    let ping = || Command::new("busybox").args(["ping", "-c", "1", "-W", "2", address]).output();
    within(pid, ping).is_ok_and(|output| output.status.success())
}

#[track_caller]
fn refused(world: &World, words: &[&str], says: &str) {
    world.docker(words).run().fails_saying(&[says]);
}

#[test]
fn several_networks_are_asked_for_at_once() {
    let world = World::start();
    world.ok(&["network", "create", "--subnet", "10.217.0.0/24", "left"]);
    world.ok(&["network", "create", "--subnet", "10.218.0.0/24", "right"]);
    let left = "name=left,ip=10.217.0.9,alias=port,mac-address=02:42:0a:d9:00:63";
    let flags = ["--network", left, "--network", "name=right,alias=starboard", "--hostname", "ship"];
    idle(&world, "ship", &[&flags[..], &["--domainname", "sea.test"]].concat());
    assert_eq!(of(&world, "ship", "left", "IPAddress"), "10.217.0.9");
    assert_eq!(of(&world, "ship", "left", "MacAddress"), "02:42:0a:d9:00:63");
    assert_eq!(inside(&world, "ship", "cat /sys/class/net/eth0/address"), "02:42:0a:d9:00:63");
    let right = of(&world, "ship", "right", "IPAddress");
    let shown = inside(&world, "ship", "ip -o -4 address show dev eth1");
    assert!(right.starts_with("10.218.0.") && shown.contains(&right), "{right}: {shown}");
    assert_eq!(inside(&world, "ship", "hostname; hostname -d"), "ship\nsea.test");
    let hosts = inside(&world, "ship", "cat /etc/hosts");
    assert!(hosts.contains("10.217.0.9\tship.sea.test ship"), "{hosts}");
    // The way out is that of the first by name.
    assert!(inside(&world, "ship", "ip route").contains("default via 10.217.0.1 dev eth0"));
    idle(&world, "gull", &["--network", "right"]);
    assert!(finds(&world, "gull", "starboard") && !finds(&world, "gull", "port"));
    let words = ["run", "--rm", "--mac-address", "02:42:ac:11:00:99", "busybox", "cat"];
    assert_eq!(world.ok(&[&words[..], &["/sys/class/net/eth0/address"]].concat()), "02:42:ac:11:00:99");
    // What goes out by the higher priority does so whatever the names are.
    let flags = ["--network", "left", "--network", "name=right,gw-priority=1"];
    idle(&world, "tide", &flags);
    assert!(inside(&world, "tide", "ip route").contains("default via 10.218.0.1 dev eth1"));
    for (flags, says) in [
        (&["--network", "name=left,ip=10.217.0.9"][..], "Address already in use"),
        (
            &["--network", "name=left,ip=10.219.0.9"],
            "no configured subnet or ip-range contain the IP address 10.219.0.9",
        ),
        (&["--network", "bridge", "--ip", "172.17.0.77"], "user defined networks only"),
        (&["--network", "left", "--mac-address", "01:00:5e:00:00:01"], "not the address of one device"),
        (&["--network", "nowhere"], "network nowhere not found"),
    ] {
        let words = [&["run", "--rm"], flags, &["busybox", "true"]].concat();
        refused(&world, &words, says);
    }
    world.ok(&["rm", "-f", "ship", "gull", "tide"]);
    world.stop();
}

#[test]
fn questions_for_names_are_asked_as_the_flags_say() {
    let world = World::start();
    world.ok(&["network", "create", "lan"]);
    let flags = ["--dns", "192.0.2.53", "--dns-search", "corp.test", "--dns-opt", "ndots:2"];
    let shown = |network: &str| {
        let words =
            [&["run", "--rm", "--network", network], &flags[..], &["busybox", "cat", "/etc/resolv.conf"]];
        world.ok(&words.concat())
    };
    let (lan, bridge) = (shown("lan"), shown("bridge"));
    assert!(lan.contains("nameserver 127.0.0.11"), "{lan}");
    assert!(bridge.contains("nameserver 192.0.2.53"), "{bridge}");
    for text in [lan, bridge] {
        assert!(text.contains("search corp.test") && text.contains("options ndots:2"), "{text}");
    }
    let words = ["create", "--name", "asked", "--dns-search", "a.test", "--dns-option", "timeout:1"];
    world.ok(&[&words[..], &["busybox", "true"]].concat());
    assert_eq!(
        inspect(&world, "asked", "{{.HostConfig.DnsSearch}} {{.HostConfig.DnsOptions}}"),
        "[a.test] [timeout:1]"
    );
    world.ok(&["rm", "asked"]);
    world.stop();
}

#[test]
fn the_host_is_found_by_its_usual_name() {
    let world = World::start();
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut bytes = [0; 512];
            let read = stream.read(&mut bytes).expect("a request");
            assert!(bytes[..read].starts_with(b"GET"));
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nthe host").expect("an answer");
        }
    });
    world.ok(&["network", "create", "lan"]);
    for network in ["bridge", "lan"] {
        let host = ["run", "--rm", "--network", network, "--add-host", "host.docker.internal:host-gateway"];
        let url = format!("http://host.docker.internal:{port}/");
        let said = world.ok(&[&host[..], &["busybox", "wget", "-q", "-O", "-", &url]].concat());
        assert_eq!(said, "the host", "{network}");
    }
    server.join().expect("both were served");
    world.stop();
}

#[test]
fn what_is_paused_stopped_or_renamed_is_shown_so() {
    let world = World::start();
    world.ok(&["network", "create", "--subnet", "10.219.0.0/24", "lan"]);
    web(&world, "one", &["--network", "lan"]);
    idle(&world, "fixed", &["--network", "lan", "--ip", "10.219.0.50"]);
    idle(&world, "two", &["--network", "lan"]);
    let members = || {
        let text =
            world.ok(&["network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", "lan"]);
        let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    let id = inspect(&world, "one", "{{.Id}}");
    let member = |field: &str| {
        world.ok(&[
            "network",
            "inspect",
            "--format",
            &format!("{{{{(index .Containers {id:?}).{field}}}}}"),
            "lan",
        ])
    };
    let address = of(&world, "one", "lan", "IPAddress");
    assert_eq!(members(), "fixed one two");
    assert_eq!(member("IPv4Address"), format!("{address}/24"));
    assert_eq!(member("MacAddress"), of(&world, "one", "lan", "MacAddress"));
    assert_eq!(member("EndpointID"), of(&world, "one", "lan", "EndpointID"));
    // Its processes stand still; its part of the kernel does not, under Docker neither.
    world.ok(&["pause", "one"]);
    assert_eq!(members(), "fixed one two");
    assert!(pings(&world, "two", &address), "what is paused has its address");
    let url = format!("http://{address}/");
    let fetch = ["exec", "two", "timeout", "1", "wget", "-q", "-O", "-", &url];
    assert!(!world.docker(fetch).run().success(), "what is paused answers");
    world.ok(&["unpause", "one"]);
    wait_until("it answers again", || world.docker(fetch).run().text() == "one");
    world.ok(&["rename", "one", "uno"]);
    assert_eq!(members(), "fixed two uno");
    assert_eq!(member("Name"), "uno");
    // A new start is a new endpoint; what was asked for is the same.
    let before = of(&world, "uno", "lan", "EndpointID");
    world.ok(&["restart", "-t", "0", "uno", "fixed"]);
    assert_ne!(of(&world, "uno", "lan", "EndpointID"), before);
    assert_eq!(of(&world, "fixed", "lan", "IPAddress"), "10.219.0.50");
    world.ok(&["stop", "-t", "0", "uno", "fixed"]);
    assert_eq!(members(), "two");
    assert_eq!(of(&world, "fixed", "lan", "IPAddress"), "");
    assert_eq!(of(&world, "fixed", "lan", "IPAMConfig.IPv4Address"), "10.219.0.50");
    assert!(!pings(&world, "two", &address) && !finds(&world, "two", "uno"), "what is stopped has nothing");
    // An address that is nobody's at the moment is anybody's.
    idle(&world, "thief", &["--network", "lan", "--ip", "10.219.0.50"]);
    refused(&world, &["start", "fixed"], "Address already in use");
    world.ok(&["rm", "-f", "thief"]);
    world.ok(&["start", "fixed", "uno"]);
    assert!(pings(&world, "two", "10.219.0.50"));
    world.ok(&["rm", "-f", "uno", "fixed", "two"]);
    world.stop();
}

#[test]
fn connections_are_made_and_undone_by_hand() {
    let world = World::start();
    world.ok(&["network", "create", "--subnet", "10.220.0.0/24", "lan"]);
    world.ok(&["network", "create", "plain"]);
    idle(&world, "db", &["--network", "lan"]);
    idle(&world, "app", &[]);
    idle(&world, "idle", &[]);
    let connect = ["network", "connect", "--link", "db:store", "--alias", "front", "--ip", "10.220.0.7"];
    world.ok(&[&connect[..], &["--driver-opt", "a=b", "lan", "app"]].concat());
    assert_eq!(of(&world, "app", "lan", "IPAddress"), "10.220.0.7");
    assert_eq!(of(&world, "app", "lan", "Links"), "[db:store]");
    assert!(finds(&world, "db", "front"));
    for (words, says) in [
        (
            &["--ip", "10.221.0.7", "lan", "idle"][..],
            "no configured subnet or ip-range contain the IP address",
        ),
        (&["--ip", "10.220.0.7", "lan", "idle"], "Address already in use"),
        (
            &["--ip", "10.220.0.7", "plain", "app"],
            "only when connecting to networks with user configured subnets",
        ),
        (&["--ip", "10.220.0.9", "lan", "app"], "endpoint with name app already exists in network lan"),
        (&["host", "app"], "connected to host network"),
        (&["none", "app"], "private (none) mode"),
        (&["nowhere", "app"], "network nowhere not found"),
    ] {
        refused(&world, &[&["network", "connect"], words].concat(), says);
    }
    assert_eq!(inspect(&world, "idle", "{{len .NetworkSettings.Networks}}"), "1");
    // A stopped one is taken off by force or without; what is gone already, by its name.
    world.ok(&["stop", "-t", "0", "app"]);
    world.ok(&["network", "disconnect", "-f", "lan", "app"]);
    assert_eq!(inspect(&world, "app", "{{len .NetworkSettings.Networks}}"), "1");
    world.ok(&["network", "connect", "plain", "app"]);
    world.ok(&["network", "rm", "plain"]);
    refused(&world, &["start", "app"], "failed to set up container networking: network");
    world.ok(&["network", "disconnect", "-f", "plain", "app"]);
    world.ok(&["start", "app"]);
    refused(&world, &["network", "disconnect", "-f", "lan", "nobody"], "No such container: nobody");
    refused(&world, &["network", "rm", "lan"], "network lan has active endpoints (name:\"db\"");
    // Who is refused keeps the others from nothing.
    world.ok(&["network", "create", "spare"]);
    refused(&world, &["network", "rm", "lan", "spare"], "has active endpoints");
    refused(&world, &["network", "inspect", "spare"], "network spare not found");
    world.ok(&["rm", "-f", "db", "app", "idle"]);
    world.stop();
}

#[test]
fn networks_are_listed_and_pruned_by_what_they_are() {
    let world = World::start();
    world.ok(&["network", "create", "--label", "stage=test", "alpha"]);
    world.ok(&["network", "create", "--label", "stage=live", "--internal", "beta"]);
    world.ok(&["network", "create", "used"]);
    idle(&world, "user", &["--network", "used"]);
    let list = |filters: &[&str]| {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        world.ok(&[&["network", "ls", "--format", "{{.Name}}"], &flags[..]].concat()).replace('\n', " ")
    };
    for (filters, found) in [
        (&["label=stage"][..], "alpha beta"),
        (&["label=stage=live"], "beta"),
        (&["label=stage", "name=alp"], "alpha"),
        (&["name=alpha", "name=beta"], "alpha beta"),
        (&["driver=bridge", "type=builtin"], "bridge"),
        (&["scope=local", "type=custom"], "alpha beta used"),
        (&["scope=swarm"], ""),
        (&["dangling=1"], "alpha beta"),
        (&["dangling=false", "type=custom"], "used"),
        (&["driver=host"], "host"),
    ] {
        assert_eq!(list(filters), found, "{filters:?}");
    }
    for (filter, says) in [
        ("colour=red", "invalid filter 'colour'"),
        ("dangling=perhaps", "invalid filter 'dangling"),
        ("type=odd", "invalid filter 'type=odd'"),
    ] {
        refused(&world, &["network", "ls", "--filter", filter], says);
    }
    let prune = |filter: &str| world.ok(&["network", "prune", "-f", "--filter", filter]);
    assert_eq!(prune("until=1h"), "");
    assert_eq!(prune("label=stage=none"), "");
    assert_eq!(prune("label!=stage=live"), "Deleted Networks:\nalpha");
    refused(&world, &["network", "prune", "-f", "--filter", "name=beta"], "invalid filter 'name'");
    assert_eq!(prune("until=0s"), "Deleted Networks:\nbeta");
    assert_eq!(list(&["type=custom"]), "used");
    world.ok(&["rm", "-f", "user"]);
    world.stop();
}
