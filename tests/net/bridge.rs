//! Who reaches whom on one bridge, and outside.

use std::io::{BufRead, BufReader};

use casemate_spec::wire::NetOrder;

use crate::lab::{Lab, attach, detach, endpoint, network};

#[test]
fn containers_reach_each_other_and_the_outside() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let began = std::time::Instant::now();
    let one = lab.attach(&net, &endpoint(20, 2));
    eprintln!("attached in {:?} with its namespace", began.elapsed());
    let two = lab.attach(&net, &endpoint(20, 3));
    two.serve(80);
    lab.outside.serve(80);
    lab.host.serve(81);
    for (from, to, seen) in [
        (&one, "10.20.0.3:80", "10.20.0.2"),
        (&one, "[fd00:20::3]:80", "fd00:20::2"),
        // Hidden behind the host's own address.
        (&one, "192.0.2.2:80", "192.0.2.1"),
        (&one, "[2001:db8::2]:80", "2001:db8::1"),
        (&one, "10.20.0.1:81", "10.20.0.2"),
        (&lab.host, "10.20.0.3:80", "10.20.0.1"),
    ] {
        assert_eq!(from.tcp(to).as_deref(), Some(seen), "tcp {to}");
        assert_eq!(from.udp(to).as_deref(), Some(seen), "udp {to}");
    }
    let links = one.run("ip -o link show eth0");
    assert!(links.contains("mtu 1500") && links.contains("02:42:0a:14:00:02"), "{links}");
}

#[test]
fn nobody_outside_gets_in_by_a_route_of_his_own() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let one = lab.attach(&net, &endpoint(20, 2));
    one.serve(80);
    lab.outside.run("ip route add 10.20.0.0/24 via 192.0.2.1");
    lab.outside.run("ip route add fd00:20::/64 via 2001:db8::1");
    assert_eq!(lab.outside.tcp("10.20.0.2:80"), None);
    assert_eq!(lab.outside.tcp("[fd00:20::2]:80"), None);
    assert!(!lab.outside.pings("10.20.0.2"));
}

#[test]
fn without_icc_containers_reach_the_outside_alone() {
    let lab = Lab::new();
    let mut net = network(20, "t");
    net.icc = false;
    lab.make(&net);
    let (one, two) = (lab.attach(&net, &endpoint(20, 2)), lab.attach(&net, &endpoint(20, 3)));
    two.serve(80);
    lab.outside.serve(80);
    assert_eq!(one.tcp("10.20.0.3:80"), None);
    assert_eq!(one.tcp("[fd00:20::3]:80"), None);
    // Nor by way of the host.
    one.run("ip route add 10.20.0.3/32 via 10.20.0.1");
    one.run("ip route add fd00:20::3/128 via fd00:20::1");
    assert_eq!(one.tcp("10.20.0.3:80"), None);
    assert_eq!(one.tcp("[fd00:20::3]:80"), None);
    assert_eq!(one.tcp("192.0.2.2:80").as_deref(), Some("192.0.2.1"));
}

#[test]
fn nothing_leaves_an_internal_network() {
    let lab = Lab::new();
    let mut net = network(20, "t");
    net.internal = true;
    lab.make(&net);
    let (one, two) = (lab.attach(&net, &endpoint(20, 2)), lab.attach(&net, &endpoint(20, 3)));
    two.serve(80);
    lab.outside.serve(80);
    lab.host.serve(81);
    assert_eq!(one.tcp("10.20.0.3:80").as_deref(), Some("10.20.0.2"));
    assert_eq!(one.tcp("[fd00:20::3]:80").as_deref(), Some("fd00:20::2"));
    for to in ["192.0.2.2:80", "192.0.2.1:81", "10.20.0.1:81", "[2001:db8::2]:80", "[fd00:20::1]:81"] {
        assert_eq!(one.tcp(to), None, "{to}");
    }
    assert_eq!(lab.host.tcp("10.20.0.3:80").as_deref(), Some("10.20.0.1"), "the host reaches it");
}

#[test]
fn the_hosts_loopback_is_out_of_reach() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let one = lab.attach(&net, &endpoint(20, 2));
    lab.host.serve(81);
    // The bridge routes 127.0.0.0/8 for the host's own sake: a container that asks it to must not get there.
    one.run("ip addr del 127.0.0.1/8 dev lo");
    one.run("ip route add 127.0.0.1/32 via 10.20.0.1 dev eth0");
    let setting = one.within(|| std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1"));
    setting.expect("written");
    assert_eq!(one.tcp("127.0.0.1:81"), None);
    lab.host.run("nft delete table inet casemate");
    assert!(one.tcp("127.0.0.1:81").is_some(), "it is the rule that keeps it out");
}

