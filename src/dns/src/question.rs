//! What a container asks, read from a packet of its own making.

use std::fmt::Write as _;

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::answer;

/// What every DNS message begins with.
pub const HEADER: usize = 12;
/// The longest question that is read: a name, and options that nobody sends in such numbers.
pub const LONGEST: usize = 4096;
/// Whoever does not say what fits expects this much.
const PLAIN: u16 = 512;
/// More than this in one packet is fragmented on the way, which is how answers are forged.
pub const PAYLOAD: u16 = 1232;

/// A question that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its number and flags.
    pub header: Metadata,
    /// The one query in it.
    pub query: Query,
    /// What its asker understands of extensions.
    pub extended: Option<Extended>,
}

/// EDNS, as far as it goes through us: options of one hop stay on that hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// The longest answer over UDP.
    pub payload: u16,
    /// Signatures are wanted.
    pub dnssec: bool,
}

/// Why there is no question, and what is answered to that, if anything.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable(pub Option<Vec<u8>>);

impl Question {
    /// Reads a packet.
    ///
    /// # Errors
    /// It holds no question, or none that is served: with the answer that says so.
    pub fn read(packet: &[u8]) -> Result<Self, Unusable> {
        let header = Header::read(&mut BinDecoder::new(packet)).map_err(|_| Unusable(None))?;
        // To answer an answer is how two servers talk for ever.
        if header.message_type != MessageType::Query {
            return Err(Unusable(None));
        }
        let refuse = |code| Unusable(Some(answer::bare(&header.metadata, code)));
        if header.op_code != OpCode::Query {
            return Err(refuse(ResponseCode::NotImp));
        }
        // Counted before it is parsed: a parser makes room for what is announced.
        let counts = header.counts;
        if counts.queries != 1 || counts.answers != 0 || counts.authorities != 0 || counts.additionals > 2 {
            return Err(refuse(ResponseCode::FormErr));
        }
        let mut message = Message::from_vec(packet).map_err(|_| refuse(ResponseCode::FormErr))?;
        let query = message.queries.pop().ok_or_else(|| refuse(ResponseCode::FormErr))?;
        let extended = message
            .edns
            .as_ref()
            .map(|edns| Extended { payload: edns.max_payload().max(PLAIN), dnssec: edns.flags().dnssec_ok });
        let question = Self { header: header.metadata, query, extended };
        if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
            return Err(Unusable(Some(answer::code(&question, ResponseCode::BADVERS))));
        }
        Ok(question)
    }

    /// How long an answer over UDP may be.
    pub fn limit(&self) -> u16 {
        self.extended.map_or(PLAIN, |extended| extended.payload.min(PAYLOAD))
    }

    /// The same question as we ask it of others: nothing of the packet but its query and flags goes on. Its number is
    /// zero, to be filled in, so that equal questions are equal bytes.
    pub fn forwarded(&self) -> Vec<u8> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.header.recursion_desired;
        message.metadata.checking_disabled = self.header.checking_disabled;
        message.metadata.authentic_data = self.header.authentic_data;
        message.add_query(self.query.clone());
        if let Some(extended) = self.extended {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_dnssec_ok(extended.dnssec);
            message.set_edns(edns);
        }
        message.to_vec().unwrap_or_default()
    }
}

/// A name in lower case as the directory has it, without the final dot; none where a label holds what no name of a
/// container or network does, so that no trick of quoting makes two names one.
pub fn plain(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    (!text.is_empty()).then_some(text)
}

/// A name as it may stand in a log: whatever is not plain is written as numbers.
pub fn printed(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for (index, label) in name.iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        for byte in label {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                text.push(char::from(byte.to_ascii_lowercase()));
            } else {
                // Writing to a String cannot fail.
                write!(text, "\\{byte:03}").unwrap_or_default();
            }
        }
    }
    text
}
