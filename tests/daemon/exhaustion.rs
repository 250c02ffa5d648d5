//! What there is only so much of: addresses, ports, ranges, networks. Whoever comes too late is told so in Docker's words,
//! leaves nothing, and gets what somebody else has given back.

use std::net::TcpListener;

use casemate_tests::Output;

use crate::networks::{inspect, web};
use crate::{ADMIN, Alone, World};

#[track_caller]
fn refused(output: &Output, says: &str) {
    assert!(!output.success() && output.stderr().contains(says), "{says}: {output}");
}

fn run(world: &World, name: &str, flags: &[&str]) -> Output {
    world.docker([&["run", "-d", "--name", name], flags, &["busybox", "sleep", "600"]].concat()).run()
}

/// The host's ends of this world's containers.
fn interfaces(world: &World) -> usize {
    let table = world.table();
    let names = std::fs::read_dir("/sys/class/net").expect("the host's interfaces").flatten();
    let ours = names.filter(|entry| {
        let alias = std::fs::read_to_string(entry.path().join("ifalias")).unwrap_or_default();
        entry.file_name().to_string_lossy().starts_with("cmv") && alias.trim() == table
    });
    ours.count()
}

#[test]
fn a_network_without_a_free_address_takes_nobody() {
    let world = World::start();
    let id = world.ok(&["network", "create", "--subnet", "10.216.0.0/29", "small"]);
    let flags = ["--network", "small"];
    // Without its own address, the bridge's and the broadcast.
    for number in 2..7 {
        run(&world, &format!("c{number}"), &flags).ok();
    }
    let none = format!("no available IPv4 addresses on this network's address pools: small ({id})");
    refused(&run(&world, "late", &flags), &none);
    let shown = "{{.State.Status}} {{.NetworkSettings.Networks.small.IPAddress}}";
    assert_eq!(inspect(&world, "late", shown), "created");
    assert_eq!(world.ok(&["network", "inspect", "--format", "{{len .Containers}}", "small"]), "5");
    refused(&world.docker(["start", "late"]).run(), &none);
    // One that runs elsewhere is not connected either, and stays what it was.
    run(&world, "elsewhere", &[]).ok();
    refused(&world.docker(["network", "connect", "small", "elsewhere"]).run(), &none);
    assert_eq!(inspect(&world, "elsewhere", "{{len .NetworkSettings.Networks}}"), "1");
    let count = ["exec", "elsewhere", "sh", "-c", "ls -d /sys/class/net/eth* | wc -l"];
    assert_eq!(world.ok(&count), "1");
    // An address that is given back is the next one's.
    world.ok(&["rm", "-f", "c4"]);
    world.ok(&["start", "late"]);
    assert_eq!(inspect(&world, "late", shown), "running 10.216.0.4");
    assert_eq!(world.ok(&["exec", "late", "hostname", "-i"]), "10.216.0.4");
    world.ok(&["stop", "-t", "0", "c2"]);
    world.ok(&["network", "connect", "small", "elsewhere"]);
    refused(&world.docker(["start", "c2"]).run(), &none);
    world.ok(&["rm", "-f", "c2", "c3", "c5", "c6", "late", "elsewhere"]);
    world.ok(&["network", "rm", "small"]);
    world.stop();
}