#[test]
fn what_is_detached_or_dropped_leaves_nothing() {
    let lab = Lab::new();
    let before =
        (lab.host.run("ip -br link"), lab.host.run("ip route"), lab.host.run("ip -6 route show table main"));
    let (net, end) = (network(20, "t"), endpoint(20, 2));
    lab.make(&net);
    let empty = lab.host.run("nft list ruleset");
    let space = lab.attach(&net, &end);
    assert_ne!(lab.host.run("nft list ruleset"), empty);
    for _ in 0..2 {
        lab.order(&detach(&net, &end)).expect("detached, and as good when it was");
        assert_eq!(lab.host.run("nft list ruleset"), empty);
    }
    assert!(!space.run("ip -br link").contains("eth0"));
    for _ in 0..2 {
        lab.order(&NetOrder::Drop { network: net.clone(), kin: Vec::new() }).expect("dropped");
    }
    let after =
        (lab.host.run("ip -br link"), lab.host.run("ip route"), lab.host.run("ip -6 route show table main"));
    assert_eq!(after, before);
    lab.order(&NetOrder::Repair { networks: Vec::new(), endpoints: Vec::new() }).expect("left");
    assert_eq!(lab.host.run("nft list ruleset"), "");
}

/// The kernel keeps a process that has removed rules for some 10 ms at its end: whoever waits for the order need not.
#[test]
fn it_is_done_when_it_says_so_and_says_nothing_when_it_is_not() {
    let lab = Lab::new();
    let (net, end) = (network(20, "t"), endpoint(20, 2));
    lab.make(&net);
    let empty = lab.host.run("nft list ruleset");
    let space = lab.attach(&net, &end);
    let says = |order: &NetOrder| {
        let mut child = lab.start(order);
        let mut words = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut words).expect("text");
        (words, child)
    };
    let (words, mut child) = says(&detach(&net, &end));
    assert_eq!(words, "done\n");
    assert_eq!(lab.host.run("nft list ruleset"), empty);
    // Nobody watches over what it sends: nothing is sent. The interface goes in the kernel's own time.
    let link = lab.host.tries(&format!("ip -br link show {}", end.host_interface())).1;
    assert!(!link.contains(",UP") && !link.contains("<UP"), "{link}");
    assert!(child.wait().expect("its end").success());
    assert!(!space.run("ip -br link").contains("eth0"));
    let elsewhere = network(21, "t");
    let (words, mut child) = says(&attach(&space, &elsewhere, &endpoint(21, 2)));
    assert_eq!(words, "", "there is no such bridge");
    assert!(!child.wait().expect("its end").success());
}

#[test]
fn a_subnet_that_the_host_has_a_route_to_is_a_conflict() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.host.run("ip route add 10.20.0.128/25 via 192.0.2.2");
    let make = NetOrder::Make { network: net.clone(), kin: Vec::new() };
    let (code, said) = lab.order(&make).expect_err("refused");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("the host has a route to 10.20.0.128/25"), "{said}");
    assert!(!lab.host.run("ip -br link").contains("cmb"));
    lab.host.run("ip route del 10.20.0.128/25");
    // Its own route is none that is in its way.
    for _ in 0..2 {
        lab.order(&make).expect("made, and made again");
    }
}

#[test]
fn foreign_rules_stay_and_may_drop_what_we_let_through() {
    let lab = Lab::new();
    lab.host.run("nft add table inet mine");
    lab.host.run("nft add chain inet mine f { type filter hook forward priority 0 ; policy drop ; }");
    let mine = lab.host.run("nft list table inet mine");
    let net = network(20, "t");
    lab.make(&net);
    let mut end = endpoint(20, 2);
    end.ports = vec![crate::lab::published("tcp 0.0.0.0:8080 80")];
    let one = lab.attach(&net, &end);
    one.serve(80);
    assert_eq!(lab.outside.tcp("192.0.2.1:8080"), None, "published ports do not go past the host's firewall");
    lab.order(&NetOrder::Repair { networks: vec![net], endpoints: vec![end] }).expect("repaired");
    assert_eq!(lab.host.run("nft list table inet mine"), mine);
    lab.host.run("nft delete table inet mine");
    assert_eq!(lab.outside.tcp("192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
}
