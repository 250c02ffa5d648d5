//! Answers as packets.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, ResponseCode, emit_message_parts};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::question::{PAYLOAD, Question};

/// How long names of ours may be kept, in seconds: Docker's.
pub const TTL: u32 = 600;
/// A record of EDNS without options, in bytes.
const EXTENSIONS: u16 = 11;

/// A code alone, to what could not be read as a question.
pub fn bare(asked: &Metadata, code: ResponseCode) -> Vec<u8> {
    let mut message = Message::response(asked.id, asked.op_code);
    message.metadata.recursion_desired = asked.recursion_desired;
    message.metadata.response_code = code;
    message.to_vec().unwrap_or_default()
}

/// A code and no record.
pub fn code(question: &Question, code: ResponseCode) -> Vec<u8> {
    to(question, code).to_vec().unwrap_or_default()
}

/// Addresses of the name that was asked for.
pub fn addresses(question: &Question, addresses: &[IpAddr]) -> Message {
    let mut message = to(question, ResponseCode::NoError);
    message.add_answers(addresses.iter().map(|address| {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        };
        Record::from_rdata(question.query.name.clone(), TTL, data)
    }));
    message
}

/// The name of the address that was asked for; one that cannot be a name is a failure.
pub fn pointer(question: &Question, name: &str) -> Message {
    match Name::from_ascii(format!("{name}.")) {
        Ok(name) => {
            let mut message = to(question, ResponseCode::NoError);
            let data = RData::PTR(PTR(name));
            message.add_answer(Record::from_rdata(question.query.name.clone(), TTL, data));
            message
        }
        Err(_) => to(question, ResponseCode::ServFail),
    }
}

/// A message that is no longer than `limit`: as many records as fit, and a flag where they are not all.
pub fn packed(mut message: Message, limit: u16) -> Vec<u8> {
    let whole = encode(&message);
    if whole.len() <= usize::from(limit) {
        return whole;
    }
    message.metadata.truncation = true;
    (message.authorities, message.additionals) = (Vec::new(), Vec::new());
    message.answers.truncate(fitting(&message, limit));
    encode(&message)
}

/// How many answers fit beside the question and what is said of extensions.
fn fitting(message: &Message, limit: u16) -> usize {
    let extensions = if message.edns.is_some() { EXTENSIONS } else { 0 };
    let mut packet = Vec::with_capacity(usize::from(limit));
    let mut encoder = BinEncoder::new(&mut packet);
    encoder.set_max_size(limit.saturating_sub(extensions));
    let (queries, answers) = (&mut message.queries.iter(), &mut message.answers.iter());
    let none = || std::iter::empty::<&Record>();
    let (metadata, encoder) = (&message.metadata, &mut encoder);
    emit_message_parts(metadata, queries, answers, &mut none(), &mut none(), None, None, encoder)
        .map_or(0, |header| usize::from(header.counts.answers))
}

fn encode(message: &Message) -> Vec<u8> {
    let mut packet = Vec::with_capacity(512);
    // What has no form as a packet is no answer: its asker asks again, and gives up.
    match message.emit(&mut BinEncoder::new(&mut packet)) {
        Ok(()) => packet,
        Err(_) => bare(&message.metadata, ResponseCode::ServFail),
    }
}

fn to(question: &Question, code: ResponseCode) -> Message {
    let mut message = Message::new(question.header.id, MessageType::Response, question.header.op_code);
    message.metadata.recursion_desired = question.header.recursion_desired;
    message.metadata.checking_disabled = question.header.checking_disabled;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_query(question.query.clone());
    if question.extended.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
    }
    message
}
