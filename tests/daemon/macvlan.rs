//! Networks upon an interface of the host: with traffic on the wire that it leads to, and for whom the operator says.

use std::net::SocketAddr;

use crate::down::Site;
use crate::harness::{Server, ask_tcp, ask_udp, within};
use crate::lab::{Lab, run};

/// A wire from the host to the other machine, with the machine's address on it.
fn wire(lab: &Lab, name: &str, address: &str) {
    let pid = lab.outside.pid();
    run(&format!("ip link add {name} type veth peer name {name} netns {pid}"));
    run(&format!("ip link set {name} up"));
    within(pid, || {
        run(&format!("ip address add {address}/24 dev {name}"));
        run(&format!("ip link set {name} up"));
    });
}

fn create<'a>(parent: &'a str, subnet: &'a str, name: &'a str) -> Vec<&'a str> {
    let create = ["network", "create", "-d", "macvlan", "-o", parent];
    [&create[..], &["--subnet", subnet, name]].concat()
}

#[test]
fn a_tenant_builds_upon_the_interface_that_it_is_given() {
    let lab = Lab::enter();
    for (name, address) in [("lan0", "198.51.100.1"), ("lan1", "203.0.113.1"), ("lan2", "203.0.113.1")] {
        wire(&lab, name, address);
    }
    let site = Site::up("macvlan = [\"lan0\", \"lan1=red\"]\n");
    site.docker(&create("parent=lan0", "198.51.100.0/24", "lan"));
    let words = ["run", "-d", "--network", "lan", "--ip", "198.51.100.10", "--name", "there", "busybox"];
    site.docker(&[&words[..], &["sleep", "1000"]].concat());
    let pid: u32 = site.docker(&["inspect", "--format", "{{.State.Pid}}", "there"]).parse().expect("a pid");
    let (inside, outside) = (lab.outside.pid(), "198.51.100.1:80".parse::<SocketAddr>().expect("an address"));
    let _servers = [Server::start(pid, 80, "container"), Server::start(inside, 80, "machine")];
    // The machine sees the container as it sees any other on the wire.
    assert_eq!(ask_tcp(pid, outside).expect("it is reached"), "198.51.100.10 machine");
    assert_eq!(ask_udp(pid, outside, None).expect("it is reached"), "198.51.100.10 machine");
    let container = "198.51.100.10:80".parse().expect("an address");
    assert_eq!(ask_tcp(inside, container).expect("it is reached"), "198.51.100.1 container");
    // No rule of ours sees what goes there, so that no list could hold.
    let words = ["run", "--rm", "--network", "lan", "--label", "io.casemate.egress=none", "busybox", "true"];
    site.call("admin", &words)
        .run()
        .fails_saying(&["egress of the container is limited", "network lan cannot be"]);
    site.docker(&["rm", "-f", "there"]);
    site.docker(&["network", "rm", "lan"]);
    assert!(run("ip link show dev lan0").contains("lan0"), "the interface is the host's");
    site.end();
}

#[test]
fn an_interface_is_nobodys_unless_the_operator_gives_it() {
    let lab = Lab::enter();
    for (name, address) in [("lan0", "198.51.100.1"), ("lan1", "203.0.113.1"), ("lan2", "192.0.2.1")] {
        wire(&lab, name, address);
    }
    let mut site = Site::up("macvlan = [\"lan0\", \"lan1=red\"]\n");
    site.casemate(&["pki", "issue", "rita", "--tenant", "red", "--group", "admin"]);
    let (zero, one) =
        (create("parent=lan0", "198.51.100.0/24", "x"), create("parent=lan1", "203.0.113.0/24", "y"));
    let two = create("parent=lan2", "192.0.2.0/24", "z");
    let refused = |site: &Site, who: &str, words: &[&str], tenant: &str| {
        let says = [format!("it is none for tenant {tenant} to build upon"), format!("={tenant}")];
        site.call(who, words).run().fails_saying(&[
            &says[0],
            "hint: the operator starts casemate up with --macvlan",
            &says[1],
        ]);
    };
    // Two tenants upon one interface would reach each other there.
    for (who, words, tenant) in [
        ("admin", &one, "default"),
        ("rita", &zero, "red"),
        ("admin", &two, "default"),
        ("rita", &two, "red"),
    ] {
        refused(&site, who, words, tenant);
    }
    site.call("rita", &one).run().ok();
    site.call("rita", &["network", "rm", "y"]).run().ok();
    site.docker(&zero);
    site.docker(&["network", "rm", "x"]);
    // What is said at the start goes before the file.
    site.casemate(&["down"]);
    site.again_with(&["--macvlan", "lan2"]);
    refused(&site, "admin", &zero, "default");
    refused(&site, "rita", &one, "red");
    site.docker(&two);
    site.docker(&["network", "rm", "z"]);
    site.end();
}
