//! Connections that are refused by address: the container learns it at once, and the audit log has who, where to and why.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use casemate_tests::{Value, wait_until};

use crate::World;
use crate::harness::{Server, ask_tcp, ask_udp, libexec, within};
use crate::lab::{Lab, audited, idle, reason};

const RED: &str = "casemate://red/root?groups=admin";

fn to(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// It was refused with a word, not dropped: `EHOSTUNREACH`, and with IPv6 `EACCES`.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: std::io::Result<T>) {
    let error = result.expect_err("it is refused");
    assert!(matches!(error.raw_os_error(), Some(113 | 13)), "{error}");
}

#[test]
fn what_is_refused_is_told_with_the_reason() {
    let lab = Lab::enter();
    let world = World::start();
    let _servers = [80, 81].map(|port| Server::start(lab.outside.pid(), port, "outside"));
    let subnets = ["--ipv6", "--subnet", "10.50.0.0/24", "--subnet", "fd00:50::/64"];
    world.ok(&[&["network", "create"][..], &subnets, &["net"]].concat());
    let (four, six) = ("198.18.1.2", "[fd00:198:1::2]");
    // Without a list everything is reached, by whichever protocol.
    let open = idle(&world, "open", &["--network", "net"]);
    for address in [four, six] {
        assert!(ask_tcp(open, to(&format!("{address}:81"))).is_ok());
        assert!(ask_udp(open, to(&format!("{address}:81")), None).is_ok());
    }
    let label = format!("io.casemate.egress={four}:80/tcp {six}:80/tcp");
    let limited = idle(&world, "limited", &["--network", "net", "--label", &label]);
    for address in [four, six] {
        assert!(ask_tcp(limited, to(&format!("{address}:80"))).is_ok(), "{address} is listed");
        refused(ask_tcp(limited, to(&format!("{address}:81"))));
        refused(ask_udp(limited, to(&format!("{address}:80")), None));
    }
    refused(ask_tcp(limited, to("198.18.1.1:22")));
    let ping =
        within(limited, || Command::new("busybox").args(["ping", "-c", "1", "-W", "1", four]).output());
    assert!(!ping.expect("busybox ping").status.success());
    let other_ports =
        "label io.casemate.egress of the container has this address with other ports or protocols alone";
    for object in [
        "198.18.1.2:81/tcp",
        "198.18.1.2:80/udp",
        "[fd00:198:1::2]:81/tcp",
        "[fd00:198:1::2]:80/udp",
        "198.18.1.2/icmp",
    ] {
        assert_eq!(reason(&world, "limited", object), other_ports, "{object}");
    }
    let lacks = "label io.casemate.egress of the container does not have this address";
    assert_eq!(reason(&world, "limited", "198.18.1.1:22/tcp"), lacks, "the host is outside, too");
    assert!(audited(&world, "egress.address").iter().all(|line| line["tenant"] == "default"));
    // What people are shown.
    let data = world.data().to_string_lossy().into_owned();
    let program = libexec().join("casemate").to_string_lossy().into_owned();
    let shown =
        world.outside(&program).args(["--data-root", &data, "audit", "log", "--about", ":81/tcp"]).run().ok();
    for words in
        ["object=198.18.1.2:81/tcp", "reason=label io.casemate.egress of the container has this address"]
    {
        assert!(shown.stdout().contains(words), "{shown}");
    }
    world.ok(&["rm", "-f", "open", "limited"]);
    world.ok(&["network", "rm", "net"]);
    world.stop();
}

#[test]
fn a_container_that_ends_at_once_is_told_of_and_so_is_whose_list_it_was() {
    let lab = Lab::enter();
    let world = World::configured("[tenants.red.egress]\nallow = [\"198.18.1.2:80\"]\n");
    world.import();
    let archive = world.rootfs_archive();
    world.docker_as(RED, ["import", &archive.to_string_lossy(), "busybox"]).run().ok();
    let _server = Server::start(lab.outside.pid(), 82, "outside");
    let fetch = |who: &str, flags: &[&str]| {
        let words =
            [&["run", "--rm", "--name", "brief"], flags, &["busybox", "nc", "-w", "3", "198.18.1.2", "82"]];
        world.docker_as(who, words.concat()).run()
    };
    assert!(fetch(crate::ADMIN, &[]).text().ends_with("outside"), "it answers whom nothing limits");
    assert!(!fetch(RED, &[]).success());
    let why = "the egress list of tenant red has this address with other ports or protocols alone";
    assert_eq!(reason(&world, "brief", "198.18.1.2:82/tcp"), why);
    // The label cannot give what the list does not.
    assert!(!fetch(RED, &["--label", "io.casemate.egress=0.0.0.0/0"]).success(), "a label widens the list");
    assert!(!fetch(crate::ADMIN, &["--label", "io.casemate.egress=none"]).success());
    // A client tries twice before it gives up, which is told with a count.
    let is_first = |line: &Value| !line["reason"].as_str().is_some_and(|reason| reason.ends_with(" in 10 s"));
    let lines = || audited(&world, "egress.address").into_iter().filter(is_first).collect::<Vec<_>>();
    wait_until("all are told", || lines().len() == 3);
    let all: Vec<(Value, Value)> =
        lines().into_iter().map(|line| (line["tenant"].clone(), line["reason"].clone())).collect();
    let own = "label io.casemate.egress of the container allows nothing";
    assert_eq!(all, [("red", why), ("red", why), ("default", own)].map(|(a, b)| (a.into(), b.into())));
    world.stop();
}

