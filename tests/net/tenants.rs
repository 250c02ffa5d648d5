//! Networks of two tenants: no way from one to the other.

use crate::lab::{Lab, endpoint, network, published};

#[test]
fn tenants_do_not_reach_each_other() {
    let lab = Lab::new();
    let (ours, theirs) = (network(20, "a"), network(21, "b"));
    lab.make(&ours);
    lab.make(&theirs);
    let mut end = endpoint(21, 2);
    end.ports = ["tcp 0.0.0.0:8080 80", "tcp [::]:8080 80"].map(published).to_vec();
    let (one, other) = (lab.attach(&ours, &endpoint(20, 2)), lab.attach(&theirs, &end));
    other.serve(80);
    assert!(lab.outside.tcp("192.0.2.1:8080").is_some());
    for to in ["10.21.0.2:80", "[fd00:21::2]:80", "192.0.2.1:8080", "[2001:db8::1]:8080", "10.21.0.1:8080"] {
        assert_eq!(one.tcp(to), None, "{to}");
    }
    for to in ["10.21.0.2", "10.21.0.1", "fd00:21::2", "fd00:21::1"] {
        assert!(!one.pings(to), "{to}");
    }
    // Whatever it takes for its own network.
    one.run("ip addr add 10.21.0.9/24 dev eth0");
    one.run("ip route replace 10.21.0.2/32 via 10.20.0.1 dev eth0 onlink");
    assert_eq!(one.tcp("10.21.0.2:80"), None);
}

#[test]
fn a_tenants_own_networks_are_apart_too() {
    let lab = Lab::new();
    let (first, second) = (network(20, "a"), network(21, "a"));
    lab.make(&first);
    let kin = vec![first.id.clone()];
    lab.order(&casemate_spec::wire::NetOrder::Make { network: second.clone(), kin }).expect("made");
    let (one, other) = (lab.attach(&first, &endpoint(20, 2)), lab.attach(&second, &endpoint(21, 2)));
    other.serve(80);
    assert_eq!(one.tcp("10.21.0.2:80"), None);
    assert!(!one.pings("10.21.0.2"));
}
