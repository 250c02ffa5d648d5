//! Published ports: from everywhere they are meant for, and with the address of whoever asks.

use crate::lab::{Lab, detach, endpoint, network, published};

#[test]
fn a_port_is_reached_from_everywhere() {
    reached_from_everywhere(false);
}

#[test]
fn a_port_is_reached_from_everywhere_where_bridges_are_filtered() {
    if !std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        return casemate_tests::skip("bridges do not show their packets to IP's rules");
    }
    reached_from_everywhere(true);
}

fn reached_from_everywhere(shown: bool) {
    let lab = Lab::new();
    lab.show_bridged(shown);
    let neighbours = if shown { "10.20.0.3" } else { "10.20.0.1" };
    let (net, other) = (network(20, "t"), network(21, "t"));
    lab.make(&net);
    let kin = vec![net.id.clone()];
    lab.order(&casemate_spec::wire::NetOrder::Make { network: other.clone(), kin }).expect("made");
    let mut end = endpoint(20, 2);
    end.ports = ["tcp 0.0.0.0:8080 80", "udp 0.0.0.0:8080 80", "tcp [::]:8080 80", "udp [::]:8080 80"]
        .map(published)
        .to_vec();
    let server = lab.attach(&net, &end);
    server.serve(80);
    let (neighbour, cousin) = (lab.attach(&net, &endpoint(20, 3)), lab.attach(&other, &endpoint(21, 2)));
    for (who, from, to, seen) in [
        ("outside", &lab.outside, "192.0.2.1:8080", "192.0.2.2"),
        ("outside", &lab.outside, "[2001:db8::1]:8080", "2001:db8::2"),
        ("the host, by loopback", &lab.host, "127.0.0.1:8080", "10.20.0.1"),
        ("the host, by its address", &lab.host, "192.0.2.1:8080", "192.0.2.1"),
        ("a neighbour", &neighbour, "192.0.2.1:8080", neighbours),
        ("a neighbour, by the gateway", &neighbour, "10.20.0.1:8080", neighbours),
        ("another network", &cousin, "192.0.2.1:8080", "10.21.0.2"),
        ("another network", &cousin, "[2001:db8::1]:8080", "fd00:21::2"),
        ("itself", &server, "192.0.2.1:8080", "10.20.0.1"),
    ] {
        assert_eq!(from.tcp(to).as_deref(), Some(seen), "{who}: tcp {to}");
        assert_eq!(from.udp(to).as_deref(), Some(seen), "{who}: udp {to}");
    }
    assert_eq!(cousin.tcp("10.20.0.2:80"), None, "but not directly");
    lab.order(&detach(&net, &end)).expect("detached");
    assert_eq!(lab.outside.tcp("192.0.2.1:8080"), None);
}

#[test]
fn a_port_on_one_address_is_on_no_other() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let mut end = endpoint(20, 2);
    end.ports = ["tcp 127.0.0.1:8080 80", "tcp 192.0.2.1:8081 80"].map(published).to_vec();
    lab.attach(&net, &end).serve_for(&lab);
}

impl crate::lab::Space {
    fn serve_for(&self, lab: &Lab) {
        self.serve(80);
        assert!(lab.host.tcp("127.0.0.1:8080").is_some());
        assert_eq!(lab.host.tcp("192.0.2.1:8080"), None);
        assert_eq!(lab.outside.tcp("192.0.2.1:8080"), None);
        assert_eq!(lab.outside.tcp("192.0.2.1:8081").as_deref(), Some("192.0.2.2"));
        assert_eq!(lab.host.tcp("127.0.0.1:8081"), None);
        // Somebody on the same wire who sends to 127.0.0.1 by the host's MAC.
        lab.outside.run("ip addr del 127.0.0.1/8 dev lo");
        lab.outside.run("ip route add 127.0.0.1/32 via 192.0.2.1 dev up0");
        let route = || std::fs::write("/proc/sys/net/ipv4/conf/up0/route_localnet", "1");
        lab.outside.within(route).expect("written");
        assert_eq!(lab.outside.tcp("127.0.0.1:8080"), None);
    }
}

