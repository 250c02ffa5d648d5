//! Where a container may connect to.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use casemate_spec::netlink::{attributes, messages};
use casemate_spec::wire::{Allowed, Egress, NetOrder, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::lab::{Lab, endpoint, network, program};

fn allowed(address: &str, prefix: u8, protocol: Option<Protocol>, ports: Option<(u16, u16)>) -> Allowed {
    Allowed { address: address.parse().expect("an address"), prefix, protocol, ports }
}

#[test]
fn what_is_not_allowed_is_refused_with_a_word() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let mut end = endpoint(20, 2);
    let allow = vec![
        allowed("192.0.2.0", 24, Some(Protocol::Tcp), Some((80, 80))),
        // Within the line before, and none of its own then.
        allowed("192.0.2.2", 32, Some(Protocol::Tcp), Some((80, 80))),
        allowed("2001:db8::2", 128, None, Some((90, 99))),
    ];
    end.egress = Some(Egress { allow });
    let (one, two) = (lab.attach(&net, &end), lab.attach(&net, &endpoint(20, 3)));
    for port in [80, 81, 95] {
        lab.outside.serve(port);
        two.serve(port);
    }
    lab.host.serve(81);
    let refused = Some(Errno::HOSTUNREACH.raw_os_error());
    assert!(one.tcp("192.0.2.2:80").is_some());
    assert!(one.tcp("[2001:db8::2]:95").is_some());
    assert!(one.udp("[2001:db8::2]:95").is_some());
    assert_eq!(one.tcp_error("192.0.2.2:81"), refused);
    assert_eq!(one.udp("192.0.2.2:80"), None);
    assert_eq!(one.tcp_error("192.0.2.1:81"), refused, "the host is outside, too");
    assert_eq!(one.tcp_error("10.20.0.1:81"), refused);
    assert_eq!(one.tcp("[2001:db8::2]:80"), None);
    assert!(!one.pings("192.0.2.2"));
    assert!(one.tcp("10.20.0.3:81").is_some(), "its own network is its own");
    assert!(two.tcp("192.0.2.2:81").is_some(), "others are not limited");
    // Answers to those who ask it are no connections of its own.
    one.serve(82);
    assert!(lab.host.tcp("10.20.0.2:82").is_some());
}

#[test]
fn a_name_is_admitted_for_a_while() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let mut end = endpoint(20, 2);
    end.egress = Some(Egress::default());
    let one = lab.attach(&net, &end);
    lab.outside.serve(80);
    assert_eq!(one.tcp("192.0.2.2:80"), None);
    let from: Vec<_> = end.addresses.iter().map(|(address, _)| *address).collect();
    let admit = |seconds| NetOrder::Admit {
        from: from.clone(),
        allowed: vec![allowed("192.0.2.2", 32, None, Some((80, 80)))],
        seconds,
    };
    lab.order(&admit(1)).expect("admitted");
    lab.order(&admit(3)).expect("admitted for longer");
    assert!(one.tcp("192.0.2.2:80").is_some());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(one.tcp("192.0.2.2:80").is_some(), "it was renewed");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(one.tcp("192.0.2.2:80"), None);
}

#[test]
fn metadata_services_are_reached_by_those_who_asked() {
    let lab = Lab::new();
    lab.outside.run("ip addr add 169.254.169.254/32 dev up0");
    lab.host.run("ip route add 169.254.169.254/32 via 192.0.2.2");
    lab.outside.serve(80);
    let net = network(20, "t");
    lab.make(&net);
    let (plain, mut open) = (lab.attach(&net, &endpoint(20, 2)), endpoint(20, 3));
    open.link_local = true;
    let open = lab.attach(&net, &open);
    assert_eq!(plain.tcp("169.254.169.254:80"), None);
    assert!(open.tcp("169.254.169.254:80").is_some());
    assert!(plain.tcp("192.0.2.2:80").is_some());
}

