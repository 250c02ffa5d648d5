//! What becomes of a question: a pure function of who asks for what, and of what is known.

use std::net::{IpAddr, SocketAddr};

use casemate_spec::wire::{AllowedName, Client};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use crate::answer;
use crate::directory::Directory;
use crate::question::{Question, plain, printed};

/// What is done.
#[derive(Debug)]
pub enum Verdict {
    /// We know.
    Answer(Message),
    /// This and nothing else is said.
    Code(ResponseCode),
    /// Its egress does not allow it; the name as it may be logged.
    Refuse(String),
    /// Others are asked.
    Forward(Forward),
}

/// How others are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Whom, one after another.
    pub upstream: Vec<SocketAddr>,
    /// The ports that must be let through to what the name stands for; none where egress is not limited.
    pub admit: Option<Vec<Option<(u16, u16)>>>,
}

/// Decides.
pub fn decide(directory: &Directory, client: &Client, question: &Question) -> Verdict {
    let kind = question.query.query_type;
    if question.query.query_class != DNSClass::IN {
        return Verdict::Code(ResponseCode::Refused);
    }
    // What is answered by many messages, or is no question at all.
    if matches!(kind, RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::TSIG) {
        return Verdict::Code(ResponseCode::NotImp);
    }
    let name = plain(&question.query.name);
    if let Some(name) = &name
        && let Some(found) = directory.find(client, name, |address| wanted(kind, address))
    {
        // The name is ours, whatever is asked about it: there is no other to ask.
        return Verdict::Answer(answer::addresses(question, &found));
    }
    if kind == RecordType::PTR
        && let Some(address) = whose(question)
        && let Some(name) = directory.reverse(client, &address)
    {
        return Verdict::Answer(answer::pointer(question, name));
    }
    if client.upstream.is_empty() {
        return Verdict::Code(ResponseCode::Refused);
    }
    let admit = match &client.allow {
        None => None,
        Some(list) => {
            let ports: Vec<_> = list
                .iter()
                .filter(|allowed| name.as_deref().is_some_and(|name| allows(allowed, name)))
                .map(|allowed| allowed.ports)
                .collect();
            if ports.is_empty() {
                return Verdict::Refuse(printed(&question.query.name));
            }
            Some(ports)
        }
    };
    Verdict::Forward(Forward { upstream: client.upstream.clone(), admit })
}

fn wanted(kind: RecordType, address: &IpAddr) -> bool {
    match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        kind => kind == RecordType::ANY,
    }
}

/// The whole address that a reverse question names.
fn whose(question: &Question) -> Option<IpAddr> {
    let network = question.query.name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

/// `*.example.org` is all beneath it, and not `example.org`.
fn allows(allowed: &AllowedName, name: &str) -> bool {
    let pattern = allowed.name.trim_end_matches('.');
    match pattern.strip_prefix("*.") {
        Some(above) => {
            let cut = name.len().checked_sub(above.len());
            let (Some(beneath), Some(end)) =
                (cut.and_then(|cut| name.get(..cut)), cut.and_then(|cut| name.get(cut..)))
            else {
                return false;
            };
            end.eq_ignore_ascii_case(above) && beneath.len() > 1 && beneath.ends_with('.')
        }
        None => pattern.eq_ignore_ascii_case(name),
    }
}
