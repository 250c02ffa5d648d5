//! Networks of a user without root, as the user, the host and the containers see them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use casemate_tests::{Output, wait_until};

use crate::harness::{Server, ask_tcp, ask_udp, within};
use crate::rootless::Home;

/// The host's own address, which is none of its loopback.
const HOST: &str = "198.51.100.1";

const HOST_SIX: &str = "fd00:198:51::1";
/// Who has not answered by then is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// A user on a host that has an address besides its loopback, and a tap device for everybody as udev makes it.
fn home() -> Home {
    let home = Home::make();
    home.world.replace_device("/dev/net/tun", 10, 200);
    let ip = |line: &str| {
        drop(home.world.inside([&["ip"][..], &line.split(' ').collect::<Vec<_>>()].concat()).run().ok())
    };
    ip("link add up0 type bridge");
    ip(&format!("address add {HOST}/24 dev up0"));
    ip(&format!("address add {HOST_SIX}/64 dev up0 nodad"));
    ip("link set up0 up");
    home
}

/// A server of the host's, that says its name.
fn server(home: &Home, name: &str, address: &str) -> casemate_tests::engine::Daemon {
    let place = home.world.make_dir(name);
    std::fs::write(place.join("index.html"), name).expect("write a page");
    let words = ["busybox", "httpd", "-f", "-p", address, "-h", &place.to_string_lossy()];
    let daemon = home.world.daemon(name, &words);
    let address = address.parse().expect("an address");
    wait_until("the server answers", || page(home.world.init(), address).is_some_and(|page| page == name));
    daemon
}

/// What a server says to a process.
fn page(pid: u32, address: SocketAddr) -> Option<String> {
    within(pid, || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.rsplit('\n').next().map(str::to_owned)
    })
}

/// A container with a server of one line, its name, on port 80.
fn web(home: &Home, name: &str, flags: &[&str]) {
    let script = format!("echo {name} >/tmp/index.html; exec httpd -f -p 80 -h /tmp");
    home.docker(&[&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", &script]].concat());
}

/// What a container hears from there.
fn fetch(home: &Home, from: &str, place: &str) -> Output {
    let url = format!("http://{place}/");
    home.user(&["docker", "exec", from, "timeout", "4", "wget", "-q", "-O", "-", &url]).run()
}

#[track_caller]
fn reaches(home: &Home, from: &str, place: &str, says: &str) {
    wait_until("it answers", || fetch(home, from, place).text() == says);
}

#[track_caller]
fn cannot_reach(home: &Home, from: &str, place: &str) {
    let output = fetch(home, from, place);
    assert!(!output.success(), "{from} reaches {place}: {output}");
}

/// Any process of a container's network namespace, as the test's own host numbers it.
fn process(home: &Home, container: &str) -> u32 {
    namespace_of(home, &home.docker(&["inspect", "--format", "{{.State.Pid}}", container]))
}

/// The same for a process that is numbered as inside.
fn namespace_of(home: &Home, pid: &str) -> u32 {
    let link = home.world.inside(["readlink", &format!("/proc/{pid}/ns/net")]).run().ok().text();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    let has = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|own| own == Path::new(&link))
    };
    numbers.into_iter().find(has).expect("a process of the container")
}

fn address(home: &Home, container: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    home.docker(&["inspect", "--format", format, container])
}

/// The numbers of processes inside that have these words in their command line.
fn running(home: &Home, words: &str) -> Vec<String> {
    home.world.inside(["pgrep", "-f", words]).run().text().lines().map(str::to_owned).collect()
}

/// A name server that knows one name, and answers with one address whatever is asked.
fn name_server(socket: &UdpSocket) {
    let mut bytes = [0; 512];
    while let Ok((read, peer)) = socket.recv_from(&mut bytes) {
        let question = &bytes[..read];
        if question == b"end" {
            return;
        }
        let end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
        let is_four = question[end - 4..end - 2] == [0, 1];
        let header = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_four), 0, 0, 0, 0]].concat();
        let answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 1];
        let rest = if is_four { &answer[..] } else { &[] };
        socket.send_to(&[&header, &question[12..end], rest].concat(), peer).expect("answered");
    }
}

