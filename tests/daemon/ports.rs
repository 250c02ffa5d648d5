//! Published ports, as whoever connects to them sees them.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use casemate_tests::wait_until;

use crate::World;
use crate::networks::{inspect, web};

/// A port of the host that nobody has at this moment.
fn free() -> u16 {
    TcpListener::bind("0.0.0.0:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

/// What a server says through a port of the host.
fn fetch(address: SocketAddr) -> Option<String> {
    use std::io::Write;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.trim_end().rsplit('\n').next().map(str::to_owned)
}

#[track_caller]
fn answers(port: u16, says: &str) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("the port answers", || fetch(address).as_deref() == Some(says));
}

#[test]
fn a_port_is_published_on_this_host_alone_unless_it_is_asked_for() {
    let world = World::start();
    let (one, two) = (free().to_string(), free().to_string());
    let script = "echo web >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let words = ["run", "-d", "--name", "web", "-p", &format!("{one}:80"), "busybox", "sh", "-c", script];
    let told = world.docker(words).run().ok();
    assert!(told.stderr().contains("published on 127.0.0.1"), "{told}");
    answers(one.parse().expect("a port"), "web");
    assert_eq!(world.ok(&["port", "web"]), format!("80/tcp -> 127.0.0.1:{one}"));
    assert_eq!(world.ok(&["ps", "--format", "{{.Ports}}"]), format!("127.0.0.1:{one}->80/tcp"));
    for (filter, found) in [
        (format!("publish={one}"), "web"),
        ("publish=80/tcp".to_owned(), "web"),
        ("publish=81".to_owned(), ""),
    ] {
        assert_eq!(world.ok(&["ps", "--filter", &filter, "--format", "{{.Names}}"]), found, "{filter}");
    }
    let all = format!("0.0.0.0:{two}:80");
    web(&world, "open", &["-p", &all]);
    answers(two.parse().expect("a port"), "open");
    // By the host's other address, from the host and from a container.
    let gateway = inspect(&world, "open", "{{.NetworkSettings.Gateway}}");
    let there: SocketAddr = format!("{gateway}:{two}").parse().expect("an address");
    wait_until("the host's address answers", || fetch(there).as_deref() == Some("open"));
    let url = format!("http://{gateway}:{two}/");
    assert_eq!(world.ok(&["exec", "web", "wget", "-q", "-O", "-", &url]), "open");
    // A stopped container's port is free, and it has it again when it runs.
    world.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(world.ok(&["port", "web"]), "");
    TcpListener::bind(format!("127.0.0.1:{one}")).expect("the port is free");
    world.ok(&["start", "web"]);
    answers(one.parse().expect("a port"), "web");
    world.ok(&["rm", "-f", "web", "open"]);
    assert_eq!(fetch(there), None);
    world.stop();
}

#[test]
fn a_port_that_is_somebodys_is_refused_and_nothing_stays() {
    let world = World::start();
    let port = free();
    let publish = format!("{port}:80");
    web(&world, "first", &["-p", &publish]);
    let refused = |name: &str, publish: &str, says: &str| {
        let output =
            world.docker(["run", "-d", "--name", name, "-p", publish, "busybox", "sleep", "9"]).run();
        assert!(!output.success() && output.stderr().contains(says), "{output}");
        assert!(
            output.stderr().contains("failed to set up container networking") || !says.contains("allocated"),
            "{output}"
        );
        assert_eq!(inspect(&world, name, "{{.State.Status}}{{.NetworkSettings.IPAddress}}"), "created");
        world.ok(&["rm", name]);
    };
    refused("second", &publish, &format!("Bind for 127.0.0.1:{port} failed: port is already allocated"));
    refused("third", &format!("0.0.0.0:{port}:80"), "port is already allocated");
    answers(port, "first");
    let theirs = TcpListener::bind("127.0.0.1:0").expect("a port of the host");
    let taken = theirs.local_addr().expect("its address").port();
    refused("fourth", &format!("{taken}:80"), "address already in use");
    // What a container has is no longer to be had by the host.
    assert!(TcpListener::bind(format!("127.0.0.1:{port}")).is_err(), "the port is bound twice");
    world.ok(&["rm", "-f", "first"]);
    TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    world.stop();
}

#[test]
fn ports_of_the_hosts_choice_and_ranges_are_told() {
    let world = World::start();
    web(&world, "any", &["-P", "--expose", "80", "--expose", "81/udp", "-p", "127.0.0.1::8080"]);
    let ports = world.ok(&["port", "any"]);
    assert_eq!(ports.lines().count(), 3, "{ports}");
    let port = world.ok(&["port", "any", "80/tcp"]);
    let port: SocketAddr = port.parse().expect("an address");
    answers(port.port(), "any");
    let base = (20000..30000)
        .step_by(7)
        .find(|base| (*base..base + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()));
    let base = base.expect("three free ports");
    let range = format!("{base}-{}:80-82", base + 2);
    web(&world, "range", &["-p", &range]);
    answers(base, "range");
    assert_eq!(world.ok(&["port", "range"]).lines().count(), 3);
    let map = inspect(&world, "range", "{{json .NetworkSettings.Ports}}");
    assert!(
        map.contains(&format!("\"82/tcp\":[{{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"{}\"}}]", base + 2)),
        "{map}"
    );
    for bad in ["80:80/sctp", "0.0.0.0.0:80:80", "99999:80"] {
        let output = world.docker(["run", "--rm", "-p", bad, "busybox", "true"]).run();
        assert!(!output.success(), "{bad}");
    }
    world.ok(&["rm", "-f", "any", "range"]);
    world.stop();
}

#[test]
fn baseline_publishes_on_every_address() {
    let world = World::prepared("policy = \"baseline\"\n", |etc| {
        std::fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n")
            .expect("write runtime.toml");
    });
    world.import();
    let port = free();
    let publish = format!("{port}:80");
    web(&world, "web", &["-p", &publish]);
    assert_eq!(world.ok(&["port", "web"]), format!("80/tcp -> 0.0.0.0:{port}"));
    answers(port, "web");
    world.ok(&["rm", "-f", "web"]);
    world.stop();
}
