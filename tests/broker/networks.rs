//! Networks through the broker, on a host that is a network namespace of the test's own: what containers get, and what a
//! hostile daemon does not.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use casemate_spec::wire::{Answer, Ask, HexId, Refusal, RefusalKind, VERSION};
use casemate_tests::{Value, json, wait_until};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::rig::{Rig, ask, id, make, program, start_of};

/// The host of one test: this thread, and whatever it starts, is in it.
pub struct Host(Child);

impl Host {
    pub fn enter() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect("unshare");
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let path = format!("/proc/{}/ns/net", child.id());
        let until = Instant::now() + Duration::from_secs(20);
        while std::fs::read_link(&path).expect("a namespace") == own {
            assert!(Instant::now() < until, "unshare takes too long");
            std::thread::sleep(Duration::from_millis(2));
        }
        let file = std::fs::File::open(path).expect("the namespace");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
        said("ip link set lo up");
        Self(child)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("its end");
    }
}

pub fn said(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("started");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn network(digit: char, tenant: &str, second: u8) -> Value {
    json!({ "id": id(digit), "tenant": tenant, "kind": "bridge", "internal": false, "icc": true,
        "masquerade": true, "mtu": null, "subnets": [{ "address": format!("10.{second}.0.0"), "prefix": 24,
        "gateway": format!("10.{second}.0.1") }] })
}

pub fn make_network(rig: &mut Rig, network: Value) -> Result<Answer, Refusal> {
    rig.ask(ask(json!({ "makeNetwork": { "network": network } }))).0
}

pub fn endpoint(digit: char, network: char, last: u8, ports: Value) -> Value {
    json!({ "id": id(digit), "network": id(network), "number": 0, "mac": [2, 66, 10, 50, 0, last],
        "addresses": [[format!("10.50.0.{last}"), 24]], "routes": ["10.50.0.1"], "ports": ports,
        "egress": null, "linkLocal": false })
}

pub fn start(rig: &mut Rig, container: &HexId, args: &[&str], endpoint: Value) -> Result<Answer, Refusal> {
    let change = |start: &mut Value| start["container"]["endpoints"] = json!([endpoint]);
    rig.ask(start_of(container, args, change)).0
}

pub fn port(host: &str) -> Value {
    json!([{ "protocol": "tcp", "host": host, "port": 8000 }])
}

/// What the server at a port of the host says.
pub fn greeting(port: u16) -> Option<String> {
    use std::io::Read;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text).filter(|text| !text.is_empty())
}

/// No privilege is needed for such a port.
pub const SERVE: [&str; 3] = ["sh", "-c", "while true; do echo served | nc -l -p 8000; done"];

#[test]
fn a_container_is_connected_from_its_birth_to_its_end() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("and made again");
    start(&mut rig, &one, &SERVE, endpoint('e', 'a', 2, port("0.0.0.0:8080"))).expect("started");
    wait_until("the server answers", || {
        greeting(8080).is_some_and(|text| {
            text == "served
"
        })
    });
    assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "no program of the host takes it");
    let dropped = rig.ask(Ask::DropNetwork { network: id('a') }).0;
    assert!(dropped.is_err_and(|refusal| refusal.kind == RefusalKind::Conflict), "a container is on it");

    // Somebody flushes all rules.
    said("nft flush ruleset");
    wait_until("the rules are back", || said("nft list ruleset").contains("10.50.0.2"));
    wait_until("and work", || greeting(8080).is_some());

    // Another broker finds all of it.
    rig.restart();
    rig.ask(Ask::Hello { version: VERSION }).0.expect("hello");
    assert!(TcpListener::bind("0.0.0.0:8080").is_err());
    wait_until("it still works", || greeting(8080).is_some());

    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: true }).0.expect("killed");
    wait_until("it has ended", || rig.ask(Ask::Release { id: one.clone() }).0.is_ok());
    assert!(TcpListener::bind("0.0.0.0:8080").is_ok());
    assert!(!said("nft list ruleset").contains("10.50.0.2"));
    // The kernel takes its time with what nobody can use any more.
    wait_until("its interface is gone", || !said("ip -br link").contains("cmv"));
    rig.ask(Ask::DropNetwork { network: id('a') }).0.expect("dropped");
    assert!(!said("ip -br link").contains("cmb"));
    rig.end();
    assert!(!said("nft list ruleset").contains("casemate"));
}

