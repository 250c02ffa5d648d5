//! A packet from a container, and its answer from what is known: never a panic, always a message with the question's
//! number, never a name or an address of a network that the asker is not on.
#![no_main]

use std::net::IpAddr;
use std::sync::OnceLock;

use casemate_dns::decide::{Verdict, decide};
use casemate_dns::directory::Directory;
use casemate_dns::question::Question;
use casemate_dns::{answer, upstream};
use casemate_spec::wire::{AllowedName, Client, HexId, Names};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RData;
use libfuzzer_sys::fuzz_target;

fn id(number: u8) -> HexId {
    HexId::from_bytes([number; 32])
}

/// The asker's network is 1; every address of the other has a 9 in it.
fn directory() -> Directory {
    let mut directory = Directory::default();
    for (number, own, address) in [(1, "front", "10.1.0.2"), (9, "back", "10.9.0.2")] {
        let (network, address): (_, IpAddr) = (id(number), address.parse().expect("an address"));
        directory.learn(Names::Network { network: network.clone(), name: Some(own.to_owned()) });
        let name = format!("web{number}");
        directory.learn(Names::Reverse { network: network.clone(), address, name: Some(name.clone()) });
        directory.learn(Names::Name { network, name, addresses: vec![address] });
    }
    directory
}

fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| Client {
        networks: vec![id(1)],
        upstream: vec!["192.0.2.53:53".parse().expect("an address")],
        allow: Some(vec![AllowedName { name: "*.example.org".to_owned(), ports: None }]),
        ..Client::default()
    })
}

fuzz_target!(|packet: &[u8]| {
    let directory = directory();
    let answer = match Question::read(packet) {
        Err(unusable) => unusable.0,
        Ok(question) => {
            let asked = question.forwarded();
            assert_eq!(Question::read(&asked).expect("what we ask is a question").query, question.query);
            // The same bytes as an answer of somebody else's.
            let taken = upstream::matching(packet, &asked, question.header.id);
            assert!(taken.is_none(), "a question is no answer");
            match decide(&directory, client(), &question) {
                Verdict::Answer(message) => Some(answer::packed(message, question.limit())),
                Verdict::Code(code) => Some(answer::code(&question, code)),
                Verdict::Refuse(name) => {
                    assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
                    None
                }
                Verdict::Forward(_) => None,
            }
        }
    };
    let Some(answer) = answer else { return };
    let read = Message::from_vec(&answer).expect("what we answer is a message");
    assert_eq!((&answer[..2], read.metadata.message_type), (&packet[..2], MessageType::Response));
    for record in &read.answers {
        match &record.data {
            RData::A(address) => assert_eq!(address.0.octets()[1], 1),
            RData::PTR(name) => assert_eq!(name.to_string(), "web1."),
            other => panic!("{other:?}"),
        }
    }
});
