//! Containers that mean harm.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType, RecordType::A};

use crate::rig::{Container, Rig, Server, exchange, question, response, with_address};

fn two(rig: &Rig) -> (Container, Container) {
    rig.network(1, "front", &[("web", &["10.1.0.2"])]);
    (rig.container(100, &[1], |_| ()), rig.container(101, &[1], |_| ()))
}

/// What is answered to a packet, if anything is: a question is asked after it, whose answer follows.
fn answered(container: &Container, packet: &[u8]) -> Option<ResponseCode> {
    let socket = container.udp();
    socket.send(packet).expect("send");
    let mut last = question("web.", A);
    last.metadata.id = 0xbeef;
    let first = exchange(&socket, &last.to_vec().expect("a packet")).expect("an answer");
    (first.metadata.id != 0xbeef).then_some(first.metadata.response_code)
}

#[test]
fn malformed_packets_are_refused_or_ignored() {
    let mut rig = Rig::new();
    let (container, _) = two(&rig);
    let sound = question("web.", A).to_vec().expect("a packet");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = sound.clone();
        change(&mut packet);
        packet
    };
    let form = Some(ResponseCode::FormErr);
    let cases: [(&str, Vec<u8>, Option<ResponseCode>); 12] = [
        ("nothing", Vec::new(), None),
        ("half a header", with(&|packet| packet.truncate(7)), None),
        ("an answer", with(&|packet| packet[2] |= 0x80), None),
        ("no question", with(&|packet| packet[5] = 0), form),
        ("65,535 questions", with(&|packet| packet[4..6].fill(0xff)), form),
        ("65,535 answers", with(&|packet| packet[6..8].fill(0xff)), form),
        ("65,535 additions", with(&|packet| packet[10..12].fill(0xff)), form),
        ("a name without end", with(&|packet| packet.truncate(14)), form),
        (
            "a name that points to itself",
            with(&|packet| packet.splice(12..17, [0xc0, 12]).for_each(drop)),
            form,
        ),
        (
            "a name that points beyond",
            with(&|packet| packet.splice(12..17, [0xc3, 0xff]).for_each(drop)),
            form,
        ),
        ("a label of 64", with(&|packet| packet[12] = 64), form),
        ("an unknown operation", with(&|packet| packet[2] = 0x28), Some(ResponseCode::NotImp)),
    ];
    for (what, packet, expected) in cases {
        assert_eq!(answered(&container, &packet), expected, "{what}");
    }
    assert!(rig.lives());
}

#[test]
fn noise_is_survived() {
    let mut rig = Rig::new();
    let (container, other) = two(&rig);
    let socket = container.udp();
    // Xorshift: the same noise every time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    for round in 0..20_000_usize {
        let mut packet: Vec<u8> = match round % 2 {
            0 => (0..byte()).map(|_| byte()).collect(),
            _ => question("web.front.", A).to_vec().expect("a packet"),
        };
        for _ in 0..byte() % 5 {
            let at = usize::from(byte()) % packet.len().max(1);
            if let Some(place) = packet.get_mut(at) {
                *place = byte();
            }
        }
        socket.send(&packet).expect("send");
    }
    assert_eq!(other.look_up("web.", A), ["10.1.0.2"]);
    assert!(rig.lives());
}

#[test]
fn hostile_names_are_names_and_nothing_else() {
    let mut rig = Rig::new();
    let (container, _) = two(&rig);
    let labels: [&[&[u8]]; 7] = [
        &[b"web.front"],
        &[b"web\0"],
        &[b"../../etc/passwd"],
        &[b"\xff\xfe"],
        &[b"web", b"\nfront"],
        &[&[b'a'; 63], &[b'a'; 63], &[b'a'; 63], &[b'a'; 61]],
        &[b"$(reboot)"],
    ];
    for labels in labels {
        let mut asked = question("x.", A);
        let name = Name::from_labels(labels.iter().copied()).expect("a name");
        asked.queries[0].set_name(name);
        let answer = container.ask(&asked).expect("an answer");
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{labels:?}");
        assert!(answer.queries[0].name().eq_case(asked.queries[0].name()));
    }
    assert!(rig.lives());
}

