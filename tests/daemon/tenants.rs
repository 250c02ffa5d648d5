//! Two tenants on one host, each with a certificate of its own: neither finds, reaches, names or joins what the other has,
//! by any way that leads there where nobody stands in it.

use std::net::{IpAddr, SocketAddr};

use casemate_tests::{Output, wait_until};

use crate::World;
use crate::inside::{Inside, Unprotected};

const RED: &str = "casemate://red/root?groups=admin";
const BLUE: &str = "casemate://blue/root?groups=admin";
/// Both of it; a container holds them open by sleeping.
const PORT: u16 = 8000;

/// `baseline`: containers have CAP_NET_RAW, and may set parameters of their own network.
fn world() -> World {
    let world = World::prepared("policy = \"baseline\"\n", |etc| {
        std::fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n")
            .expect("write runtime.toml");
    });
    let archive = world.rootfs_archive();
    for who in [RED, BLUE] {
        ok(&world, who, &["import", &archive.to_string_lossy(), "busybox"]);
    }
    world
}

#[track_caller]
fn ok(world: &World, who: &str, words: &[&str]) -> String {
    world.docker_as(who, words).run().ok().text()
}

fn run(world: &World, who: &str, name: &str, flags: &[&str]) -> Inside {
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sleep", "600"]].concat();
    ok(world, who, &words);
    Inside::process(&inspect(world, who, name, "{{.State.Pid}}"))
}

fn inspect(world: &World, who: &str, name: &str, template: &str) -> String {
    ok(world, who, &["inspect", "--format", template, name])
}

fn address(world: &World, who: &str, name: &str, field: &str) -> IpAddr {
    let template = format!("{{{{.NetworkSettings.Networks.back.{field}}}}}");
    inspect(world, who, name, &template).parse().expect("an address")
}

/// Red's prober, and blue's container with a port of the host.
struct Scene {
    world: World,
    prober: Inside,
    published: u16,
}

impl Scene {
    fn make() -> Self {
        let world = world();
        for who in [RED, BLUE] {
            ok(&world, who, &["network", "create", "--ipv6", "back"]);
        }
        let prober = run(&world, RED, "prober", &["--network", "back"]);
        let port = format!("0.0.0.0::{PORT}");
        let udp = format!("0.0.0.0::{PORT}/udp");
        let secret = run(&world, BLUE, "secret", &["--network", "back", "-p", &port, "-p", &udp]);
        secret.serve(PORT, "blue");
        let published = ok(&world, BLUE, &["port", "secret", &PORT.to_string()]);
        let published: SocketAddr = published.parse().expect("an address");
        Self { world, prober, published: published.port() }
    }

    /// Blue's container as blue has it.
    fn of_secret(&self, field: &str) -> IpAddr {
        address(&self.world, BLUE, "secret", field)
    }

    /// Where blue's container would be found: by its own addresses, and by its port at every address of the host's.
    fn targets(&self) -> Vec<SocketAddr> {
        let own =
            ["IPAddress", "GlobalIPv6Address"].map(|field| SocketAddr::new(self.of_secret(field), PORT));
        let gateways = [(BLUE, "secret"), (RED, "prober")]
            .map(|(who, name)| SocketAddr::new(address(&self.world, who, name, "Gateway"), self.published));
        let hosts = self.world.outside("hostname").args(["-I"]).run().ok().text();
        let hosts = hosts.split(' ').filter_map(|text| text.parse().ok()).filter(IpAddr::is_ipv4);
        let hosts = hosts.map(|host| SocketAddr::new(host, self.published));
        own.into_iter().chain(gateways).chain(hosts).collect()
    }

    fn end(self) {
        for who in [RED, BLUE] {
            let all = ok(&self.world, who, &["ps", "-aq"]);
            all.lines().for_each(|id| drop(ok(&self.world, who, &["rm", "-f", id])));
            ok(&self.world, who, &["network", "rm", "back"]);
        }
        self.world.stop();
    }
}

