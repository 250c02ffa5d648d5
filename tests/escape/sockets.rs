//! Sockets of families that a container has no use for, and sockets of the host's.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::attack::{FROM_BASELINE, FROM_HARDENED, Fate, fate, operations, permissive, table};
use crate::survey::install_survey;

/// What is sent from here is believed by the other containers of the bridge: forged ARP and ICMPv6 (CVE-2020-13401).
#[test]
fn raw_sockets() {
    operations(FROM_HARDENED, &["socket:packet", "socket:raw ipv4", "socket:raw ipv6", "socket:xdp"]);
}

/// To the hypervisor, past every firewall of the network namespace.
#[test]
fn vsock() {
    operations(FROM_BASELINE, &["socket:vsock"]);
}

#[test]
fn netlink_beyond_routes() {
    operations(
        FROM_HARDENED,
        &[
            "socket:netlink netfilter",
            "socket:netlink xfrm",
            "socket:netlink audit",
            "socket:netlink generic",
            "socket:netlink uevent",
        ],
    );
    operations([Fate::Succeeds, Fate::Succeeds, Fate::Succeeds, Fate::Stopped], &["socket:netlink route"]);
}

#[test]
fn rare_transports() {
    operations(FROM_HARDENED, &["socket:sctp", "socket:udplite"]);
}

/// CVE-2020-15257: a socket without a file, of a daemon of the host's, reached through the host's network namespace.
#[test]
fn abstract_sockets_of_the_host() {
    table([Fate::Succeeds, Fate::Stopped, Fate::Denied, Fate::Denied], |policy| {
        let script = "/survey 'aimed:abstract socket' | grep -q reachable && echo won; echo tried";
        let mut bundle = permissive(script);
        install_survey(&bundle);
        let name = format!("{}-{policy}", bundle.id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("bind a socket without a file");
        bundle.without_namespace("network");
        bundle.edit(|c| {
            c["process"]["env"].as_array_mut().expect("a list").push(format!("SURVEY_AIM={name}").into());
        });
        let output = bundle.policy(policy).run();
        drop(listener);
        fate(&output)
    });
}
