//! What a container sends with somebody else's addresses. Each attack works where the rules are taken away.

use crate::lab::{Lab, Space, endpoint, network};

/// A network with an attacker, a victim, and a third whose addresses are stolen.
fn scene() -> (Lab, Space, Space) {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let (attacker, victim) = (lab.attach(&net, &endpoint(20, 2)), lab.attach(&net, &endpoint(20, 3)));
    (lab, attacker, victim)
}

/// With the protection, then without.
fn both(lab: &Lab, attack: impl Fn() -> bool) -> (bool, bool) {
    let with = attack();
    lab.host.run("nft delete table bridge casemate");
    // Whatever was not answered before is asked again.
    (with, (0..3).any(|_| attack()))
}

#[test]
fn a_foreign_ipv4_address_reaches_nobody() {
    let (lab, attacker, victim) = scene();
    attacker.run("ip addr add 10.20.0.9/24 dev eth0");
    let counted = || {
        victim
            .run("cat /proc/net/snmp")
            .lines()
            .filter(|line| line.starts_with("Icmp: "))
            .nth(1)
            .and_then(|line| line.split_whitespace().nth(9)?.parse::<u64>().ok())
            .expect("a count")
    };
    let attack = || {
        let before = counted();
        // The victim's MAC is known: no question goes before it.
        let mac = "02:42:0a:14:00:03";
        attacker.run(&format!("ip neigh replace 10.20.0.3 lladdr {mac} dev eth0"));
        attacker.tries("busybox ping -c 1 -W 1 -I 10.20.0.9 10.20.0.3");
        counted() > before
    };
    assert_eq!(both(&lab, attack), (false, true));
}

#[test]
fn a_foreign_ipv6_address_reaches_nobody() {
    let (lab, attacker, _victim) = scene();
    attacker.run("ip addr add fd00:20::9/64 dev eth0 nodad");
    let attack = || attacker.tries("busybox ping6 -c 1 -W 1 -I fd00:20::9 fd00:20::3").0;
    assert_eq!(both(&lab, attack), (false, true));
}

#[test]
fn nobodys_neighbours_are_told_a_foreign_address() {
    let (lab, attacker, victim) = scene();
    // It says that the gateway is here.
    let attack = || {
        victim.run("ip neigh flush dev eth0");
        assert!(victim.pings("10.20.0.1"));
        attacker.run("ip addr replace 10.20.0.1/32 dev eth0");
        attacker.tries("busybox arping -c 2 -w 2 -U -I eth0 -s 10.20.0.1 10.20.0.1");
        attacker.tries("busybox arping -c 1 -w 1 -I eth0 -s 10.20.0.1 10.20.0.3");
        attacker.run("ip addr del 10.20.0.1/32 dev eth0");
        victim.run("ip neigh show 10.20.0.1").contains("02:42:0a:14:00:02")
    };
    assert_eq!(both(&lab, attack), (false, true));
}

#[test]
fn a_foreign_mac_reaches_nobody() {
    let (lab, attacker, _victim) = scene();
    assert!(attacker.pings("10.20.0.3"));
    attacker.run("ip link set eth0 down");
    attacker.run("ip link set eth0 address 02:42:0a:14:00:09");
    attacker.run("ip link set eth0 up");
    assert_eq!(both(&lab, || attacker.pings("10.20.0.3")), (false, true));
}

#[test]
fn nobody_is_a_router_but_the_bridge() {
    let (lab, attacker, victim) = scene();
    let accept = || std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_ra", "2");
    victim.within(accept).expect("written");
    // An advertisement of a prefix, by hand: fd00:bad::/64 for everybody.
    let attack = || {
        attacker.within(advertise);
        std::thread::sleep(std::time::Duration::from_millis(300));
        victim.run("ip -6 addr show dev eth0").contains("fd00:bad:")
    };
    assert_eq!(both(&lab, attack), (false, true));
}

/// Sends a router's advertisement by a raw socket; the kernel fills in the checksum.
fn advertise() {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, netdevice, sendto, socket, sockopt};
    let raw = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).expect("a raw socket");
    sockopt::set_ipv6_multicast_hops(&raw, 255).expect("hops");
    let index = netdevice::name_to_index(&raw, "eth0").expect("an index");
    let mut message = vec![134, 0, 0, 0, 64, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    message.extend("fd00:bad::".parse::<Ipv6Addr>().expect("an address").octets());
    let all = SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, index);
    sendto(&raw, &message, SendFlags::empty(), &all).expect("sent");
}

#[test]
fn a_frame_for_a_virtual_network_passes_nobody() {
    let (lab, attacker, victim) = scene();
    for (space, last) in [(&attacker, 2), (&victim, 3)] {
        let (made, said) = space.tries("ip link add link eth0 name v type vlan id 7");
        if !made {
            return casemate_tests::skip(&format!("no virtual networks: {said}"));
        }
        space.run(&format!("ip addr add 10.99.0.{last}/24 dev v"));
        space.run("ip link set v up");
    }
    assert_eq!(both(&lab, || attacker.pings("10.99.0.3")), (false, true));
}