#[test]
fn who_looks_into_anothers_network_is_told_of() {
    let _lab = Lab::enter();
    let world = World::configured("");
    let archive = world.rootfs_archive();
    let blue = "casemate://blue/root?groups=admin";
    let words = ["run", "-d", "--name", "one", "busybox", "sleep", "1000"];
    for who in [RED, blue] {
        world.docker_as(who, ["import", &archive.to_string_lossy(), "busybox"]).run().ok();
        world.docker_as(who, words).run().ok();
    }
    let template = "{{.State.Pid}} {{.NetworkSettings.Networks.bridge.IPAddress}}";
    let shown = |who: &str| world.docker_as(who, ["inspect", "--format", template, "one"]).run().ok().text();
    let told = [RED, blue].map(shown);
    let pid = told[0].split_once(' ').and_then(|(pid, _)| pid.parse().ok()).expect("a pid");
    let address = told[1].split_once(' ').expect("an address").1;
    assert!(ask_tcp(pid, to(&format!("{address}:80"))).is_err());
    let why =
        "it is another network, where what is published alone can be reached, by an address of the host";
    assert_eq!(reason(&world, "one", &format!("{address}:80/tcp")), why);
    assert!(audited(&world, "egress.address").iter().all(|line| line["tenant"] == "red"));
    for who in [RED, blue] {
        world.docker_as(who, ["rm", "-f", "one"]).run().ok();
    }
    world.stop();
}

#[test]
fn the_same_is_counted_and_a_flood_hides_nobody() {
    let _lab = Lab::enter();
    let world = World::start();
    let none = ["--label", "io.casemate.egress=none"];
    let (loud, quiet) = (idle(&world, "loud", &none), idle(&world, "quiet", &none));
    let words = ["events", "--filter", "event=egress_denied", "--format", "{{json .Actor.Attributes}}"];
    let listening = world.docker(words).timeout(Duration::from_secs(120)).spawn();
    let begun = Instant::now();
    // Far more than are told of, from one, to as many places as it likes.
    within(loud, || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for number in 0..20_000_u16 {
            // Each refusal of one before is the next one's error.
            socket.send_to(b"x", ("198.18.1.2", 1024 + number)).unwrap_or_default();
        }
    });
    refused(ask_tcp(quiet, to("198.18.1.2:81")));
    assert_eq!(
        reason(&world, "quiet", "198.18.1.2:81/tcp"),
        "label io.casemate.egress of the container allows nothing"
    );
    assert!(begun.elapsed() < Duration::from_secs(10), "it is told while the other one is at it");
    let told_of = |who: &str| {
        let lines = audited(&world, "egress.address");
        lines.into_iter().filter(|line| line["who"].as_str().is_some_and(|text| text.contains(who))).count()
    };
    assert!((1..=32).contains(&told_of(" loud ")), "{}", told_of(" loud "));
    let before = told_of(" quiet ");
    for _ in 0..5 {
        assert!(ask_udp(quiet, to("198.18.1.2:82"), None).is_err());
    }
    assert!(told_of(" quiet ") <= before + 2, "the same is told once, and again after a while");
    world.ok(&["rm", "-f", "quiet", "loud"]);
    let ends = |object: &str, text: &str| {
        let lines = audited(&world, "egress.address");
        let fits = |line: &Value| {
            line["object"] == object && line["reason"].as_str().is_some_and(|reason| reason.contains(text))
        };
        lines.iter().any(fits)
    };
    wait_until("the rest is told at its end", || {
        ends("198.18.1.2:82/udp", "; 4 more in 10 s") && ends("others", "beyond 32 destinations; ")
    });
    let events = listening.stdout();
    listening.signal(rustix::process::Signal::KILL);
    listening.wait();
    let event = events.lines().find(|line| line.contains("198.18.1.2:81/tcp")).expect("an event");
    assert!(event.contains("\"name\":\"quiet\"") && event.contains("allows nothing"), "{event}");
    let verified = world.outside(&libexec().join("casemate").to_string_lossy());
    let data = world.data().to_string_lossy().into_owned();
    assert!(
        verified.args(["--data-root", &data, "audit", "verify"]).run().ok().stdout().contains("unbroken")
    );
    world.stop();
}