#[test]
fn a_users_containers_reach_each_other_and_the_outside() {
    let mut home = home();
    home.world.replace_file("/etc/resolv.conf", "nameserver 127.0.0.53\n");
    let names = within(home.world.init(), || UdpSocket::bind("127.0.0.53:53").expect("bound"));
    let end = names.try_clone().expect("a copy");
    let names = std::thread::spawn(move || name_server(&names));
    let _open = server(&home, "open", &format!("{HOST}:8099"));
    let _hidden = server(&home, "hidden", "127.0.0.1:8098");
    home.up();
    web(&home, "one", &[]);
    web(&home, "two", &[]);
    home.docker(&["network", "create", "back"]);
    web(&home, "web", &["--network", "back", "--network-alias", "also"]);
    web(&home, "asks", &["--network", "back"]);
    reaches(&home, "two", &address(&home, "one"), "one");
    reaches(&home, "asks", "web", "web");
    reaches(&home, "asks", "also", "web");
    cannot_reach(&home, "two", &address(&home, "web"));
    // The outside by address and, by servers of the host's that only the host reaches, by name.
    reaches(&home, "one", &format!("{HOST}:8099"), "open");
    reaches(&home, "one", "outside.example:8099", "open");
    reaches(&home, "asks", "outside.example:8099", "open");
    let gateway =
        home.docker(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "back"]);
    for host in ["192.0.0.2", "192.0.0.100", "127.0.0.1", &gateway] {
        cannot_reach(&home, "asks", &format!("{host}:8098"));
    }
    home.docker(&["network", "create", "--internal", "shut"]);
    web(&home, "inner", &["--network", "shut"]);
    cannot_reach(&home, "inner", &format!("{HOST}:8099"));
    web(&home, "limited", &["--label", "io.casemate.egress=none"]);
    cannot_reach(&home, "limited", &format!("{HOST}:8099"));
    let told = format!("object={HOST}:8099/tcp");
    wait_until("it is told", || home.casemate(&["audit", "log"]).run().ok().text().contains(&told));
    // What is flushed is back: somebody listens where the networks are.
    let inside = running(&home, "/casemate forward").concat();
    let nft = |words: &[&str]| {
        home.world
            .inside([&["nsenter", "--net", "--target", &inside, "nft"], words].concat())
            .run()
            .ok()
            .text()
    };
    nft(&["flush", "ruleset"]);
    wait_until("the rules are back", || nft(&["list", "tables"]).contains("table inet casemate-"));
    cannot_reach(&home, "limited", &format!("{HOST}:8099"));
    reaches(&home, "one", &format!("{HOST}:8099"), "open");
    home.docker(&["rm", "-f", "one", "two", "web", "asks", "inner", "limited"]);
    home.docker(&["network", "rm", "back", "shut"]);
    home.down();
    for program in ["slirp4netns", "casemate forward", "casemate-dns"] {
        let all = home.world.inside(["ps", "-ef"]).run().text();
        assert_eq!(running(&home, program), Vec::<String>::new(), "{program}: {all}");
    }
    let namespaces = home.world.inside(["lsns", "-t", "net", "-n", "-r", "-o", "NS"]).run().ok().text();
    assert_eq!(namespaces.lines().count(), 1, "{namespaces}");
    within(home.world.init(), || end.send_to(b"end", "127.0.0.53:53").expect("told"));
    names.join().expect("the name server");
}

#[test]
fn the_hosts_loopback_is_out_of_reach_because_we_say_so() {
    let home = home();
    let _hidden = server(&home, "hidden", "127.0.0.1:8098");
    // What slirp4netns does of itself.
    let _inside = home.world.daemon("inside", &["unshare", "--net", "sleep", "600"]);
    wait_until("it is there", || running(&home, "^sleep 600").len() == 1);
    let pid = running(&home, "^sleep 600").concat();
    let _slirp = home.world.daemon("slirp", &["slirp4netns", "--configure", &pid, "tap0"]);
    let entered = namespace_of(&home, &pid);
    let hidden = "10.0.2.2:8098".parse().expect("an address");
    wait_until("it reaches the host's loopback", || page(entered, hidden).as_deref() == Some("hidden"));
}

