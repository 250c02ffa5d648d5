//! Allow-lists by name, from the question to the connection: a name server and web servers on another machine.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use casemate_tests::{Value, wait_until};

use crate::World;
use crate::harness::{Server, ask_tcp, within};
use crate::lab::{Lab, NameServer, baseline, idle, reason, run};

const SERVER: &str = "198.18.1.53";
const CONFIG: &str = "dns = [\"198.18.1.53\"]\n";
const SERVED: [&str; 4] = ["198.18.1.80", "198.18.1.81", "198.18.1.82", "198.18.1.83"];

/// A host with a name server beyond it, web servers at some addresses, and a world that asks there.
struct Web {
    lab: Lab,
    names: NameServer,
    _servers: Vec<Server>,
}

impl Web {
    fn start(names: &[(&'static str, &'static str, u32)]) -> Self {
        let lab = Lab::enter();
        for address in SERVED.iter().chain([&SERVER]) {
            lab.place(address);
        }
        let names = NameServer::start(lab.outside.pid(), SERVER, names);
        let servers = [80, 81].map(|port| Server::start(lab.outside.pid(), port, "outside"));
        Self { lab, names, _servers: servers.into() }
    }
}

fn reaches(pid: u32, address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    ask_tcp(pid, address).is_ok()
}

/// What a container is told when it asks for a name, at the resolver or elsewhere.
fn look_up(world: &World, from: &str, name: &str, at: &str) -> String {
    let output = world.docker(["exec", from, "timeout", "5", "nslookup", "-type=a", name, at]).run();
    output.stdout() + &output.stderr()
}

fn label(list: &str) -> [String; 2] {
    ["--label".to_owned(), format!("io.casemate.egress={list}")]
}

#[test]
fn a_listed_name_opens_what_it_stands_for_and_nothing_else() {
    let web = Web::start(&[
        ("www.allowed.test", "198.18.1.80", 300),
        ("deep.sub.wild.test", "198.18.1.81", 300),
        ("wild.test", "198.18.1.82", 300),
        ("other.test", "198.18.1.82", 300),
    ]);
    let world = World::configured(CONFIG);
    world.import();
    world.ok(&["network", "create", "net"]);
    let [flag, list] = label("www.allowed.test:80 *.wild.test:80");
    let limited = idle(&world, "limited", &["--network", "net", &flag, &list]);
    // Without a list, addresses and names are everybody's.
    let open = idle(&world, "open", &["--network", "net"]);
    assert!(SERVED[..3].iter().all(|address| reaches(open, &format!("{address}:80"))));
    assert!(look_up(&world, "open", "other.test", "127.0.0.11").contains("198.18.1.82"));

    assert!(!reaches(limited, "198.18.1.80:80"), "nobody has asked for its name");
    let why = reason(&world, "limited", "198.18.1.80:80/tcp");
    assert!(why.contains("no name that it has was asked for there"), "{why}");
    assert!(look_up(&world, "limited", "www.allowed.test", "127.0.0.11").contains("198.18.1.80"));
    assert!(reaches(limited, "198.18.1.80:80"));
    assert!(!reaches(limited, "198.18.1.80:81"), "a port that is not listed");
    reason(&world, "limited", "198.18.1.80:81/tcp");
    let fetched = world.ok(&["exec", "limited", "nc", "-w", "3", "www.allowed.test", "80"]);
    assert!(fetched.ends_with("outside"), "by its name, as programs do: {fetched}");

    assert!(look_up(&world, "limited", "deep.sub.wild.test", "127.0.0.11").contains("198.18.1.81"));
    assert!(reaches(limited, "198.18.1.81:80"));
    for name in ["wild.test", "other.test"] {
        let said = look_up(&world, "limited", name, "127.0.0.11");
        assert!(said.contains("REFUSED") && !said.contains("198.18.1.82"), "{name}: {said}");
        let why = reason(&world, "limited", name);
        assert_eq!(why, "label io.casemate.egress of the container does not have this name");
    }
    assert!(!web.names.was_asked("wild.test"), "nobody hears of what is refused");
    assert!(!reaches(limited, "198.18.1.82:80"));
    // What is opened for one is not for another.
    let [flag, list] = label("www.allowed.test:80");
    let late = idle(&world, "late", &["--network", "net", &flag, &list]);
    assert!(!reaches(late, "198.18.1.80:80"));
    // A resolver of its own choice would say what it likes, and carry away what it is asked.
    assert!(look_up(&world, "open", "other.test", SERVER).contains("198.18.1.82"));
    assert!(!look_up(&world, "late", "other.test", SERVER).contains("198.18.1.82"));
    reason(&world, "late", "198.18.1.53:53/udp");
    world.ok(&["rm", "-f", "limited", "open", "late"]);
    world.ok(&["network", "rm", "net"]);
    world.stop();
    drop(web.lab);
}

