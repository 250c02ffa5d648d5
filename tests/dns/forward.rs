//! Names that are not ours, by way of other servers.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::RecordType::{A, TXT};

use crate::rig::{
    Container, Gathered, Rig, Server, exchange, known, question, read_framed, response, wait_until,
    with_address, write_framed,
};

fn asking(rig: &Rig, upstream: &[SocketAddr]) -> Container {
    rig.network(1, "front", &[("web", &["10.1.0.2"])]);
    rig.container(100, &[1], |client| client.upstream = upstream.to_vec())
}

#[test]
fn other_names_are_asked_for_and_ours_are_not() {
    let rig = Rig::new();
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let container = asking(&rig, &[server.address]);
    assert_eq!(container.look_up("www.example.org.", A), ["192.0.2.80"]);
    assert_eq!(container.code("nowhere.", A), Some(ResponseCode::NXDomain));
    let before = server.count();
    assert_eq!(container.look_up("web.", A), ["10.1.0.2"]);
    assert!(container.look_up("web.", TXT).is_empty());
    assert_eq!(server.count(), before);
}

#[test]
fn the_answer_is_to_the_question_letter_for_letter() {
    let rig = Rig::new();
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, _| {
        let mut small = asked.clone();
        small.queries[0].name = asked.queries[0].name().to_lowercase();
        vec![known(&small)]
    });
    let container = asking(&rig, &[server.address]);
    let asked = question("wWw.ExAmPle.ORG.", A);
    let answer = container.ask(&asked).expect("an answer");
    assert_eq!(answer.metadata.id, asked.metadata.id);
    assert_eq!(answer.queries[0].name().to_string(), "wWw.ExAmPle.ORG.");
}

#[test]
fn the_next_server_is_asked_when_one_fails_or_is_silent() {
    let rig = Rig::new();
    let broken = Server::new(&rig.outside, "127.0.0.51", |asked, _| {
        vec![response(asked, ResponseCode::ServFail).to_vec().expect("a packet")]
    });
    let silent = Server::new(&rig.outside, "127.0.0.52", |_, _| Vec::new());
    let sound = Server::usual(&rig.outside, "127.0.0.53");
    let closed: SocketAddr = "127.0.0.50:53".parse().expect("an address");
    let waited_for = || silent.asked.load(Ordering::Relaxed);
    for (index, first) in [closed, broken.address, silent.address].into_iter().enumerate() {
        let number = 110 + u8::try_from(index).expect("few");
        rig.network(1, "front", &[]);
        let container = rig.container(number, &[1], |client| client.upstream = vec![first, sound.address]);
        assert_eq!(container.look_up("www.example.org.", A), ["192.0.2.80"], "{first}");
        let before = waited_for();
        assert_eq!(container.look_up("other.example.org.", A), ["192.0.2.80"], "{first}");
        assert_eq!(waited_for(), before, "one that is silent is asked last from now on");
    }
}

#[test]
fn with_no_server_that_answers_the_question_fails() {
    let rig = Rig::new();
    let silent = Server::new(&rig.outside, "127.0.0.52", |_, _| Vec::new());
    rig.network(1, "front", &[]);
    let container = rig.container(100, &[1], |client| client.upstream = vec![silent.address]);
    assert_eq!(container.code("www.example.org.", A), Some(ResponseCode::ServFail));
}

#[test]
fn long_answers_come_over_tcp_and_are_cut_over_udp() {
    let rig = Rig::new();
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, stream| {
        let mut answer = response(asked, ResponseCode::NoError);
        answer.metadata.truncation = !stream;
        for last in 0..if stream { 200 } else { 3 } {
            with_address(&mut answer, &format!("192.0.2.{last}"), 300);
        }
        vec![answer.to_vec().expect("a packet")]
    });
    let container = asking(&rig, &[server.address]);
    let asked = question("many.example.org.", A);
    let whole = container.ask_stream(&asked).expect("an answer");
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    let (plain, mut extended) = (container.ask(&asked).expect("an answer"), asked.clone());
    assert!(plain.metadata.truncation && (25..32).contains(&plain.answers.len()), "{}", plain.answers.len());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    extended.set_edns(edns);
    let cut = container.ask(&extended).expect("an answer");
    assert!(cut.metadata.truncation && (60..80).contains(&cut.answers.len()), "{}", cut.answers.len());
}