#[test]
fn no_packet_finds_another_tenants_container() {
    let scene = Scene::make();
    let (world, prober) = (&scene.world, &scene.prober);
    // What may be found is found: so does whoever is outside, and blue itself.
    let outside: SocketAddr = ([127, 0, 0, 1], scene.published).into();
    let host = Inside::process("self");
    wait_until("it is published", || host.tcp(outside).as_deref() == Some("blue"));
    let peer = run(world, BLUE, "peer", &["--network", "back"]);
    for target in scene.targets() {
        wait_until(&format!("blue reaches {target}"), || peer.tcp(target).as_deref() == Some("blue"));
    }
    for target in scene.targets() {
        assert_eq!((prober.tcp(target), prober.udp(target)), (None, None), "{target}");
    }
    let pings = |words: &[&str]| world.docker_as(RED, words).run().success();
    for field in ["IPAddress", "Gateway", "GlobalIPv6Address", "IPv6Gateway"] {
        let theirs = scene.of_secret(field).to_string();
        assert!(!pings(&["exec", "prober", "ping", "-c", "1", "-W", "1", &theirs]), "{field}");
    }
    let own = address(world, RED, "prober", "Gateway").to_string();
    assert!(pings(&["exec", "prober", "ping", "-c", "1", "-W", "1", &own]), "a ping that never works");
    // A neighbour that it is not: whoever says that he has the address.
    let theirs = scene.of_secret("IPAddress").to_string();
    let asked = ["exec", "prober", "arping", "-c", "2", "-w", "2", "-I", "eth0", &theirs];
    assert!(!world.docker_as(RED, asked).run().success(), "{theirs} is a neighbour");

    // Without our rules, the host passes on whatever it is given.
    let direct = SocketAddr::new(scene.of_secret("IPAddress"), PORT);
    let unprotected = Unprotected::make(world);
    wait_until("an attack that works", || prober.tcp(direct).as_deref() == Some("blue"));
    drop(unprotected);
    wait_until("the rules are back", || prober.tcp(direct).is_none());
    wait_until("and let through what they did", || host.tcp(outside).as_deref() == Some("blue"));
    scene.end();
}

#[test]
fn no_word_names_what_another_tenant_has() {
    let scene = Scene::make();
    let world = &scene.world;
    let red = |words: &[&str]| world.docker_as(RED, words).run();
    #[track_caller]
    fn nothing(output: &Output, says: &str) {
        assert!(!output.success() && output.stderr().contains(says), "{says}: {output}");
    }
    run(world, BLUE, "peer", &["--network", "back", "--network-alias", "database"]);
    let names = ["secret", "secret.back", "database", "peer"];
    for name in names {
        ok(world, BLUE, &["exec", "peer", "nslookup", "-type=a", name]);
        let output = red(&["exec", "prober", "nslookup", "-type=a", name]);
        assert!(!output.success(), "{name}: {output}");
    }
    let address = scene.of_secret("IPAddress").to_string();
    assert!(ok(world, BLUE, &["exec", "peer", "nslookup", &address]).contains("secret.back"));
    let output = red(&["exec", "prober", "nslookup", &address]);
    assert!(!output.stdout().contains("secret"), "{output}");

    let theirs = |template: &str| ok(world, BLUE, &["network", "inspect", "--format", template, "back"]);
    let network = theirs("{{.Id}}");
    let container = inspect(world, BLUE, "secret", "{{.Id}}");
    for name in [network.as_str(), &network[..12]] {
        let missing = format!("network {name} not found");
        nothing(&red(&["network", "inspect", name]), &missing);
        nothing(&red(&["network", "rm", name]), &missing);
        nothing(&red(&["network", "connect", name, "prober"]), &missing);
        nothing(&red(&["network", "disconnect", "-f", name, "prober"]), &missing);
        nothing(&red(&["run", "--rm", "--network", name, "busybox", "true"]), &missing);
    }
    for name in ["secret", &container, &container[..12]] {
        let missing = format!("No such container: {name}");
        nothing(
            &red(&["run", "--rm", "--network", &format!("container:{name}"), "busybox", "true"]),
            &missing,
        );
        nothing(&red(&["network", "connect", "back", name]), &missing);
        nothing(&red(&["network", "disconnect", "-f", "back", name]), &missing);
        nothing(&red(&["run", "--rm", "--link", name, "busybox", "true"]), "could not get container");
    }
    // One's own network of the same name, and nobody else on it.
    let shown = "{{.Id}} {{range .Containers}}{{.Name}} {{end}}";
    let own = ok(world, RED, &["network", "inspect", "--format", shown, "back"]);
    assert!(!own.contains(&network) && own.ends_with(" prober"), "{own}");
    assert_eq!(ok(world, RED, &["network", "ls", "-q", "--filter", &format!("id={network}")]), "");
    let range = theirs("{{(index .IPAM.Config 0).Subnet}}");
    nothing(&red(&["network", "create", "--subnet", &range, "mine"]), "Pool overlaps");
    // The host's port is blue's, and no word is said of whose it is.
    let port = format!("0.0.0.0:{}:80", scene.published);
    let taken = red(&["run", "--rm", "-p", &port, "busybox", "true"]);
    nothing(&taken, "port is already allocated");
    assert!(!taken.stderr().contains("secret") && !taken.stderr().contains("blue"), "{taken}");
    let told = ok(world, RED, &["events", "--since", "1", "--until", "0s", "--filter", "type=network"]);
    assert!(!told.contains(&network) && !told.contains(&container) && told.contains("back"), "{told}");
    ok(world, RED, &["network", "prune", "-f"]);
    assert_eq!(theirs("{{len .Containers}}"), "2");
    scene.end();
}