/// A netlink socket of the host's that is told of what a table refuses, and reads without waiting.
fn listener(lab: &Lab, table: &str) -> Result<OwnedFd, String> {
    let socket = lab.host.within(|| {
        let protocol = Some(rustix::net::netlink::NETFILTER);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).expect("a socket");
        bind(&socket, &rustix::net::netlink::SocketAddrNetlink::new(0, 0)).expect("bound");
        socket
    });
    let mut command = Command::new(program());
    command.args(["--table", table]).stdin(Stdio::piped()).stderr(Stdio::piped());
    command.stdout(socket.try_clone().expect("a copy"));
    let mut child = lab.host.within(|| command.spawn().expect("started"));
    child.stdin.take().expect("a pipe").write_all(b"\"listen\"").expect("written");
    let output = child.wait_with_output().expect("its end");
    match output.status.code() {
        Some(0) => Ok(socket),
        code => Err(format!("{code:?} {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// What it is told: the addresses that refused packets came from.
fn told(socket: &OwnedFd) -> Vec<String> {
    let mut all = Vec::new();
    let mut bytes = vec![0; 16 << 10];
    while let Ok((read, _)) = recv(socket, bytes.as_mut_slice(), RecvFlags::DONTWAIT) {
        for message in messages(&bytes[..read]) {
            let found = attributes(&message.body[4..]).find(|(kind, _)| *kind == 9);
            let packet = found.expect("a packet").1;
            let [a, b, c, d] = packet[12..16].try_into().expect("an address");
            all.push(std::net::Ipv4Addr::new(a, b, c, d).to_string());
        }
    }
    all
}

#[test]
fn refusals_are_told_to_one_listener_and_a_flood_hides_nobodys() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let limited = |last| {
        let mut end = endpoint(20, last);
        end.egress = Some(Egress::default());
        lab.attach(&net, &end)
    };
    let (loud, quiet) = (limited(2), limited(3));
    let socket = listener(&lab, "casemate").expect("it listens");
    // One listener each: somebody else's table has its own.
    let taken = listener(&lab, "casemate").expect_err("it is taken");
    assert!(taken.starts_with("Some(3) casemate-net: log group 45944: "), "{taken}");
    assert!(taken.contains("somebody else on this host listens to it"), "{taken}");
    let other = listener(&lab, "casemate-0123456789abcdef").expect("another group");
    loud.within(|| {
        let flood = std::net::UdpSocket::bind("10.20.0.2:0").expect("a socket");
        for _ in 0..5000 {
            flood.send_to(b"x", "192.0.2.2:9").unwrap_or_default();
        }
    });
    assert_eq!(quiet.tcp("192.0.2.2:80"), None);
    let all = told(&socket);
    let of = |address: &str| all.iter().filter(|from| *from == address).count();
    assert!((50..200).contains(&of("10.20.0.2")), "a flood is told of as one: {}", of("10.20.0.2"));
    assert!(of("10.20.0.3") >= 1, "nobody's refusal is hidden by another's");
    assert_eq!(told(&other), [] as [String; 0]);
    // Who is given the socket, and has no privilege, can have it told of nothing else, nor change a rule by it.
    assert_eq!(configured(&socket, 2), 0, "whoever has the privilege gives the group up");
    let given = socket.try_clone().expect("a copy");
    let tried = std::thread::spawn(move || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, sets).expect("given up");
        configured(&given, 1)
    });
    assert_eq!(tried.join().expect("an answer"), -Errno::PERM.raw_os_error());
    assert_eq!(configured(&socket, 1), 0, "with it, the same is done");
    drop(socket);
    assert!(listener(&lab, "casemate").is_ok(), "it is free with its last descriptor");
}

/// What the kernel answers to a command about the log's group: `NFULNL_CFG_CMD_BIND` is 1, `NFULNL_CFG_CMD_UNBIND` 2.
fn configured(socket: &OwnedFd, command: u8) -> i32 {
    let group = casemate_spec::wire::Denial::group("casemate").to_be_bytes();
    let mut message = 28_u32.to_ne_bytes().to_vec();
    // NFULNL_MSG_CONFIG, which is to be acknowledged
    message.extend((4_u16 << 8 | 1).to_ne_bytes());
    message.extend(5_u16.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0, 0, group[0], group[1]]);
    message.extend([5, 0, 1, 0, command, 0, 0, 0]);
    rustix::net::send(socket, &message, SendFlags::empty()).expect("sent");
    let mut bytes = vec![0; 4096];
    loop {
        let (read, _) = recv(socket, bytes.as_mut_slice(), RecvFlags::DONTWAIT).expect("an answer");
        let answer = messages(&bytes[..read]).find(|message| message.kind == 2);
        if let Some(answer) = answer {
            return i32::from_ne_bytes(answer.body[..4].try_into().expect("a number"));
        }
    }
}
