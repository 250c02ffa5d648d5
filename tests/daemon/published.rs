//! Published ports with traffic: from another machine, from the host, from containers; by both protocols and families.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_tests::wait_until;

use crate::World;
use crate::harness::{Outside, Server, ask_tcp, ask_udp};
use crate::networks::inspect;

/// The port that servers in containers listen on.
const PORT: u16 = 5353;

/// A container in which nothing runs that listens.
fn idle(world: &World, name: &str, flags: &[&str]) {
    world.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat());
}

fn pid(world: &World, name: &str) -> u32 {
    inspect(world, name, "{{.State.Pid}}").parse().expect("a pid")
}

fn address(world: &World, name: &str) -> String {
    inspect(world, name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

fn gateway(world: &World, name: &str) -> String {
    inspect(world, name, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}")
}

/// The port of the host that a container's is published on.
fn published(world: &World, name: &str, port: &str) -> u16 {
    let told = world.ok(&["port", name, port]);
    told.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// A port of the host that nobody has, and that nobody is given by chance while a container does without it.
fn steady() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 5000).expect("a number") * 2;
    let free = |port: &u16| {
        TcpListener::bind(("0.0.0.0", *port)).is_ok()
            && UdpSocket::bind(("0.0.0.0", *port)).is_ok()
            && TcpListener::bind(("::", *port)).is_ok()
    };
    (first..31_000).find(free).expect("a port")
}

fn here() -> u32 {
    std::process::id()
}

fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn both_protocols_reach_a_container_from_everywhere_and_it_sees_who_asks() {
    let world = World::start();
    let outside = Outside::make(1);
    let port = steady();
    let (tcp, udp) = (format!("0.0.0.0:{port}:5353/tcp"), format!("0.0.0.0:{port}:5353/udp"));
    idle(&world, "server", &["-p", &tcp, "-p", &udp]);
    world.ok(&["network", "create", "other"]);
    idle(&world, "neighbour", &[]);
    idle(&world, "cousin", &["--network", "other"]);
    let server = Server::start(pid(&world, "server"), PORT, "server");
    let gateway = gateway(&world, "server");
    let host = outside.host(true, port);
    for (who, asks, to, seen) in [
        ("another machine", outside.pid(), host, outside.own(true).to_string()),
        ("the host, by 127.0.0.1", here(), on_loopback(port), gateway.clone()),
        ("the host, by its own address", here(), host, outside.host(true, 0).ip().to_string()),
        ("another network", pid(&world, "cousin"), host, address(&world, "cousin")),
    ] {
        let says = format!("{seen} server");
        assert_eq!(ask_tcp(asks, to).ok().as_deref(), Some(&*says), "{who}: TCP {to}");
        assert_eq!(ask_udp(asks, to, None).ok().as_deref(), Some(&*says), "{who}: UDP {to}");
    }
    // Whose addresses these two are seen with is told by what else the host's bridges do; the answer is what counts.
    for (who, name) in [("a neighbour", "neighbour"), ("itself", "server")] {
        let answered = |said: std::io::Result<String>| said.is_ok_and(|said| said.ends_with(" server"));
        let asks = pid(&world, name);
        assert!(answered(ask_tcp(asks, host)), "{who}: TCP {host}");
        assert!(answered(ask_udp(asks, host, None)), "{who}: UDP {host}");
    }
    world.ok(&["pause", "server"]);
    world.ok(&["unpause", "server"]);
    assert!(ask_udp(outside.pid(), host, None).is_ok());
    drop(server);
    world.ok(&["rm", "-f", "server", "neighbour", "cousin"]);
    assert!(ask_tcp(outside.pid(), host).is_err() && ask_udp(outside.pid(), host, None).is_err());
    UdpSocket::bind(("0.0.0.0", port)).expect("the port is free");
    world.stop();
}

/// The kernel remembers where datagrams between two ports go, for as long as they keep coming: to nobody, while the
/// container is away, and to who has its address after it.
#[test]
fn datagrams_from_one_port_find_a_container_that_was_restarted() {
    let world = World::start();
    let outside = Outside::make(2);
    world.ok(&["network", "create", "--subnet", "10.216.0.0/24", "lan"]);
    let port = steady();
    idle(&world, "server", &["--network", "lan", "-p", &format!("0.0.0.0:{port}:5353/udp")]);
    let before = address(&world, "server");
    let server = Server::start(pid(&world, "server"), PORT, "first");
    let clients = [(outside.pid(), outside.host(true, port)), (here(), on_loopback(port))];
    for (asks, to) in clients {
        wait_until("it answers", || {
            ask_udp(asks, to, Some(40_001)).is_ok_and(|said| said.ends_with(" first"))
        });
    }
    drop(server);
    world.ok(&["stop", "-t", "0", "server"]);
    // Somebody else has the address, and listens at the same port.
    idle(&world, "heir", &["--network", "lan"]);
    assert_eq!(address(&world, "heir"), before);
    let heir = Server::start(pid(&world, "heir"), PORT, "heir");
    for (asks, to) in clients {
        assert!(ask_udp(asks, to, Some(40_001)).is_err(), "an answer of somebody else's to {asks}");
    }
    world.ok(&["start", "server"]);
    assert_ne!(address(&world, "server"), before);
    let server = Server::start(pid(&world, "server"), PORT, "second");
    for (asks, to) in clients {
        let answered = || ask_udp(asks, to, Some(40_001)).is_ok_and(|said| said.ends_with(" second"));
        // Sooner than what is remembered would be forgotten by itself.
        let until = Instant::now() + Duration::from_secs(5);
        assert!(
            std::iter::repeat_with(answered).take_while(|_| Instant::now() < until).any(|yes| yes),
            "{to}"
        );
    }
    drop((server, heir));
    world.ok(&["rm", "-f", "server", "heir"]);
    world.ok(&["network", "rm", "lan"]);
    world.stop();
}

#[test]
fn ports_are_published_by_the_other_family_where_the_container_has_it() {
    let world = World::start();
    let outside = Outside::make(3);
    world.ok(&["network", "create", "--ipv6", "dual"]);
    let port = steady();
    let both = [format!("[::]:{port}:5353/tcp"), format!("[::]:{port}:5353/udp")];
    idle(&world, "server", &["--network", "dual", "-p", &both[0], "-p", &both[1]]);
    assert_eq!(world.ok(&["port", "server", "5353/udp"]), format!("[::]:{port}"));
    let server = Server::start(pid(&world, "server"), PORT, "server");
    let host = outside.host(false, port);
    let says = format!("{} server", outside.own(false));
    for asked in [ask_tcp(outside.pid(), host), ask_udp(outside.pid(), host, None)] {
        assert_eq!(asked.ok(), Some(says.clone()), "from another machine");
    }
    let says = format!("{} server", host.ip());
    for asked in [ask_tcp(here(), host), ask_udp(here(), host, None)] {
        assert_eq!(asked.ok(), Some(says.clone()), "from the host");
    }
    assert!(ask_tcp(outside.pid(), outside.host(true, port)).is_err(), "IPv4 was not asked for");
    // What cannot be is said when it is asked for, and nothing is left of it.
    for (flags, says) in [
        (&["-p", "[::1]::80"][..], "a port cannot be published on [::1]: publish it on 127.0.0.1"),
        (&["--network", "dual", "-p", "[::1]:8080:80/udp"], "cannot be published on [::1]"),
    ] {
        let words = [&["create", "--name", "bad"], flags, &["busybox", "true"]].concat();
        world.docker(&words).run().fails_saying(&[says]);
        world.docker(["inspect", "bad"]).run().fails_saying(&["No such"]);
    }
    let alone =
        world.docker(["run", "-d", "--name", "four", "-p", "[::]::80", "busybox", "sleep", "9"]).run();
    alone.fails_saying(&["a port cannot be published on ::: the container has no address of that family"]);
    assert_eq!(inspect(&world, "four", "{{.State.Status}}"), "created");
    drop(server);
    world.ok(&["rm", "-f", "server", "four"]);
    world.stop();
}

/// The tables and interfaces of all instances: others' tests change theirs, so that ours alone are compared.
fn rules(world: &World) -> String {
    world.outside("nft").args(["list", "table", "inet", &world.table()]).run().ok().stdout()
}

#[test]
fn a_port_has_one_owner_whoever_came_first_and_a_refusal_leaves_nothing() {
    let world = World::start();
    let free = steady();
    let udp = format!("{free}:5353/udp");
    idle(&world, "first", &["-p", &udp]);
    let before = rules(&world);
    let refused = |publish: &str, says: &[&str]| {
        let words = ["run", "-d", "--name", "second", "-p", publish, "busybox", "sleep", "9"];
        world.docker(words).run().fails_saying(says);
        assert_eq!(inspect(&world, "second", "{{.State.Status}}"), "created");
        world.ok(&["rm", "second"]);
        assert_eq!(rules(&world), before, "{publish}");
    };
    refused(&udp, &[&format!("Bind for 127.0.0.1:{free} failed: port is already allocated")]);
    refused(&format!("0.0.0.0:{udp}"), &["port is already allocated"]);
    // The host's programs have what they have, and get nothing that a container has.
    assert!(UdpSocket::bind(on_loopback(free)).is_err(), "the host takes a container's UDP port");
    assert!(TcpListener::bind(on_loopback(free)).is_ok(), "another protocol's");
    let theirs = UdpSocket::bind(on_loopback(steady())).expect("a port of the host's");
    let taken = theirs.local_addr().expect("its address").port();
    let says = format!("failed to bind host port: listen udp 127.0.0.1:{taken}: address already in use");
    refused(
        &format!("{taken}:5353/udp"),
        &["driver failed programming external connectivity on endpoint second", &says],
    );
    // A range is passed through until one is free; where none is, that is said.
    let range = format!("{taken}-{}:5353/udp", taken + 4);
    idle(&world, "second", &["-p", &range]);
    assert_ne!(published(&world, "second", "5353/udp"), taken);
    world.ok(&["rm", "-f", "second"]);
    drop(theirs);
    idle(&world, "second", &["-p", &format!("{taken}:5353/udp")]);
    world.ok(&["rm", "-f", "first", "second"]);
    UdpSocket::bind(on_loopback(free)).expect("the port is free");
    world.stop();
}

/// Ports of the host's choice: what somebody else of the host has is passed over.
#[test]
fn a_port_of_the_hosts_choice_is_another_where_a_program_has_it() {
    let world = World::start();
    idle(&world, "probe", &["-p", "127.0.0.1::80"]);
    let last = published(&world, "probe", "80/tcp");
    // The next ones in turn are a program's by now.
    let theirs: Vec<TcpListener> =
        (1..4).filter_map(|step| TcpListener::bind(on_loopback(last + step)).ok()).collect();
    assert!(!theirs.is_empty());
    idle(&world, "lucky", &["-p", "127.0.0.1::80", "-p", "127.0.0.1::81/udp"]);
    let chosen = published(&world, "lucky", "80/tcp");
    let taken = |port: u16| theirs.iter().any(|one| one.local_addr().expect("an address").port() == port);
    assert!(chosen > 0 && !taken(chosen), "{chosen}");
    world.ok(&["rm", "-f", "probe", "lucky"]);
    world.stop();
}

/// Ranges of the tenants' networks: what somebody of the host uses meanwhile is passed over, and an error where it is
/// asked for by name.
#[test]
fn a_range_that_the_host_has_taken_meanwhile_is_passed_over() {
    let pools = "[[default-address-pools]]\nbase = \"10.222.0.0/16\"\nsize = 24\n";
    let world = World::configured(pools);
    world.import();
    let subnet =
        |name: &str| world.ok(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", name]);
    world.ok(&["network", "create", "first"]);
    let (first, bridge) = (subnet("first"), subnet("bridge"));
    assert_eq!([&*first, &*bridge], ["10.222.0.0/24", "10.222.1.0/24"]);
    // A tunnel comes up.
    let tunnel = Tunnel::up("10.222.2.1/24");
    world.ok(&["network", "create", "second"]);
    assert_eq!(subnet("second"), "10.222.3.0/24");
    let asked = ["network", "create", "--subnet", "10.222.2.0/25", "asked"];
    world.docker(asked).run().fails_saying(&["Pool overlaps with other one on this address space"]);
    world.docker(["network", "inspect", "asked"]).run().fails_saying(&["network asked not found"]);
    drop(tunnel);
    world.ok(&asked);
    world.stop();
}

/// An interface of the host's.
struct Tunnel(String);

impl Tunnel {
    fn up(address: &str) -> Self {
        let tunnel = Self(format!("cmp{}", std::process::id()));
        let name = &tunnel.0;
        for line in [
            format!("link add {name} type bridge"),
            format!("address add {address} dev {name}"),
            format!("link set {name} up"),
        ] {
            let output = Command::new("ip").args(line.split(' ')).output().expect("ip");
            assert!(output.status.success(), "ip {line}: {output:?}");
        }
        tunnel
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        Command::new("ip").args(["link", "delete", &self.0]).output().ok();
    }
}
