//! The helper, killed at any moment: the next run mends whatever it left.

use std::time::Duration;

use casemate_spec::wire::NetOrder;

use crate::lab::{Lab, Space, attach, detach, endpoint, network, published};

#[test]
fn killed_at_any_moment_it_leaves_nothing_that_lasts() {
    let lab = Lab::new();
    let net = network(20, "t");
    let mut end = endpoint(20, 2);
    end.ports = vec![published("tcp 0.0.0.0:8080 80")];
    let make = NetOrder::Make { network: net.clone(), kin: Vec::new() };
    let drop = NetOrder::Drop { network: net.clone(), kin: Vec::new() };
    lab.order(&make).expect("made");
    lab.order(&drop).expect("dropped");
    let clean = (lab.host.run("nft list ruleset"), lab.host.run("ip -br link"));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..40 {
        let space = Space::new();
        for order in [&make, &attach(&space, &net, &end), &detach(&net, &end), &drop] {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let mut child = lab.start(order);
            std::thread::sleep(Duration::from_micros(seed % 12_000));
            child.kill().expect("killed");
            child.wait().expect("its end");
        }
        // The same again, to its end.
        lab.order(&make).expect("made");
        lab.order(&attach(&space, &net, &end)).expect("attached");
        space.serve(80);
        // A link that has just come up may lose the first question for a MAC, which is asked again after a second.
        assert!((0..3).any(|_| lab.outside.tcp("192.0.2.1:8080").is_some()));
        lab.order(&detach(&net, &end)).expect("detached");
        lab.order(&drop).expect("dropped");
        assert_eq!((lab.host.run("nft list ruleset"), lab.host.run("ip -br link")), clean);
    }
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let lab = Lab::new();
    let net = network(20, "t");
    let spaces: Vec<Space> = (0..24).map(|_| Space::new()).collect();
    let ends: Vec<_> = (2..26).map(|last| endpoint(20, last)).collect();
    lab.make(&net);
    let children: Vec<_> =
        spaces.iter().zip(&ends).map(|(space, end)| lab.start(&attach(space, &net, end))).collect();
    for mut child in children {
        assert!(child.wait().expect("its end").success());
    }
    spaces[0].serve(80);
    assert!(spaces.iter().skip(1).all(|space| space.tcp("10.20.0.2:80").is_some()));
    let children: Vec<_> = ends.iter().map(|end| lab.start(&detach(&net, end))).collect();
    for mut child in children {
        assert!(child.wait().expect("its end").success());
    }
    assert!(!lab.host.run("ip -br link").contains("cmv"));
}
