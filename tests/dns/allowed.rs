//! Containers whose egress is limited: names of their allow-lists, and no others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use casemate_spec::wire::{Allowed, Names, Said};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, AAAA};

use crate::rig::{Container, Rig, Server, allow, id, ip, question, response, with_address};

fn limited(rig: &Rig, upstream: SocketAddr) -> Container {
    rig.network(1, "front", &[("web", &["10.1.0.2"])]);
    rig.container(100, &[1], |client| {
        client.upstream = vec![upstream];
        client.allow = allow(&[("*.example.org", Some((443, 443))), ("example.net", None)]);
    })
}

/// Asks, has the daemon say yes or no, and gives what it was told and the answer.
fn asked(rig: &Rig, container: &Container, name: &str, yes: bool) -> (Said, hickory_proto::op::Message) {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| container.ask(&question(name, A)).expect("an answer"));
        let said = rig.hear().expect("a word");
        let Said::Resolved { number, .. } = &said else { panic!("{said:?}") };
        std::thread::sleep(Duration::from_millis(100));
        assert!(!asking.is_finished(), "the answer waits for the daemon");
        rig.say(&Names::Admitted { number: *number, yes });
        (said, asking.join().expect("it does not panic"))
    })
}

#[test]
fn what_a_name_stands_for_is_let_through_before_it_is_said() {
    let rig = Rig::new();
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let container = limited(&rig, server.address);
    let (said, answer) = asked(&rig, &container, "www.example.org.", true);
    let one = Allowed { address: ip("192.0.2.80"), prefix: 32, protocol: None, ports: Some((443, 443)) };
    let Said::Resolved { container: whose, allowed, seconds, .. } = said else { panic!() };
    assert_eq!((whose, allowed), (id(100), vec![one]));
    assert_eq!(answer.answers[0].ttl, 300);
    assert!(seconds > 300, "longer than anybody keeps it: {seconds}");
    let (said, _) = asked(&rig, &container, "example.net.", true);
    assert!(matches!(said, Said::Resolved { allowed, .. } if allowed[0].ports.is_none()));
}

#[test]
fn what_is_not_let_through_is_not_said() {
    let rig = Rig::new();
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let container = limited(&rig, server.address);
    let (_, answer) = asked(&rig, &container, "www.example.org.", false);
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::ServFail, 0));
    // Nor where the daemon does not answer at all.
    let begun = Instant::now();
    assert_eq!(container.code("www.example.org.", A), Some(ResponseCode::ServFail));
    assert!(begun.elapsed() < Duration::from_secs(9));
}

#[test]
fn other_names_are_refused_and_told_of_once() {
    let rig = Rig::new();
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let container = limited(&rig, server.address);
    assert_eq!(container.look_up("web.", A), ["10.1.0.2"], "names of ours need no leave");
    for _ in 0..20 {
        assert_eq!(container.code("Evil.example.com.", A), Some(ResponseCode::Refused));
    }
    assert_eq!(container.code("example.org.", AAAA), Some(ResponseCode::Refused), "only what is beneath it");
    let refused = |name: &str| Some(Said::Refused { container: id(100), name: name.to_owned() });
    assert_eq!(rig.hear(), refused("evil.example.com"));
    assert_eq!(rig.hear(), refused("example.org"));
    assert_eq!(server.count(), 0, "nobody else hears of it");
}

#[test]
fn no_name_opens_the_host_or_its_link() {
    let rig = Rig::new();
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, _| {
        let mut answer = response(asked, ResponseCode::NoError);
        for address in ["169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1", "192.0.2.80"] {
            with_address(&mut answer, address, 90_000);
        }
        for address in ["::1", "fe80::1", "::ffff:169.254.169.254"] {
            with_address(&mut answer, address, 90_000);
        }
        vec![answer.to_vec().expect("a packet")]
    });
    let container = limited(&rig, server.address);
    let (said, answer) = asked(&rig, &container, "www.example.org.", true);
    let Said::Resolved { allowed, seconds, .. } = said else { panic!() };
    let addresses: Vec<_> = allowed.iter().map(|allowed| allowed.address).collect();
    assert_eq!(addresses, [ip("192.0.2.80")]);
    assert!(seconds <= 3700 && answer.answers.iter().all(|record| record.ttl <= 3600), "not for ever");
}

#[test]
fn a_daemon_that_does_not_read_holds_up_nobody() {
    let mut rig = Rig::new();
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let container = limited(&rig, server.address);
    let socket = container.udp();
    for number in 0..3000 {
        let name = format!("host{number}.example.com.");
        socket.send(&question(&name, A).to_vec().expect("a packet")).expect("ask");
    }
    assert_eq!(container.insist(&question("web.", A)).answers.len(), 1);
    assert!(rig.lives());
}