#[test]
fn ports_of_a_user_are_published_where_they_are_asked_for() {
    let mut home = home();
    let host = home.world.init();
    let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    let _taken = server(&home, "taken", "127.0.0.1:8099");
    home.up();
    let flags = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "198.51.100.1:8081:80", "-p", "0.0.0.0:8082:80"];
    home.docker(&[&["run", "-d", "--name", "web"], &flags[..], &["busybox", "sleep", "1000"]].concat());
    let _server = Server::start(process(&home, "web"), 80, "web");
    let gateway = home.docker(&["inspect", "--format", "{{.NetworkSettings.Gateway}}", "web"]);
    let says = format!("{gateway} web");
    for open in ["127.0.0.1:8080", "198.51.100.1:8081", "198.51.100.1:8082", "127.0.0.1:8082"] {
        assert_eq!(ask_tcp(host, at(open)).expect(open), says, "{open}");
    }
    assert_eq!(ask_udp(host, at("127.0.0.1:8080"), None).expect("UDP"), says);
    assert_eq!(ask_udp(host, at("127.0.0.1:8080"), Some(4000)).expect("UDP again"), says);
    for closed in ["198.51.100.1:8080", "127.0.0.1:8081"] {
        assert!(ask_tcp(host, at(closed)).is_err(), "{closed}");
    }
    assert!(ask_udp(host, at("198.51.100.1:8080"), None).is_err());
    let told = home.docker(&["port", "web"]);
    for line in ["80/tcp -> 127.0.0.1:8080", "80/udp -> 127.0.0.1:8080", "80/tcp -> 198.51.100.1:8081"] {
        assert!(told.lines().any(|one| one == line), "{told}");
    }
    // From inside, by the gateway and by the host's own address.
    home.docker(&["run", "-d", "--name", "asks", "busybox", "sleep", "1000"]);
    let asks = process(&home, "asks");
    for open in [format!("{gateway}:8082"), format!("{HOST}:8082")] {
        assert!(ask_tcp(asks, at(&open)).expect("an answer").ends_with(" web"), "{open}");
    }
    let refused = |name: &str, publish: &str, says: &str| {
        let words = ["docker", "run", "-d", "--name", name, "-p", publish, "busybox", "sleep", "9"];
        home.user(&words).run().fails_saying(&[says]);
        assert_eq!(home.docker(&["inspect", "--format", "{{.State.Status}}", name]), "created");
        home.docker(&["rm", name]);
    };
    refused("second", "8080:80", "port is already allocated");
    refused("third", "8099:80", "address already in use");
    refused("fourth", "79:80", "permission denied");
    refused("fifth", "203.0.113.9:8083:80", "listen tcp 203.0.113.9:8083");
    let bind = |text: &str| within(host, || TcpListener::bind(at(text)));
    assert!(bind("127.0.0.1:8080").is_err(), "the port is bound twice");
    home.docker(&["stop", "-t", "0", "web"]);
    assert!(ask_tcp(host, at("127.0.0.1:8080")).is_err());
    for free in ["127.0.0.1:8080", "198.51.100.1:8081", "0.0.0.0:8082"] {
        bind(free).unwrap_or_else(|error| panic!("{free}: {error}"));
    }
    home.docker(&["network", "create", "--ipv6", "six"]);
    let publish = format!("[{HOST_SIX}]:8084:80");
    home.docker(&["run", "-d", "--name", "six", "--net", "six", "-p", &publish, "busybox", "sleep", "1000"]);
    let _six = Server::start(process(&home, "six"), 80, "six");
    assert!(ask_tcp(host, at(&format!("[{HOST_SIX}]:8084"))).expect("an answer").ends_with(" six"));
    assert!(ask_tcp(host, at("127.0.0.1:8084")).is_err());
    // The way out in IPv6, which does not lead to the host's loopback either.
    let _host = Server::start(host, 8100, "host");
    let (six, open) = (process(&home, "six"), at(&format!("[{HOST_SIX}]:8100")));
    wait_until("it reaches the host", || ask_tcp(six, open).is_ok_and(|said| said.ends_with(" host")));
    for closed in ["[fd00::2]:8100", "[::1]:8100", "192.0.0.2:8100"] {
        assert!(ask_tcp(six, at(closed)).is_err(), "{closed}");
    }
    home.docker(&["rm", "-f", "web", "asks", "six"]);
    home.docker(&["network", "rm", "six"]);
    home.down();
}