#[test]
fn questions_that_are_not_served_are_told_so() {
    let rig = Rig::new();
    let (container, _) = two(&rig);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut update = question("web.", A);
    update.metadata.op_code = OpCode::Update;
    let code = |asked: &Message| container.ask(asked).expect("an answer").metadata.response_code;
    assert_eq!(code(&chaos), ResponseCode::Refused);
    assert_eq!(code(&update), ResponseCode::NotImp);
    assert_eq!(code(&question("web.", RecordType::AXFR)), ResponseCode::NotImp);
    let mut answer = question("web.", A);
    answer.metadata.message_type = MessageType::Response;
    assert_eq!(answered(&container, &answer.to_vec().expect("a packet")), None);
}

/// The longest that one of 200 questions takes.
fn slowest(container: &Container) -> Duration {
    let socket = container.udp();
    let asked = question("web.", A).to_vec().expect("a packet");
    let longest = (0..200).map(|_| {
        let begun = Instant::now();
        assert!(exchange(&socket, &asked).is_some());
        std::thread::sleep(Duration::from_millis(1));
        begun.elapsed() - Duration::from_millis(1)
    });
    longest.max().expect("some")
}

#[test]
fn a_flood_from_one_does_not_slow_another() {
    let rig = Rig::new();
    let (flooding, other) = two(&rig);
    let stop = AtomicBool::new(false);
    let (mut sent, mut worst) = (0_u64, Duration::ZERO);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let socket = flooding.udp();
            let asked = question("web.", A).to_vec().expect("a packet");
            let mut sent = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // What there is no room for is dropped, as it is meant to be.
                sent += u64::from(socket.send(&asked).is_ok());
            }
            sent
        });
        std::thread::sleep(Duration::from_millis(200));
        worst = slowest(&other);
        stop.store(true, Ordering::Relaxed);
        sent = flood.join().expect("it does not panic");
    });
    eprintln!("{sent} packets of a flood; the slowest of another's 200 answers took {worst:?}");
    // A wide margin, for machines with much else to do: one that waited behind the flood would never be answered.
    assert!(worst < Duration::from_secs(1), "{worst:?}");
}

#[test]
fn idle_and_endless_connections_hold_up_their_own_container_alone() {
    let mut rig = Rig::new();
    let (hostile, other) = two(&rig);
    let mut streams: Vec<_> = (0..60).map(|_| hostile.tcp()).collect();
    for stream in &mut streams {
        // The beginning of something that never comes.
        stream.write_all(&[0xff]).expect("send");
    }
    let asked = question("web.", A);
    assert_eq!(other.ask_stream(&asked).expect("an answer").answers.len(), 1);
    assert_eq!(hostile.look_up("web.", A), ["10.1.0.2"], "UDP is served all the same");
    drop(streams);
    assert_eq!(hostile.ask_stream(&asked).expect("an answer").answers.len(), 1);
    assert!(rig.lives());
}

#[test]
fn what_a_server_sends_cannot_fill_the_memory() {
    let mut rig = Rig::new();
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, stream| {
        let mut answer = response(asked, ResponseCode::NoError);
        answer.metadata.truncation = !stream;
        for index in 0..if stream { 2000 } else { 1 } {
            with_address(&mut answer, &format!("192.0.{}.{}", index / 250, index % 250), 300);
        }
        vec![answer.to_vec().expect("a packet")]
    });
    rig.network(1, "front", &[("web", &["10.1.0.2"])]);
    let container = rig.container(100, &[1], |client| client.upstream = vec![server.address]);
    let socket = container.udp();
    for number in 0..3000 {
        let asked = question(&format!("host{number}.example.org."), A);
        socket.send(&asked.to_vec().expect("a packet")).expect("ask");
    }
    assert_eq!(container.insist(&question("web.", A)).answers.len(), 1);
    assert!(rig.lives() && rig.memory() < 64 << 10, "{} KiB", rig.memory());
}