/// A helper that says that a container is disconnected, and then fails.
const FAILS_LATE: &str = r#"#!/bin/sh
order=$(cat)
case $order in *'"detach"'*) echo done; sleep 0.3; echo "casemate-net: it could not" >&2; exit 1;; esac
printf %s "$order" | REAL "$@"
"#;

#[test]
fn what_fails_after_it_was_said_to_be_done_is_mended() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let libexec = rig.dir.join("libexec");
    std::fs::create_dir(&libexec).expect("a folder");
    for name in ["runtime", "casemate-shim", "casemate-layer", "casemate-dns"] {
        std::os::unix::fs::symlink(program(name), libexec.join(name)).expect("a link");
    }
    let helper = libexec.join("casemate-net");
    let script = FAILS_LATE.replace("REAL", &program("casemate-net").to_string_lossy());
    std::fs::write(&helper, script).expect("the script");
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).expect("executable");
    rig.restart();
    rig.ask(Ask::Hello { version: VERSION }).0.expect("hello");
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    start(&mut rig, &one, &SERVE, endpoint('e', 'a', 2, json!([]))).expect("started");
    assert!(said("ip -br link").contains("cmv") && said("nft list ruleset").contains("10.50.0.2"));
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: true }).0.expect("killed");
    wait_until("it has ended", || rig.ask(Ask::Release { id: one.clone() }).0.is_ok());
    // A network namespace that ends takes the pair along, but no rule.
    wait_until("its rules are gone", || !said("nft list ruleset").contains("10.50.0.2"));
    rig.ask(Ask::DropNetwork { network: id('a') }).0.expect("dropped");
    rig.end();
}

#[test]
fn a_running_container_is_connected_and_disconnected() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.run(&one, &SERVE);
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    let end = endpoint('e', 'a', 2, port("127.0.0.1:8080"));
    let connect = json!({ "connectNetworks": { "id": one, "endpoints": [end] } });
    let began = Instant::now();
    rig.ask(ask(connect.clone())).0.expect("connected");
    eprintln!("connected in {:?}", began.elapsed());
    wait_until("it answers", || {
        greeting(8080).is_some_and(|text| {
            text == "served
"
        })
    });
    let again = rig.ask(ask(connect)).0;
    assert!(again.is_err_and(|refusal| refusal.kind == RefusalKind::Conflict));
    let disconnect = json!({ "disconnectNetworks": { "id": one, "endpoints": [id('e')] } });
    for _ in 0..2 {
        rig.ask(ask(disconnect.clone())).0.expect("disconnected, and as good when it was");
    }
    assert!(greeting(8080).is_none() && TcpListener::bind("127.0.0.1:8080").is_ok());
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: true }).0.expect("killed");
    wait_until("it has ended", || rig.ask(Ask::Release { id: one.clone() }).0.is_ok());
    rig.end();
    assert!(!said("ip -br link").contains("cmb") && !said("nft list ruleset").contains("casemate"));
}

#[test]
fn a_port_that_is_taken_is_a_conflict_and_leaves_nothing() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    let before = said("nft list ruleset");
    let taken = TcpListener::bind("127.0.0.1:8080").expect("bound");
    let refused = start(&mut rig, &one, &["true"], endpoint('e', 'a', 2, port("0.0.0.0:8080")));
    let refusal = refused.expect_err("refused");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert!(refusal.message.contains("0.0.0.0:8080: address already in use"), "{}", refusal.message);
    drop(taken);
    // A runtime that fails after the port was taken gives it back.
    start(&mut rig, &one, &["/nowhere"], endpoint('e', 'a', 2, port("0.0.0.0:8080")))
        .expect_err("no program");
    wait_until("it is given back", || TcpListener::bind("0.0.0.0:8080").is_ok());
    wait_until("nothing is left", || {
        said("nft list ruleset") == before && !said("ip -br link").contains("cmv")
    });
    start(&mut rig, &one, &["true"], endpoint('e', 'a', 2, port("0.0.0.0:8080"))).expect("started");
    wait_until("it has ended", || rig.ask(Ask::Release { id: one.clone() }).0.is_ok());
    rig.end();
}

