//! The program itself, while it waits for its order: what it could do if somebody had taken it over by then.

use std::io::Write;
use std::process::{Command, Stdio};

use casemate_spec::wire::NetOrder;
use casemate_tests::wait_until;

use crate::lab::{Lab, network, program};

/// CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
const MOST: u64 = 1 << 6 | 1 << 7 | 1 << 12 | 1 << 19 | 1 << 21;

#[test]
fn an_order_is_waited_for_without_what_none_needs() {
    let lab = Lab::new();
    let mut command = Command::new(program());
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = lab.host.within(|| command.spawn().expect("started"));
    let status = format!("/proc/{}/status", child.id());
    let field = |name: &str| {
        let status = std::fs::read_to_string(&status).expect("it waits");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field").to_owned();
        line.trim_start_matches(':').trim().to_owned()
    };
    wait_until("it is confined", || field("Seccomp") == "2");
    let set = |name: &str| u64::from_str_radix(&field(name), 16).expect("a set");
    assert_eq!((set("CapPrm"), set("CapEff")), (MOST, MOST));
    assert_eq!((set("CapBnd"), set("CapInh"), set("CapAmb")), (0, 0, 0));
    assert_eq!((field("NoNewPrivs").as_str(), field("Threads").as_str()), ("1", "1"));
    let own = std::fs::metadata(format!("/proc/{}/fd", child.id())).expect("its descriptors");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&own), 0);

    // And does its work from there.
    let order = NetOrder::Make { network: network(20, "t"), kin: Vec::new() };
    let bytes = serde_json::to_vec(&order).expect("JSON");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("written");
    assert!(child.wait().expect("its end").success());
    assert!(lab.host.run("ip -br link").contains(&network(20, "t").bridge()));
}

#[test]
fn an_order_that_no_broker_gives_is_not_carried_out() {
    let lab = Lab::new();
    let of = |change: fn(&mut casemate_spec::wire::Network)| {
        let mut network = network(20, "t");
        change(&mut network);
        NetOrder::Make { network, kin: Vec::new() }
    };
    let local = |text: &str| text.parse().expect("an address");
    let before = lab.host.run("ip -br addr");
    for (order, says) in [
        (of(|net| net.subnets[0].address = "127.0.0.0".parse().expect("an address")), "another meaning"),
        (of(|net| net.subnets[0].prefix = 0), "too large"),
        (of(|net| net.subnets[0].gateway = "192.0.2.2".parse().ok()), "not an address of the subnet's"),
        (of(|net| net.mtu = Some(1)), "mtu"),
    ] {
        let (code, said) = lab.order(&order).expect_err("refused");
        assert!(
            code == 2 && said.starts_with("casemate-net: order: ") && said.contains(says),
            "{code} {said}"
        );
    }
    assert_eq!(lab.host.run("ip -br addr"), before);
    lab.make(&network(20, "t"));
    let refused = |change: &dyn Fn(&mut casemate_spec::wire::Endpoint)| {
        let mut end = crate::lab::endpoint(20, 2);
        change(&mut end);
        lab.try_attach(&network(20, "t"), &end).err().expect("refused").0
    };
    assert_eq!(refused(&|end| end.addresses[0].0 = local("10.20.0.1")), 2, "the bridge's");
    assert_eq!(refused(&|end| end.addresses[0].0 = local("192.0.2.1")), 2, "the host's");
    assert_eq!(refused(&|end| end.mac = [0xff; 6]), 2, "everybody's");
    assert!(!lab.host.run("ip -br link").contains("cmv"));
}