#[test]
fn who_passes_on_holds_nothing() {
    let mut home = home();
    home.up();
    let status = |words: &str| {
        let pid = running(&home, words).concat();
        home.world.inside(["cat", &format!("/proc/{pid}/status")]).run().ok().text()
    };
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let forward = status("/casemate forward");
    // Of the user's ids one that owns no file.
    assert_eq!(field(&forward, "Uid"), ["465529"; 4], "{forward}");
    assert_eq!(field(&forward, "Groups"), Vec::<String>::new(), "{forward}");
    let slirp = status("^slirp4netns");
    assert_eq!(field(&slirp, "Seccomp"), ["2"], "{slirp}");
    for (text, most) in [(&forward, 0), (&slirp, 1 << 10)] {
        for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let held = u64::from_str_radix(&field(text, name).concat(), 16).expect("a number");
            assert_eq!(held & !most, 0, "{name}: {text}");
        }
        assert_eq!(field(text, "NoNewPrivs"), ["1"], "{text}");
    }
    let root = home.world.inside(["ls", &format!("/proc/{}/root", running(&home, "^slirp4netns").concat())]);
    assert_eq!(root.run().ok().text().split_whitespace().collect::<Vec<_>>(), ["etc", "run"]);
    home.down();
}

#[test]
fn what_dies_of_a_users_networks_is_there_again() {
    let mut home = home();
    let host = home.world.init();
    let port: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let _open = server(&home, "open", &format!("{HOST}:8099"));
    home.up();
    home.docker(&["network", "create", "back"]);
    home.docker(&[
        "run", "-d", "--name", "web", "--net", "back", "-p", "8080:80", "busybox", "sleep", "1000",
    ]);
    let _server = Server::start(process(&home, "web"), 80, "web");
    web(&home, "asks", &["--net", "back"]);
    let works = |home: &Home| {
        wait_until("the port answers", || ask_tcp(host, port).is_ok_and(|said| said.ends_with(" web")));
        reaches(home, "asks", &format!("{HOST}:8099"), "open");
        // Whoever is found by name is heard: it refuses a port on which nobody listens.
        let refused = home.user(&["docker", "exec", "asks", "nc", "-w", "3", "web", "81"]).run();
        assert!(refused.stderr().contains("refused"), "{refused}");
    };
    works(&home);
    // Whoever asks again goes where the containers are, and is told of the same.
    home.up();
    works(&home);
    let own = home.world.dir().join("bin/casemate").display().to_string();
    for words in ["^slirp4netns", &format!("^{own} forward"), &format!("^{own}-broker")] {
        let before = running(&home, words).concat();
        home.world.inside(["kill", "-9", &before]).run().ok();
        wait_until("another is there", || running(&home, words).iter().any(|now| *now != before));
        wait_until("the daemon answers", || home.user(&["docker", "version"]).run().success());
        works(&home);
    }
    // Nothing is left of a supervisor that was killed, and the next one has everything.
    let supervisor = running(&home, &format!("^{own} supervise")).concat();
    home.world.inside(["kill", "-9", &supervisor]).run().ok();
    wait_until("they have ended with it", || {
        ["^slirp4netns".to_owned(), format!("^{own} forward")]
            .iter()
            .all(|words| running(&home, words).is_empty())
    });
    home.up();
    works(&home);
    // The same when it is asked to leave them alone.
    home.casemate(&["down", "--keep"]).run().ok();
    assert!(ask_tcp(host, port).is_err(), "nobody passes anything on");
    home.up();
    works(&home);
    home.docker(&["rm", "-f", "web", "asks"]);
    home.docker(&["network", "rm", "back"]);
    home.down();
}

#[test]
fn without_a_way_out_networks_are_refused_and_the_rest_works() {
    for missing in ["/usr/bin/slirp4netns", "/dev/net/tun"] {
        let mut home = home();
        home.world.inside(["mount", "--bind", "/dev/null", missing]).run().ok();
        home.up();
        let all = ["docker", "run", "--rm", "busybox", "true"];
        home.user(&all)
            .run()
            .fails_saying(&["networks need root of the host, or slirp4netns", "package slirp4netns"]);
        home.user(&["docker", "network", "create", "x"])
            .run()
            .fails_saying(&["networks need root of the host"]);
        assert_eq!(home.docker(&["run", "--rm", "--net", "none", "busybox", "echo", "in"]), "in");
        assert_eq!(home.docker(&["network", "ls", "--format", "{{.Name}}"]), "host\nnone");
        let log = home.world.dir().join("home/.local/share/casemate/casemate.log");
        let log = std::fs::read_to_string(log).expect("the log");
        assert!(log.contains("containers have no networks: slirp4netns"), "{missing}: {log}");
        home.down();
    }
}
