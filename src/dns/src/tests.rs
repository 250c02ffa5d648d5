//! Properties of what is answered without asking anybody: whoever asks, whatever the packet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use casemate_spec::wire::{AllowedName, Client, HexId, Names};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::*;

use crate::answer::packed;
use crate::decide::{Verdict, decide};
use crate::directory::Directory;
use crate::question::Question;

fn id(number: u8) -> HexId {
    HexId::from_bytes([number; 32])
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(network: u8, name: &str, addresses: &[&str]) -> Names {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    Names::Name { network: id(network), name: name.to_owned(), addresses }
}

/// Two tenants with a network each, and one network that the first has besides.
fn directory() -> Directory {
    let mut directory = Directory::default();
    for (number, own) in [(1, "front"), (2, "back"), (9, "front")] {
        directory.learn(Names::Network { network: id(number), name: Some(own.to_owned()) });
    }
    directory.learn(name(1, "web", &["10.1.0.2", "10.1.0.3", "fd01::2"]));
    directory.learn(name(1, "four", &["10.1.0.4"]));
    directory.learn(name(2, "web", &["10.2.0.2"]));
    directory.learn(name(2, "db", &["10.2.0.5"]));
    directory.learn(name(9, "secret", &["10.9.0.2", "fd09::2"]));
    for (network, address, name) in [(1, "10.1.0.2", "web.front"), (9, "10.9.0.2", "secret.front")] {
        let name = Some(name.to_owned());
        directory.learn(Names::Reverse { network: id(network), address: ip(address), name });
    }
    directory
}

fn client(networks: &[u8]) -> Client {
    let own = BTreeMap::from([("link".to_owned(), vec![ip("10.1.0.3")])]);
    let upstream = vec!["192.0.2.53:53".parse().expect("an address")];
    Client { networks: networks.iter().map(|number| id(*number)).collect(), own, upstream, allow: None }
}

fn packet(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("a packet")
}

/// What is said of the name; none is: others are asked.
fn said(client: &Client, name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<String>)> {
    let question = Question::read(&packet(name, kind)).expect("a question");
    match decide(&directory(), client, &question) {
        Verdict::Answer(message) => {
            let data = message.answers.iter().map(|record| record.data.to_string()).collect();
            Some((message.metadata.response_code, data))
        }
        Verdict::Code(code) => Some((code, Vec::new())),
        Verdict::Refuse(_) => Some((ResponseCode::Refused, Vec::new())),
        Verdict::Forward(_) => None,
    }
}

#[test]
fn names_are_those_of_the_asker_s_networks_and_links() {
    let found = |networks: &[u8], name, kind| said(&client(networks), name, kind);
    let ok = |data: &[&str]| Some((ResponseCode::NoError, data.iter().map(ToString::to_string).collect()));
    assert_eq!(found(&[1], "web.", RecordType::A), ok(&["10.1.0.2", "10.1.0.3"]));
    assert_eq!(found(&[1], "WEB.Front.", RecordType::AAAA), ok(&["fd01::2"]));
    assert_eq!(found(&[2, 1], "web.", RecordType::A), ok(&["10.2.0.2"]));
    assert_eq!(found(&[2, 1], "web.", RecordType::AAAA), ok(&["fd01::2"]), "the first network that has any");
    assert_eq!(found(&[2, 1], "web.front.", RecordType::A), ok(&["10.1.0.2", "10.1.0.3"]));
    assert_eq!(found(&[1], "four.", RecordType::AAAA), ok(&[]), "no other kind of address");
    assert_eq!(found(&[1], "four.", RecordType::MX), ok(&[]), "no other kind of record");
    assert_eq!(found(&[1], "link.", RecordType::A), ok(&["10.1.0.3"]));
    assert_eq!(found(&[1], "2.0.1.10.in-addr.arpa.", RecordType::PTR), ok(&["web.front."]));
    for theirs in ["db.", "secret.", "secret.front.", "db.back."] {
        assert_eq!(found(&[1], theirs, RecordType::A), None, "{theirs}");
    }
    assert_eq!(found(&[1], "2.0.9.10.in-addr.arpa.", RecordType::PTR), None);
    assert_eq!(found(&[1], "1.10.in-addr.arpa.", RecordType::PTR), None, "no whole address");
    assert_eq!(found(&[1], "web.", RecordType::AXFR), Some((ResponseCode::NotImp, Vec::new())));
}

#[test]
fn addresses_take_turns_in_either_family() {
    let directory = directory();
    let first = |kind| {
        let question = Question::read(&packet("web.", kind)).expect("a question");
        let Verdict::Answer(message) = decide(&directory, &client(&[1]), &question) else { panic!("ours") };
        message.answers.first().expect("an address").data.to_string()
    };
    let turns: Vec<String> = (0..4)
        .map(|_| {
            first(RecordType::AAAA);
            first(RecordType::A)
        })
        .collect();
    assert_eq!(turns, ["10.1.0.2", "10.1.0.3", "10.1.0.2", "10.1.0.3"]);
}

#[test]
fn what_was_taken_back_is_no_longer_known() {
    let mut directory = directory();
    let question = Question::read(&packet("web.", RecordType::A)).expect("a question");
    let ours = |directory: &Directory| matches!(decide(directory, &client(&[1]), &question), Verdict::Answer(message) if !message.answers.is_empty());
    assert!(ours(&directory));
    directory.learn(name(1, "web", &[]));
    assert!(!ours(&directory));
    directory.learn(name(1, "web", &["10.1.0.9"]));
    assert!(ours(&directory));
    directory.learn(Names::Network { network: id(1), name: None });
    assert!(!ours(&directory));
}

#[test]
fn an_allow_list_allows_what_it_names() {
    let allowed = |name: &str, ports| AllowedName { name: name.to_owned(), ports };
    let mut client = client(&[1]);
    let list = vec![
        allowed("example.org", None),
        allowed("*.Example.net", Some((443, 443))),
        allowed("*.example.net", Some((80, 80))),
    ];
    client.allow = Some(list);
    let ports = |name: &str| {
        let question = Question::read(&packet(name, RecordType::A)).expect("a question");
        match decide(&directory(), &client, &question) {
            Verdict::Forward(forward) => forward.admit,
            Verdict::Refuse(_) => None,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(ports("EXAMPLE.org."), Some(vec![None]));
    assert_eq!(ports("a.b.example.net."), Some(vec![Some((443, 443)), Some((80, 80))]));
    for refused in
        ["www.example.org.", "example.net.", "badexample.net.", "example.org.evil.net.", "net.", "."]
    {
        assert_eq!(ports(refused), None, "{refused}");
    }
    assert!(said(&client, "web.", RecordType::A).expect("ours").1.len() == 2, "names of ours need no leave");
    client.upstream.clear();
    let code = said(&client, "example.org.", RecordType::A);
    assert_eq!(code, Some((ResponseCode::Refused, Vec::new())), "nobody to ask");
}

#[test]
fn a_quoted_dot_is_no_dot() {
    let client = client(&[1]);
    let labels = [b"web.front".as_slice()];
    let name = Name::from_labels(labels).expect("a name");
    let mut message = Message::query();
    message.add_query(Query::query(name, RecordType::A));
    let question = Question::read(&message.to_vec().expect("a packet")).expect("a question");
    assert!(matches!(decide(&directory(), &client, &question), Verdict::Forward(_)));
}

#[test]
fn a_long_answer_is_cut_to_what_fits_and_says_so() {
    let mut directory = directory();
    let many: Vec<String> = (0..200).map(|last| format!("10.1.1.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    directory.learn(name(1, "many", &many));
    let question = Question::read(&packet("many.", RecordType::A)).expect("a question");
    let Verdict::Answer(message) = decide(&directory, &client(&[1]), &question) else { panic!("ours") };
    let cut = packed(message.clone(), 512);
    assert!((480..=512).contains(&cut.len()), "{}", cut.len());
    let read = Message::from_vec(&cut).expect("a message");
    assert!(read.metadata.truncation && read.answers.len() > 25, "{}", read.answers.len());
    let whole = Message::from_vec(&packed(message, u16::MAX)).expect("a message");
    assert!(!whole.metadata.truncation && whole.answers.len() == 200);
}

/// Some packet: noise, or a question with bytes changed, cut or repeated.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let names =
        ["web.", "secret.front.", "db.back.", "link.", "a.example.org.", "2.0.9.10.in-addr.arpa.", "."];
    let question = (prop::sample::select(names.to_vec()), any::<u16>());
    let question = question.prop_map(|(name, kind)| packet(name, RecordType::from(kind)));
    let changed = (question, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6));
    let changed = changed.prop_map(|(mut packet, changes)| {
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        packet
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..600), changed]
}

/// An answer with records of any type and any content, sound at most by chance.
fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let record = (0_u16..70, any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..80));
    let kinds = prop_oneof![Just(41_u16), Just(250), Just(255), Just(257), any::<u16>()];
    let record = (record, kinds, any::<bool>(), -3_i8..4);
    prop::collection::vec(record, 0..5)
        .prop_flat_map(|records| {
            let counts = prop::collection::vec(0_u8..4, 3);
            (Just(records), counts, any::<[u8; 2]>())
        })
        .prop_map(|(records, counts, flags)| {
            let mut packet = packet("a.example.org.", RecordType::A);
            packet[2..4].copy_from_slice(&[flags[0] | 0x80, flags[1]]);
            for (place, count) in [7, 9, 11].into_iter().zip(counts) {
                packet[place] = count;
            }
            for ((usual, class, ttl, data), odd, is_odd, lie) in records {
                packet.extend([0xc0, 12]);
                packet.extend(if is_odd { odd } else { usual }.to_be_bytes());
                packet.extend(if lie == 0 { class } else { 1 }.to_be_bytes());
                packet.extend(ttl.to_be_bytes());
                let length = u16::try_from(data.len()).expect("short").saturating_add_signed(lie.into());
                packet.extend(length.to_be_bytes());
                packet.extend(data);
            }
            packet
        })
}

proptest! {
    #[test]
    fn whatever_a_server_sends_is_read_or_not_and_what_is_read_can_be_sent_on(
        packet in any_answer(), limit in 100_u16..600,
    ) {
        if let Ok(message) = Message::from_vec(&packet) {
            let cut = packed(message, limit);
            prop_assert!(cut.len() <= usize::from(limit), "{} of {limit}", cut.len());
        }
    }

    #[test]
    fn whatever_is_asked_is_answered_soundly_and_with_nothing_of_others(packet in any_packet()) {
        let directory = directory();
        let answer = match Question::read(&packet) {
            Err(unusable) => unusable.0,
            Ok(question) => {
                let again = Question::read(&question.forwarded()).expect("what we ask is a question");
                prop_assert_eq!(&again.query, &question.query);
                match decide(&directory, &client(&[1, 2]), &question) {
                    Verdict::Answer(message) => Some(packed(message, question.limit())),
                    Verdict::Code(code) => Some(crate::answer::code(&question, code)),
                    Verdict::Refuse(_) | Verdict::Forward(_) => None,
                }
            }
        };
        if let Some(answer) = answer {
            let read = Message::from_vec(&answer).expect("what we answer is a message");
            prop_assert_eq!(&answer[..2], &packet[..2]);
            prop_assert_eq!(read.metadata.message_type, MessageType::Response);
            for record in &read.answers {
                let ours = match &record.data {
                    RData::A(address) => address.0.octets()[1] <= 2,
                    RData::AAAA(address) => address.0.segments()[0] == 0xfd01,
                    RData::PTR(name) => !name.to_string().contains("secret"),
                    _ => false,
                };
                prop_assert!(ours, "{record}");
            }
        }
    }
}
