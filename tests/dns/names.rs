//! Names of ours.

use std::net::TcpListener;
use std::time::Duration;

use casemate_spec::wire::Names;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, AAAA, MX, PTR};

use crate::rig::{Container, HERE, Rig, Space, id, ip, question, wait_until};

fn rig() -> Rig {
    let rig = Rig::new();
    rig.say(&Names::Reset);
    rig.network(1, "front", &[("web", &["10.1.0.2", "10.1.0.3", "fd01::2"]), ("four", &["10.1.0.4"])]);
    rig.network(9, "theirs", &[("secret", &["10.9.0.2"])]);
    rig
}

#[test]
fn a_container_finds_what_is_on_its_networks_and_nothing_else() {
    let rig = rig();
    let container = rig.container(100, &[1], |client| {
        client.own.insert("link".to_owned(), vec![ip("10.1.0.4")]);
    });
    assert_eq!(container.look_up("web.", AAAA), ["fd01::2"]);
    assert_eq!(container.look_up("Web.Front.", A).len(), 2);
    assert_eq!(container.look_up("link.", A), ["10.1.0.4"]);
    assert_eq!(container.look_up("3.0.1.10.in-addr.arpa.", PTR), ["web.front."]);
    for (name, kind) in [("four.", AAAA), ("four.", MX)] {
        let answer = container.ask(&question(name, kind)).expect("an answer");
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (ResponseCode::NoError, 0),
            "{name}"
        );
    }
    for name in ["secret.", "secret.theirs.", "2.0.9.10.in-addr.arpa."] {
        assert_eq!(container.code(name, A), Some(ResponseCode::Refused), "{name}: nobody else to ask");
    }
    let answer = container.ask(&question("web.", A)).expect("an answer");
    assert!(answer.answers.iter().all(|record| record.ttl == 600));
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
}

#[test]
fn addresses_of_one_name_take_turns() {
    let rig = rig();
    let container = rig.container(100, &[1], |_| ());
    let first: Vec<String> = (0..4).map(|_| container.look_up("web.", A).swap_remove(0)).collect();
    assert_ne!(first[0], first[1]);
    assert_eq!((&first[0], &first[1]), (&first[2], &first[3]));
}

#[test]
fn an_ordinary_program_finds_them_too() {
    let rig = rig();
    let container = rig.container(100, &[1], |_| ());
    let mut lookup = container.space.command("busybox");
    let output = lookup.args(["nslookup", "-type=a", "web.front", "127.0.0.11"]).output().expect("nslookup");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("10.1.0.2") && text.contains("10.1.0.3"), "{text}");
}

#[test]
fn words_of_the_daemon_count_from_the_next_question_on() {
    let rig = rig();
    let container = rig.container(100, &[1], |_| ());
    let found = |name| container.look_up(name, A);
    let name = |addresses| Names::Name { network: id(1), name: "new".to_owned(), addresses };
    assert!(found("new.").is_empty());
    rig.say(&name(vec![ip("10.1.0.9")]));
    wait_until(|| found("new.") == ["10.1.0.9"]);
    rig.say(&name(Vec::new()));
    wait_until(|| found("new.").is_empty());
    rig.change(&container, &[9], |_| ());
    assert_eq!(found("secret."), ["10.9.0.2"]);
    assert!(found("web.").is_empty());
    rig.say(&Names::Network { network: id(9), name: None });
    wait_until(|| found("secret.").is_empty());
}

#[test]
fn names_outlive_the_daemon_and_the_next_one_says_them_anew() {
    let mut rig = rig();
    let container = rig.container(100, &[1], |_| ());
    rig.next_daemon();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(container.look_up("four.", A), ["10.1.0.4"]);
    rig.say(&Names::Reset);
    wait_until(|| container.code("four.", A) == Some(ResponseCode::ServFail));
    rig.network(1, "front", &[("four", &["10.1.0.44"])]);
    rig.claim(&container, &[1], |_| ());
    rig.say(&Names::Complete);
    wait_until(|| container.look_up("four.", A) == ["10.1.0.44"]);
}

/// Whether the resolver still has the container's sockets: the address cannot be bound again.
fn held(container: &Container) -> bool {
    container.space.within(|| TcpListener::bind(HERE).is_err())
}

#[test]
fn sockets_of_what_has_gone_are_closed() {
    let rig = rig();
    let (gone, forgotten, kept) = (
        rig.container(100, &[1], |_| ()),
        rig.container(101, &[1], |_| ()),
        rig.container(102, &[1], |_| ()),
    );
    assert!(held(&gone) && held(&forgotten));
    rig.say(&Names::Gone { container: gone.id.clone() });
    wait_until(|| !held(&gone));
    rig.say(&Names::Reset);
    rig.claim(&kept, &[1], |_| ());
    rig.say(&Names::Complete);
    wait_until(|| !held(&forgotten));
    assert!(held(&kept));
}

#[test]
fn sockets_handed_over_again_take_the_place_of_the_first() {
    let rig = rig();
    let mut container = rig.container(100, &[1], |_| ());
    let before = std::mem::replace(&mut container.space, Space::new());
    rig.open(&container);
    wait_until(|| container.look_up("four.", A) == ["10.1.0.4"]);
    let before = Container { id: id(100), space: before };
    wait_until(|| !held(&before));
}

#[test]
fn what_is_no_socket_of_a_container_is_not_taken() {
    use std::os::fd::AsFd;
    let mut rig = rig();
    let file = std::fs::File::open("/dev/null").expect("a file");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let words = serde_json::to_vec(&casemate_spec::wire::Opened::Sockets { container: id(1) }).expect("JSON");
    rig.hand_raw(&words, &[]);
    rig.hand_raw(&words, &[file.as_fd(), file.as_fd()]);
    rig.hand_raw(&words, &[tcp.as_fd(), tcp.as_fd()]);
    rig.hand_raw(&words, &[tcp.as_fd()]);
    rig.hand_raw(b"{\"sockets\":{\"container\":\"../x\"}}", &[]);
    rig.hand_raw(&[b'x'; 5000], &[]);
    rig.hand_raw(b"", &[]);
    let container = rig.container(100, &[1], |_| ());
    assert_eq!(container.look_up("four.", A), ["10.1.0.4"]);
    assert!(rig.lives());
}