#[test]
fn a_port_that_is_taken_is_a_conflict_and_leaves_nothing() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let (mut first, mut second) = (endpoint(20, 2), endpoint(20, 3));
    first.ports = vec![published("tcp 0.0.0.0:8080 80")];
    second.ports = ["tcp 0.0.0.0:9090 80", "tcp 0.0.0.0:8080 80"].map(published).to_vec();
    let server = lab.attach(&net, &first);
    server.serve(80);
    let before = (lab.host.run("nft list ruleset"), lab.host.run("ip -br link"));
    let (code, said) = lab.try_attach(&net, &second).err().expect("refused");
    assert_eq!((code, said.as_str()), (3, "casemate-net: port 0.0.0.0:8080/tcp: somebody else has it\n"));
    assert_eq!((lab.host.run("nft list ruleset"), lab.host.run("ip -br link")), before);
    assert_eq!(lab.outside.tcp("192.0.2.1:8080").as_deref(), Some("192.0.2.2"), "the first one's still");
    second.ports = vec![published("udp 0.0.0.0:8080 80")];
    lab.attach(&net, &second);
}

#[test]
fn thousands_of_ports_are_one_change() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let mut end = endpoint(20, 2);
    end.ports = (10_000..14_000).map(|port| published(&format!("tcp 0.0.0.0:{port} 80"))).collect();
    let began = std::time::Instant::now();
    let server = lab.attach(&net, &end);
    eprintln!("4000 ports in {:?}", began.elapsed());
    server.serve(80);
    for port in [10_000, 13_999] {
        assert!(lab.outside.tcp(&format!("192.0.2.1:{port}")).is_some());
    }
    assert_eq!(lab.outside.tcp("192.0.2.1:14000"), None);
    lab.order(&detach(&net, &end)).expect("detached");
    assert!(!lab.host.run("nft list map inet casemate any4").contains("elements"));
}

/// Datagrams from one port to one port are one connection to the kernel, for as long as they keep coming: it must not
/// lead to who was there before, nor to nobody.
#[test]
fn datagrams_that_never_stop_follow_a_port() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let ask = |from: &crate::lab::Space| from.udp_from(40_001, "192.0.2.1:8080");
    let publish = |last: u8| {
        let mut end = endpoint(20, last);
        end.ports = vec![published("udp 0.0.0.0:8080 80")];
        end
    };
    let both = [&lab.outside, &lab.host];
    // Before anybody has the port.
    assert!(both.into_iter().all(|from| ask(from).is_none()));
    let first = lab.attach(&net, &publish(2));
    first.serve(80);
    assert!(both.into_iter().all(|from| ask(from).is_some()), "the first is not found");
    lab.order(&detach(&net, &publish(2))).expect("detached");
    let heir = lab.attach(&net, &endpoint(20, 2));
    heir.serve(80);
    assert!(
        both.into_iter().all(|from| ask(from).is_none()),
        "who has the address has the port's connections, too"
    );
    let second = lab.attach(&net, &publish(3));
    second.serve(80);
    assert!(both.into_iter().all(|from| ask(from).is_some()), "the second is not found");
    // Rules that were away for a while.
    lab.host.run("nft flush ruleset");
    assert!(lab.outside.udp_from(40_002, "192.0.2.1:8080").is_none());
    let repair = casemate_spec::wire::NetOrder::Repair {
        networks: vec![net],
        endpoints: vec![publish(3), endpoint(20, 2)],
    };
    lab.order(&repair).expect("repaired");
    assert!(lab.outside.udp_from(40_002, "192.0.2.1:8080").is_some(), "it is not found after a repair");
}

/// What passes through the host to a port of that number elsewhere is left alone.
#[test]
fn others_connections_to_the_same_number_are_left_alone() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    lab.outside.serve(8080);
    let client = lab.attach(&net, &endpoint(20, 2));
    assert!(client.udp_from(40_001, "192.0.2.2:8080").is_some());
    let beside = lab.attach(&net, &endpoint(20, 4));
    assert!(beside.udp_from(40_003, "192.0.2.2:8080").is_some());
    let known = |port: &str| {
        lab.host.run("cat /proc/net/nf_conntrack").lines().filter(|line| line.contains(port)).count()
    };
    assert_eq!((known("40001"), known("40003")), (1, 1));
    let mut end = endpoint(20, 3);
    end.ports = vec![published("udp 0.0.0.0:8080 80")];
    lab.attach(&net, &end);
    assert_eq!(known("40001"), 1, "a neighbour's connection is forgotten");
    // Who has the address next, and is limited, has nothing of it.
    lab.order(&detach(&net, &endpoint(20, 2))).expect("detached");
    let mut heir = endpoint(20, 2);
    heir.egress = Some(casemate_spec::wire::Egress::default());
    let heir = lab.attach(&net, &heir);
    assert_eq!(known("40001"), 0, "a connection outlives who had it");
    assert_eq!(known("40003"), 1, "somebody else's connection is forgotten");
    assert!(heir.udp_from(40_001, "192.0.2.2:8080").is_none(), "an heir has what was allowed to another");
}