#[test]
fn nothing_of_anybody_elses_can_be_asked_for() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    make_network(&mut rig, network('b', "other", 51)).expect("made");
    refuse_networks(&mut rig);
    refuse_endpoints(&mut rig, &one);
    // The host's network stays as it is.
    let change = |start: &mut Value| {
        start["container"]["endpoints"] = json!([endpoint('e', 'a', 2, json!([]))]);
        start["container"]["namespaces"]["network"] = json!("host");
    };
    let refused = rig.ask(start_of(&one, &["true"], change)).0.expect_err("refused");
    assert_eq!(refused.kind, RefusalKind::Invalid, "{}", refused.message);
    // A second container has neither the address nor the MAC of the first.
    let two = id('2');
    rig.ask(make(&two)).0.expect("made");
    start(&mut rig, &one, &["sleep", "1000"], endpoint('e', 'a', 2, json!([]))).expect("started");
    let refused = start(&mut rig, &two, &["true"], endpoint('f', 'a', 2, json!([]))).expect_err("refused");
    assert_eq!(refused.kind, RefusalKind::Conflict, "{}", refused.message);
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: true }).0.expect("killed");
    wait_until("it has ended", || rig.ask(Ask::Release { id: one.clone() }).0.is_ok());
    rig.end();
}

fn refuse_networks(rig: &mut Rig) {
    for (what, changed, kind) in [
        ("another's id", json!({ "tenant": "t", "id": id('b') }), RefusalKind::Conflict),
        (
            "an overlap",
            json!({ "subnets": [{ "address": "10.51.0.0", "prefix": 16, "gateway": null }] }),
            RefusalKind::Conflict,
        ),
        (
            "no subnet",
            json!({ "subnets": [{ "address": "10.60.0.1", "prefix": 24, "gateway": null }] }),
            RefusalKind::Invalid,
        ),
        (
            "loopback",
            json!({ "subnets": [{ "address": "127.1.0.0", "prefix": 16, "gateway": null }] }),
            RefusalKind::Invalid,
        ),
        ("the uplink", json!({ "kind": { "macvlan": { "parent": "eth0" } } }), RefusalKind::Denied),
        ("a path", json!({ "kind": { "macvlan": { "parent": "../eth0" } } }), RefusalKind::Invalid),
    ] {
        let mut asked = network('c', "t", 60);
        let fields = changed.as_object().expect("fields");
        asked.as_object_mut().expect("fields").extend(fields.clone());
        let refused = make_network(rig, asked).expect_err(what);
        assert_eq!(refused.kind, kind, "{what}: {}", refused.message);
    }
}

fn refuse_endpoints(rig: &mut Rig, one: &HexId) {
    for (what, changed, kind) in [
        ("another tenant's network", json!({ "network": id('b') }), RefusalKind::NotFound),
        ("no network", json!({ "network": id('d') }), RefusalKind::NotFound),
        ("a foreign address", json!({ "addresses": [["10.51.0.2", 24]] }), RefusalKind::Invalid),
        ("the gateway's", json!({ "addresses": [["10.50.0.1", 24]] }), RefusalKind::Invalid),
        ("broadcast", json!({ "addresses": [["10.50.0.255", 24]] }), RefusalKind::Invalid),
        ("another prefix", json!({ "addresses": [["10.50.0.2", 8]] }), RefusalKind::Invalid),
        ("a group's MAC", json!({ "mac": [3, 66, 0, 0, 0, 1] }), RefusalKind::Invalid),
        ("a maker's MAC", json!({ "mac": [0, 66, 0, 0, 0, 1] }), RefusalKind::Invalid),
        ("a way elsewhere", json!({ "routes": ["10.51.0.1"] }), RefusalKind::Invalid),
        ("port 0", json!({ "ports": port("0.0.0.0:0") }), RefusalKind::Invalid),
        ("an address of nobody's", json!({ "ports": port("203.0.113.7:8080") }), RefusalKind::Conflict),
    ] {
        let mut asked = endpoint('e', 'a', 2, json!([]));
        let fields = changed.as_object().expect("fields");
        asked.as_object_mut().expect("fields").extend(fields.clone());
        let refused = start(rig, one, &["true"], asked).expect_err(what);
        assert_eq!(refused.kind, kind, "{what}: {}", refused.message);
    }
}
