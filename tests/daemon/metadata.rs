//! Where clouds keep a host's credentials: a service at the addresses that it has there.

use crate::World;
use crate::denials::refused;
use crate::harness::{Server, ask_tcp};
use crate::lab::{Lab, baseline, idle, reason};

#[test]
fn the_hosts_credentials_are_out_of_reach_but_where_the_policy_is_dockers() {
    let lab = Lab::enter();
    let services = ["169.254.169.254:80", "[fd00:ec2::254]:80"];
    lab.place("169.254.169.254");
    lab.place("fd00:ec2::254");
    let world = World::prepared("", baseline);
    world.import();
    let _service = Server::start(lab.outside.pid(), 80, "credentials");
    let subnets = ["--ipv6", "--subnet", "10.51.0.0/24", "--subnet", "fd00:51::/64"];
    world.ok(&[&["network", "create"][..], &subnets, &["net"]].concat());
    let flags = ["--network", "net"];
    let open = idle(&world, "open", &[&flags[..], &["--runtime", "baseline"]].concat());
    let plain = idle(&world, "plain", &flags);
    // A list that has them does not open them either.
    let list = "io.casemate.egress=169.254.169.254 [fd00:ec2::254]";
    let listed = idle(&world, "listed", &[&flags[..], &["--label", list]].concat());
    for service in services {
        let address = service.parse().expect("an address");
        assert!(
            ask_tcp(open, address).is_ok_and(|said| said.ends_with("credentials")),
            "{service}: the attack"
        );
        for (name, pid) in [("plain", plain), ("listed", listed)] {
            refused(ask_tcp(pid, address));
            let why = reason(&world, name, &format!("{service}/tcp"));
            let says = "link-local addresses, where clouds keep credentials of the host, are out of reach under policy hardened";
            assert_eq!(why, says);
        }
    }
    assert!(ask_tcp(plain, "198.18.1.2:80".parse().expect("an address")).is_ok(), "the rest is everybody's");
    world.ok(&["rm", "-f", "open", "plain", "listed"]);
    world.ok(&["network", "rm", "net"]);
    world.stop();
}