#[test]
fn forged_answers_are_not_taken() {
    let rig = Rig::new();
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, _| {
        let forged = |change: &dyn Fn(&mut Message)| {
            let mut answer = response(asked, ResponseCode::NoError);
            with_address(&mut answer, "203.0.113.66", 300);
            change(&mut answer);
            answer.to_vec().expect("a packet")
        };
        let mut all = vec![
            forged(&|answer| answer.metadata.id ^= 1),
            forged(&|answer| answer.queries.clear()),
            forged(&|answer| answer.queries[0] = question("evil.example.org.", A).queries[0].clone()),
            forged(&|answer| {
                answer.queries[0].set_query_type(TXT);
            }),
            forged(&|answer| {
                let twice = answer.queries[0].clone();
                answer.add_query(twice);
            }),
            vec![0; 11],
            Vec::new(),
        ];
        all.push(known(asked));
        all
    });
    let container = asking(&rig, &[server.address]);
    assert_eq!(container.look_up("www.example.org.", A), ["192.0.2.80"]);
}

#[test]
fn numbers_and_ports_cannot_be_foreseen() {
    let rig = Rig::new();
    let seen: Gathered<u16> = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let server = Server::new(&rig.outside, "127.0.0.53", move |asked, _| {
        noted.lock().expect("the list").push(asked.metadata.id);
        vec![known(asked)]
    });
    let container = asking(&rig, &[server.address]);
    let socket = container.udp();
    for number in 0..32 {
        let mut asked = question(&format!("host{number}.example.org."), A);
        asked.metadata.id = 7;
        assert!(exchange(&socket, &asked.to_vec().expect("a packet")).is_some());
    }
    let mut seen = seen.lock().expect("the list").clone();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() >= 30, "{seen:?}");
}

#[test]
fn equal_questions_at_once_are_asked_once() {
    let rig = Rig::new();
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, _| {
        std::thread::sleep(Duration::from_millis(500));
        vec![known(asked)]
    });
    let container = asking(&rig, &[server.address]);
    let before = server.count();
    let asked = question("slow.example.org.", A);
    let sockets: Vec<_> = (0..20).map(|_| container.udp()).collect();
    for socket in &sockets {
        socket.send(&asked.to_vec().expect("a packet")).expect("ask");
    }
    for socket in &sockets {
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).expect("an answer");
        assert_eq!(Message::from_vec(&answer[..length]).expect("a message").answers.len(), 1);
    }
    assert_eq!(server.count() - before, 1);
}

#[test]
fn a_loop_ends() {
    let mut rig = Rig::new();
    rig.network(1, "front", &[]);
    // A server in a container that asks the resolver, which asks the server.
    let inside: Arc<Mutex<Option<Arc<Container>>>> = Arc::default();
    let shared = Arc::clone(&inside);
    let server = Server::new(&rig.outside, "127.0.0.53", move |asked, _| {
        let container = shared.lock().expect("the container").clone();
        let answer = container.and_then(|container| container.ask(asked));
        answer.into_iter().map(|answer| answer.to_vec().expect("a packet")).collect()
    });
    let container = rig.container(100, &[1], |_| ());
    rig.change(&container, &[1], |client| client.upstream = vec![server.address]);
    let container = Arc::new(container);
    *inside.lock().expect("the container") = Some(Arc::clone(&container));
    wait_until(|| container.code("round.example.org.", A) == Some(ResponseCode::ServFail));
    assert!(server.count() <= 4, "{} times round", server.count());
    assert!(rig.lives());
    inside.lock().expect("the container").take();
    wait_until(|| Arc::strong_count(&container) == 1);
}

#[test]
fn a_slow_server_holds_up_nobody_else() {
    let rig = Rig::new();
    let silent = Server::new(&rig.outside, "127.0.0.52", |_, _| Vec::new());
    let sound = Server::usual(&rig.outside, "127.0.0.53");
    rig.network(1, "front", &[("web", &["10.1.0.2"])]);
    let slow = rig.container(100, &[1], |client| client.upstream = vec![silent.address]);
    let other = rig.container(101, &[1], |client| client.upstream = vec![sound.address]);
    let socket = slow.udp();
    for number in 0..1000 {
        let asked = question(&format!("host{number}.example.org."), A);
        socket.send(&asked.to_vec().expect("a packet")).expect("ask");
    }
    let begun = Instant::now();
    assert_eq!(other.look_up("www.example.org.", A), ["192.0.2.80"]);
    assert_eq!(slow.look_up("web.", A), ["10.1.0.2"]);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn one_connection_serves_many_questions() {
    let rig = Rig::new();
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let container = asking(&rig, &[server.address]);
    let mut stream = container.tcp();
    for name in ["web.", "www.example.org.", "nowhere.", "web."] {
        let asked = question(name, A);
        write_framed(&mut stream, &asked.to_vec().expect("a packet"));
        let answer = read_framed(&mut stream).expect("an answer");
        assert_eq!(answer.metadata.id, asked.metadata.id, "{name}");
    }
}