#[test]
fn the_next_daemon_hears_what_was_refused_before_it() {
    let _lab = Lab::enter();
    let mut world = World::start();
    let limited = idle(&world, "limited", &["--label", "io.casemate.egress=none"]);
    refused(ask_tcp(limited, to("198.18.1.2:81")));
    reason(&world, "limited", "198.18.1.2:81/tcp");
    assert!(world.kill_daemon(), "there is a daemon");
    refused(ask_tcp(limited, to("198.18.1.2:82")));
    world.wait();
    reason(&world, "limited", "198.18.1.2:82/tcp");
    refused(ask_tcp(limited, to("198.18.1.2:83")));
    reason(&world, "limited", "198.18.1.2:83/tcp");
    // Another broker has another socket.
    world.crash_and_restart_broker();
    let refused_again = |port: u16| ask_tcp(limited, SocketAddr::new([198, 18, 1, 2].into(), port)).is_err();
    wait_until("another broker's daemon hears", || {
        refused_again(84)
            && audited(&world, "egress.address").iter().any(|line| line["object"] == "198.18.1.2:84/tcp")
    });
    world.ok(&["rm", "-f", "limited"]);
    world.stop();
}

#[test]
fn two_instances_on_one_host_hear_their_own() {
    let _lab = Lab::enter();
    let (one, two) = (World::start(), World::start());
    let label = ["--label", "io.casemate.egress=none"];
    for (world, name) in [(&one, "first"), (&two, "second")] {
        refused(ask_tcp(idle(world, name, &label), to("198.18.1.2:81")));
    }
    for (world, name) in [(&one, "first"), (&two, "second")] {
        reason(world, name, "198.18.1.2:81/tcp");
        assert_eq!(audited(world, "egress.address").len(), 1);
        world.ok(&["rm", "-f", name]);
    }
    one.stop();
    two.stop();
}

#[test]
fn a_log_that_somebody_else_reads_is_said_and_taken_up_later() {
    let _lab = Lab::enter();
    let mut held = None;
    // Of the instance that is to be: somebody else takes its group before it begins.
    let world = World::prepared("", |etc| held = Some(listen_first(etc)));
    world.import();
    let limited = idle(&world, "limited", &["--label", "io.casemate.egress=none"]);
    refused(ask_tcp(limited, to("198.18.1.2:81")));
    let said = || audited(&world, "egress.log");
    wait_until("it is said", || !said().is_empty());
    let why = said()[0]["reason"].as_str().expect("a text").to_owned();
    assert!(why.contains("somebody else on this host listens to it"), "{why}");
    assert!(world.log().contains("refused connections are not in the audit log"), "{}", world.log());
    drop(held);
    wait_until("it is heard once it can be", || {
        ask_tcp(limited, to("198.18.1.2:82")).is_err() && !audited(&world, "egress.address").is_empty()
    });
    assert_eq!(said().len(), 1, "it is said once");
    world.ok(&["rm", "-f", "limited"]);
    world.stop();
}

/// Has a socket of the test's told in place of the instance of this configuration.
fn listen_first(etc: &std::path::Path) -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketType, netlink};
    let data = std::fs::canonicalize(etc).expect("it is there");
    let data = data.parent().expect("the data root").to_string_lossy().into_owned();
    let sum = Command::new("sh").args(["-c", "printf %s \"$1\" | sha256sum", "sh", &data]).output();
    let table = format!("casemate-{}", String::from_utf8_lossy(&sum.expect("a digest").stdout[..16]));
    let protocol = Some(netlink::NETFILTER);
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, protocol).expect("a socket");
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0)).expect("bound");
    let mut child = Command::new(libexec().join("casemate-net"))
        .args(["--table", &table])
        .stdin(Stdio::piped())
        .stdout(socket.try_clone().expect("a copy"))
        .spawn()
        .expect("casemate-net");
    use std::io::Write;
    child.stdin.take().expect("a pipe").write_all(b"\"listen\"").expect("written");
    assert!(child.wait().expect("its end").success());
    socket
}
