//! One container's questions, from packet to answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use casemate_spec::wire::{Allowed, HexId, Said};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use tokio::time::Instant;

use crate::answer::{self, packed};
use crate::coalesce::Flights;
use crate::decide::{Forward, Verdict, decide};
use crate::pace::Pace;
use crate::question::{HEADER, Question, Unusable};
use crate::resolver::Resolver;
use crate::upstream::{self, Health};

/// Questions under way, of one container.
const UNDER_WAY: usize = 128;
/// Names whose refusal is told within [`QUIET`], of one container.
const TOLD: usize = 64;
/// A name that was refused is told of once in this time.
const QUIET: Duration = Duration::from_secs(60);
/// How long a name of an allow-list may be kept, in seconds, and how much longer its addresses can be reached: whoever
/// has just heard it connects.
const KEPT: u32 = 3600;
const GRACE: u32 = 60;

/// Whoever asks from one container.
#[derive(Debug)]
pub struct Asker {
    resolver: Rc<Resolver>,
    container: HexId,
    flights: Flights,
    health: Health,
    told: RefCell<HashMap<String, Instant>>,
    under_way: Cell<usize>,
    pace: RefCell<Pace>,
}

/// By which way a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// An answer is as long as its asker says that it may be.
    Datagram,
    /// An answer is as long as it is.
    Stream,
}

/// What is answered.
#[derive(Debug)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// This.
    Now(Vec<u8>),
    /// What others say.
    Later(Box<(Question, Forward)>),
}

/// One of the questions under way.
struct Place<'a>(&'a Cell<usize>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Asker {
    /// From this container.
    pub fn new(resolver: Rc<Resolver>, container: HexId) -> Self {
        Self {
            resolver,
            container,
            flights: Flights::default(),
            health: Health::default(),
            told: RefCell::default(),
            under_way: Cell::new(0),
            pace: RefCell::default(),
        }
    }

    /// Notes a packet; how long to wait before the next one is read.
    pub fn pause(&self) -> Duration {
        self.pace.borrow_mut().take(Instant::now())
    }

    /// Reads a packet, and answers what we know.
    pub fn consider(&self, packet: &[u8], way: Way) -> Reply {
        let question = match Question::read(packet) {
            Ok(question) => question,
            Err(Unusable(answer)) => return answer.map_or(Reply::Nothing, Reply::Now),
        };
        let directory = self.resolver.directory();
        // Its sockets may be here before the daemon's word of it is.
        let Some(client) = directory.client(&self.container) else {
            return Reply::Now(answer::code(&question, ResponseCode::ServFail));
        };
        match decide(&directory, &client, &question) {
            Verdict::Answer(message) => Reply::Now(packed(message, limit(&question, way))),
            Verdict::Code(code) => Reply::Now(answer::code(&question, code)),
            Verdict::Refuse(name) => {
                self.tell(name);
                Reply::Now(answer::code(&question, ResponseCode::Refused))
            }
            Verdict::Forward(forward) => Reply::Later(Box::new((question, forward))),
        }
    }

    /// Asks others.
    pub async fn settle(&self, question: &Question, forward: &Forward, way: Way) -> Vec<u8> {
        let failure = || answer::code(question, ResponseCode::ServFail);
        if self.under_way.get() >= UNDER_WAY {
            return failure();
        }
        self.under_way.set(self.under_way.get() + 1);
        let _place = Place(&self.under_way);
        let asked = question.forwarded();
        let found = self.flights.share(asked.clone(), self.fetch(&asked, forward)).await;
        let Some(found) = found else { return failure() };
        let mut whole = found.to_vec();
        if let Some(number) = whole.get_mut(..2) {
            number.copy_from_slice(&question.header.id.to_be_bytes());
        }
        let limit = limit(question, way);
        if whole.len() <= usize::from(limit) {
            return whole;
        }
        readable(&whole).map_or_else(failure, |message| packed(message, limit))
    }

    async fn fetch(&self, asked: &[u8], forward: &Forward) -> Option<Vec<u8>> {
        let found = upstream::ask(asked, &forward.upstream, &self.health).await?;
        match &forward.admit {
            None => Some(found),
            Some(ports) => self.admit(readable(&found)?, ports).await,
        }
    }

    /// Has the addresses in an answer made reachable before anybody hears it.
    async fn admit(&self, mut message: Message, ports: &[Option<(u16, u16)>]) -> Option<Vec<u8>> {
        let kept = message.answers.iter().map(|record| record.ttl).min().unwrap_or(KEPT).min(KEPT);
        for record in &mut message.answers {
            record.ttl = record.ttl.min(kept);
        }
        let addresses = message.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::from(address.0)),
            RData::AAAA(address) => Some(IpAddr::from(address.0)),
            _ => None,
        });
        let addresses = addresses.filter(is_elsewhere);
        let allowed: Vec<Allowed> = addresses
            .flat_map(|address| {
                let prefix = if address.is_ipv4() { 32 } else { 128 };
                ports.iter().map(move |ports| Allowed { address, prefix, protocol: None, ports: *ports })
            })
            .collect();
        let reached = allowed.is_empty()
            || self.resolver.admit(&self.container, allowed, kept.saturating_add(GRACE)).await;
        reached.then(|| packed(message, u16::MAX))
    }

    /// Tells of a refused name, unless it was told of lately.
    fn tell(&self, name: String) {
        let (mut told, now) = (self.told.borrow_mut(), Instant::now());
        if told.len() >= TOLD {
            told.retain(|_, at| now.duration_since(*at) < QUIET);
        }
        let lately = told.get(&name).is_some_and(|at| now.duration_since(*at) < QUIET);
        if !lately && told.len() < TOLD {
            told.insert(name.clone(), now);
            self.resolver.say(Said::Refused { container: self.container.clone(), name });
        }
    }
}

fn limit(question: &Question, way: Way) -> u16 {
    if way == Way::Stream { u16::MAX } else { question.limit() }
}

/// A message of somebody else's, as far as it can be read. What it announces is compared with its length first: the
/// parser makes room for it.
fn readable(packet: &[u8]) -> Option<Message> {
    let counted = packet.get(4..6)? == [0, 1];
    (counted && packet.len() > HEADER).then(|| Message::from_vec(packet).ok()).flatten()
}

/// Whoever owns an allowed name decides what it stands for. It never opens what is the host's own, or of the link, where
/// clouds keep credentials.
fn is_elsewhere(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(_) => false,
            None => {
                !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast())
            }
        },
    }
}