/// Ports of which as many as these are free, one after the other.
fn free(count: u16) -> u16 {
    let own = u16::try_from(std::process::id() % 1000).expect("small");
    let all = |base: &u16| (*base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (20_000 + own * 10..30_000).step_by(usize::from(count)).find(all).expect("free ports")
}

#[test]
fn a_range_of_ports_without_a_free_one_takes_nobody() {
    let world = World::start();
    let base = free(3);
    let range = format!("127.0.0.1:{base}-{}:80", base + 2);
    for number in 0..3 {
        let name = format!("c{number}");
        run(&world, &name, &["-p", &range]).ok();
        assert_eq!(world.ok(&["port", &name, "80"]), format!("127.0.0.1:{}", base + number));
    }
    let before = interfaces(&world);
    assert_eq!(before, 3);
    let late = run(&world, "late", &["-p", &range]);
    refused(&late, "failed to set up container networking: driver failed programming external connectivity");
    refused(&late, &format!("Bind for 127.0.0.1:{base} failed: all ports are allocated"));
    assert_eq!(inspect(&world, "late", "{{.State.Status}}{{.NetworkSettings.IPAddress}}"), "created");
    assert_eq!(interfaces(&world), before, "a failed start leaves an interface");
    world.ok(&["rm", "-f", "c1"]);
    world.ok(&["start", "late"]);
    assert_eq!(world.ok(&["port", "late", "80"]), format!("127.0.0.1:{}", base + 1));
    world.ok(&["rm", "-f", "c0", "c2", "late"]);
    for port in base..base + 3 {
        TcpListener::bind(("127.0.0.1", port)).expect("the port is free again");
    }
    world.stop();
}

/// A route of the host's, to an address that documents alone use, for as long as it is needed.
struct Route<'a>(&'a World, &'static str);

impl<'a> Route<'a> {
    fn add(world: &'a World, range: &'static str) -> Self {
        world.outside("ip").args(["route", "add", range, "dev", "lo"]).run().ok();
        Self(world, range)
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        self.0.outside("ip").args(["route", "del", self.1, "dev", "lo"]).run().ok();
    }
}

#[test]
fn ranges_come_from_the_pools_and_never_meet_a_route() {
    let world = World::configured(
        "[[default-address-pools]]\nbase = \"10.217.0.0/22\"\nsize = 24\n[tenants.default]\nnetworks = 5\n",
    );
    world.import();
    let range =
        |name: &str| world.ok(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", name]);
    // The way of the host to somewhere: half of the second range.
    let route = Route::add(&world, "10.217.1.128/25");
    assert_eq!(range("bridge"), "10.217.0.0/24");
    for (name, expected) in [("one", "10.217.2.0/24"), ("two", "10.217.3.0/24")] {
        world.ok(&["network", "create", name]);
        assert_eq!(range(name), expected);
    }
    let create = |words: &[&str]| world.docker([&["network", "create"], words].concat()).run();
    let none = "all predefined address pools have been fully subnetted";
    refused(&create(&["three"]), none);
    let overlap = "Pool overlaps with other one on this address space";
    refused(&create(&["--subnet", "10.217.1.0/24", "three"]), overlap);
    refused(&create(&["--subnet", "10.217.1.192/26", "three"]), overlap);
    assert!(!world.docker(["network", "inspect", "three"]).run().success(), "half a network is there");
    // What is asked for beside the pools is to be had.
    create(&["--subnet", "10.218.0.0/24", "three"]).ok();
    drop(route);
    create(&["four"]).ok();
    assert_eq!(range("four"), "10.217.1.0/24");
    web(&world, "web", &["--network", "four"]);
    assert!(inspect(&world, "web", "{{.NetworkSettings.Networks.four.IPAddress}}").starts_with("10.217.1."));
    // A network that is gone has given its range back.
    world.ok(&["network", "rm", "one"]);
    create(&["five"]).ok();
    assert_eq!(range("five"), "10.217.2.0/24");
    create(&["--subnet", "10.219.0.0/24", "six"]).ok();
    refused(
        &create(&["--subnet", "10.219.1.0/24", "seven"]),
        "quota of tenant default: it has 5 of 5 networks",
    );
    world.ok(&["rm", "-f", "web"]);
    world.ok(&["network", "rm", "two", "three", "four", "five", "six"]);
    world.stop();
}

#[test]
fn a_tenant_has_as_many_networks_as_the_broker_holds() {
    let daemon = Alone::start("[[default-address-pools]]\nbase = \"10.0.0.0/8\"\nsize = 24\n");
    let client = daemon.client(ADMIN);
    let create = |who: &crate::Client, number: usize| {
        let body = casemate_tests::json!({ "Name": format!("n{number}") });
        who.request("POST", "/networks/create", Some(&body))
    };
    client.fetch("/networks/bridge");
    // The one that every tenant has is one of them.
    for number in 1..256 {
        let reply = create(&client, number);
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    let reply = create(&client, 256);
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(reply.text().contains("quota of tenant default: it has 255 of 255 networks"), "{}", reply.text());
    // Others are not concerned, and one that is gone makes room.
    assert_eq!(create(&daemon.client("casemate://red/x?groups=admin"), 1).status, 201);
    assert_eq!(client.request("DELETE", "/networks/n7", None).status, 204);
    assert_eq!(create(&client, 256).status, 201);
}

#[test]
fn a_tenant_cannot_keep_the_others_from_having_networks() {
    let daemon = Alone::start(
        "[[default-address-pools]]\nbase = \"10.217.0.0/21\"\nsize = 24\n[tenants.red]\ncontainers = 9\n",
    );
    let (own, red) = (daemon.client(ADMIN), daemon.client("casemate://red/x?groups=admin"));
    let create = |who: &crate::Client, name: &str, subnet: Option<&str>| {
        let config: Vec<_> =
            subnet.map(|subnet| casemate_tests::json!({ "Subnet": subnet })).into_iter().collect();
        let body = casemate_tests::json!({ "Name": name, "IPAM": { "Config": config } });
        who.request("POST", "/networks/create", Some(&body))
    };
    own.fetch("/networks/bridge");
    for name in ["n1", "n2", "n3"] {
        let reply = create(&own, name, None);
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    // With one more it would have more than it leaves; and with one that lies across what is left.
    let says =
        "quota of tenant default: 4 of the 8 ranges of default-address-pools are its own and it would leave";
    for (subnet, left) in [(None, 3), (Some("10.217.4.0/22"), 0), (Some("10.217.7.128/25"), 3)] {
        let reply = create(&own, "n4", subnet);
        assert_eq!(reply.status, 403, "{subnet:?}: {}", reply.text());
        assert!(reply.text().contains(&format!("{says} {left} for")), "{subnet:?}: {}", reply.text());
    }
    // What lies beside the pools is nobody's loss.
    assert_eq!(create(&own, "n4", Some("10.219.0.0/24")).status, 201);
    red.fetch("/networks/bridge");
    let reply = create(&red, "n1", None);
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(create(&red, "n2", None).status, 403);
    assert_eq!(own.request("DELETE", "/networks/n1", None).status, 204);
    assert_eq!(own.request("DELETE", "/networks/n2", None).status, 204);
    assert_eq!(create(&red, "n2", None).status, 201);
}
