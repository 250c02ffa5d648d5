//! Rules and links that somebody has taken away.

use casemate_spec::wire::NetOrder;

use crate::lab::{Lab, endpoint, network, published};

#[test]
fn a_flushed_table_and_a_removed_bridge_are_put_back() {
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let (mut first, second) = (endpoint(20, 2), endpoint(20, 3));
    first.ports = vec![published("tcp 0.0.0.0:8080 80")];
    let (one, two) = (lab.attach(&net, &first), lab.attach(&net, &second));
    one.serve(80);
    let rules = lab.host.run("nft list ruleset");
    let repair =
        NetOrder::Repair { networks: vec![net.clone()], endpoints: vec![first.clone(), second.clone()] };
    for damage in ["nft flush ruleset", "nft delete table inet casemate", "nft flush table bridge casemate"] {
        lab.host.run(damage);
        assert_ne!(lab.host.run("nft list ruleset"), rules, "{damage}");
        lab.order(&repair).expect("repaired");
        assert_eq!(sorted(&lab.host.run("nft list ruleset")), sorted(&rules), "{damage}");
    }
    lab.host.run(&format!("ip link del {}", net.bridge()));
    assert_eq!(lab.outside.tcp("192.0.2.1:8080"), None);
    lab.order(&repair).expect("repaired");
    assert_eq!(lab.outside.tcp("192.0.2.1:8080").as_deref(), Some("192.0.2.2"));
    assert!(two.tcp("10.20.0.2:80").is_some());
    // A second repair changes nothing that anybody sees.
    lab.order(&repair).expect("repaired");
    assert_eq!(sorted(&lab.host.run("nft list ruleset")), sorted(&rules));
}

/// Sets have no order.
fn sorted(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split([',', '\n']).map(|word| word.trim().to_owned()).collect();
    words.sort();
    words
}

#[test]
fn connections_outlive_a_repair() {
    use std::io::{Read, Write};
    let lab = Lab::new();
    let net = network(20, "t");
    lab.make(&net);
    let mut end = endpoint(20, 2);
    end.ports = vec![published("tcp 0.0.0.0:8080 80")];
    let one = lab.attach(&net, &end);
    let listener = one.within(|| std::net::TcpListener::bind("0.0.0.0:80").expect("bound"));
    let mut there = lab.outside.within(|| std::net::TcpStream::connect("192.0.2.1:8080").expect("connected"));
    let (mut here, _) = listener.accept().expect("a connection");
    lab.order(&NetOrder::Repair { networks: vec![net], endpoints: vec![end] }).expect("repaired");
    there.write_all(b"x").expect("sent");
    here.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("set");
    let mut byte = [0];
    here.read_exact(&mut byte).expect("it came");
}