#[test]
fn a_label_does_not_widen_the_names_of_its_tenant() {
    let web = Web::start(&[("www.allowed.test", "198.18.1.80", 300), ("other.test", "198.18.1.82", 300)]);
    let world =
        World::configured(&format!("{CONFIG}[tenants.default.egress]\nallow = [\"*.allowed.test:80\"]\n"));
    world.import();
    let [flag, list] = label("other.test *.test:80 198.18.1.0/24");
    let wide = idle(&world, "wide", &[&flag, &list]);
    let said = look_up(&world, "wide", "other.test", "127.0.0.11");
    assert!(!said.contains("198.18.1.82"), "{said}");
    assert_eq!(
        reason(&world, "wide", "other.test"),
        "the egress list of tenant default does not have this name"
    );
    assert!(!reaches(wide, "198.18.1.82:80"));
    assert!(look_up(&world, "wide", "www.allowed.test", "127.0.0.11").contains("198.18.1.80"));
    assert!(reaches(wide, "198.18.1.80:80") && !reaches(wide, "198.18.1.80:81"));
    world.ok(&["rm", "-f", "wide"]);
    world.stop();
    drop(web.lab);
}

/// What is let through for a while, as nft(8) shows it: addresses, and seconds that are left.
fn admitted(world: &World) -> Vec<(String, u64)> {
    let shown: Value =
        serde_json::from_str(&run(&format!("nft -j list set inet {} admitted4", world.table())))
            .expect("JSON");
    let sets =
        shown["nftables"].as_array().expect("a list").iter().filter_map(|one| one["set"]["elem"].as_array());
    let element = |one: &Value| {
        let key = one["elem"]["val"]["concat"][1].as_str().unwrap_or_default().to_owned();
        (key, one["elem"]["expires"].as_u64().unwrap_or_default())
    };
    sets.flatten().map(element).collect()
}

#[test]
fn what_a_name_stood_for_is_shut_again() {
    let web = Web::start(&[("brief.test", "198.18.1.80", 1), ("long.test", "198.18.1.81", 1_000_000)]);
    let world = World::configured(CONFIG);
    world.import();
    let [flag, list] = label("brief.test:80 long.test");
    let limited = idle(&world, "limited", &[&flag, &list]);
    for (name, address) in [("brief.test", "198.18.1.80"), ("long.test", "198.18.1.81")] {
        assert!(look_up(&world, "limited", name, "127.0.0.11").contains(address));
        assert!(reaches(limited, &format!("{address}:80")));
    }
    let left: std::collections::BTreeMap<String, u64> = admitted(&world).into_iter().collect();
    assert!(left["198.18.1.80"] <= 61, "its time and a minute more: {left:?}");
    assert!((3000..=3660).contains(&left["198.18.1.81"]), "an hour at most: {left:?}");
    // The name stands for something else from now on, which it opens; the other one fades.
    web.names.zone.lock().expect("the zone").insert("brief.test", ("198.18.1.83", 300));
    let again = || look_up(&world, "limited", "brief.test", "127.0.0.11").contains("198.18.1.83");
    wait_until("the answer is not kept longer than it may be", again);
    assert!(reaches(limited, "198.18.1.83:80"));
    let patience = std::time::Instant::now() + Duration::from_secs(75);
    while reaches(limited, "198.18.1.80:80") {
        assert!(std::time::Instant::now() < patience, "it is reached for ever");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(reaches(limited, "198.18.1.83:80"));
    world.ok(&["rm", "-f", "limited"]);
    world.stop();
    drop(web.lab);
}

#[test]
fn no_name_opens_the_host_or_its_cloud() {
    let web = Web::start(&[
        ("local.test", "127.0.0.1", 300),
        ("cloud.test", "169.254.169.254", 300),
        ("mapped.test", "::ffff:169.254.169.254", 300),
    ]);
    web.lab.place("169.254.169.254");
    let world = World::prepared(CONFIG, baseline);
    world.import();
    // Under this policy link-local addresses are nobody's to shut but a list's.
    let open = idle(&world, "open", &["--runtime", "baseline"]);
    assert!(reaches(open, "169.254.169.254:80"), "the attack is one");
    let [flag, list] = label("*.test local.test cloud.test mapped.test");
    let limited = idle(&world, "limited", &["--runtime", "baseline", &flag, &list]);
    for name in ["local.test", "cloud.test", "mapped.test"] {
        let said = look_up(&world, "limited", name, "127.0.0.11");
        assert!(web.names.was_asked(name), "{said}");
    }
    assert!(!reaches(limited, "169.254.169.254:80"), "a name opens the metadata service");
    reason(&world, "limited", "169.254.169.254:80/tcp");
    assert_eq!(admitted(&world), []);
    let packet =
        within(limited, || Command::new("busybox").args(["nc", "-z", "-w", "1", "127.0.0.1", "80"]).status());
    assert!(!packet.expect("busybox nc").success(), "127.0.0.1 is the container's own");
    world.ok(&["rm", "-f", "open", "limited"]);
    world.stop();
    drop(web.lab);
}
