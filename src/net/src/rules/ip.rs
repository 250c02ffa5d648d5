//! What passes through the host: who may reach whom, published ports, and where containers may connect to.
//!
//! A packet that no chain of ours drops is still every other table's to drop: published ports do not go past the host's
//! own firewall.

use casemate_spec::wire::Denial;

use super::batch::{Batch, Hook, INET};
use super::expression::{
    Expression, INVALID, KNOWN, LOCAL, Meta, Part, TRANSLATED, Verdict, at_least, at_most, connection_state,
    connection_status, destination_kind, find, is, is_not, load, log, mask, masquerade, meta, not_within,
    pace, payload, redirect, reject, verdict, within,
};
use super::sets::{
    ADMITTED4, ADMITTED6, ALLOWED4, ALLOWED6, ANY4, ANY6, AT4, AT6, BRIDGES, Element, GATEWAYS4, GATEWAYS6,
    HIDDEN, INTERNAL, KIN, LIMITED4, LIMITED6, LOOPS, NEAR4, NEAR6, REFUSED4, REFUSED6, SELVES4, SELVES6,
    SUBNETS4, SUBNETS6, Set, TALKS,
};

/// IP's versions, and where their addresses stand.
#[derive(Debug, Clone, Copy)]
struct Version {
    number: u8,
    source: u32,
    destination: u32,
    length: u32,
}

const FOUR: Version = Version { number: 2, source: 12, destination: 16, length: 4 };
const SIX: Version = Version { number: 10, source: 8, destination: 24, length: 16 };
const ICMP6: u8 = 58;
/// The chain of what is allowed beyond one's own networks.
const ALLOWANCES: &str = "allowances";
/// The chains of what is refused, by the reason.
const REFUSE: &str = "refuse";
const REFUSE_NEAR: &str = "refuse-link-local";
/// The chain that tells of what goes into others' networks; it is dropped where that was asked.
const TELL: &str = "tell";
/// So many refused packets of each container are told of in a second, and so many at once: a flood of one costs little, and
/// hides nobody else's.
const TOLD: (u64, u32) = (10, 50);
/// How long a container's count is kept after its last refused packet, in milliseconds.
const COUNTED: u64 = 60_000;

impl Version {
    fn only(self) -> [Expression; 2] {
        [meta(Meta::Family, 0), is(0, &[self.number])]
    }

    fn source(self, to: u32) -> Expression {
        payload(Part::Network, self.source, self.length, to)
    }

    fn destination(self, to: u32) -> Expression {
        payload(Part::Network, self.destination, self.length, to)
    }

    /// Registers that an address takes.
    fn width(self) -> u32 {
        self.length / 4
    }
}

fn chain(batch: &mut Batch<'_>, name: &'static str, hook: Option<Hook>, rules: Vec<Vec<Expression>>) {
    batch.chain(INET, name, hook);
    for rule in rules {
        batch.rule(INET, name, rule);
    }
}

fn rule<const N: usize>(parts: [&[Expression]; N]) -> Vec<Expression> {
    parts.concat()
}

/// Came from one of ours.
fn from_us() -> [Expression; 2] {
    [meta(Meta::InName, 0), within(BRIDGES.name, 0)]
}

fn from_elsewhere() -> [Expression; 2] {
    [meta(Meta::InName, 0), not_within(BRIDGES.name, 0)]
}

fn to_us() -> [Expression; 2] {
    [meta(Meta::OutName, 0), within(BRIDGES.name, 0)]
}

fn to_elsewhere() -> [Expression; 2] {
    [meta(Meta::OutName, 0), not_within(BRIDGES.name, 0)]
}

/// From a bridge to the same.
fn along(set: &Set) -> [Expression; 3] {
    [meta(Meta::InName, 0), meta(Meta::OutName, 4), within(set.name, 0)]
}

/// From an address to the same.
fn itself(version: Version, set: &Set) -> Vec<Expression> {
    let mut test = version.only().to_vec();
    test.extend([version.source(0), version.destination(version.width()), within(set.name, 0)]);
    test
}

fn has_state(bits: u32) -> [Expression; 3] {
    [connection_state(0), mask(0, &bits.to_ne_bytes()), is_not(0, &[0; 4])]
}

fn is_translated(yes: bool) -> [Expression; 3] {
    let test = if yes { is_not(0, &[0; 4]) } else { is(0, &[0; 4]) };
    [connection_status(0), mask(0, &TRANSLATED.to_ne_bytes()), test]
}

fn to_host(yes: bool) -> [Expression; 2] {
    let kind = LOCAL.to_ne_bytes();
    [destination_kind(0), if yes { is(0, &kind) } else { is_not(0, &kind) }]
}

/// 127.0.0.0/8, at this place of IPv4's header.
fn loopback(offset: u32) -> [Expression; 4] {
    let [family, four] = FOUR.only();
    [family, four, payload(Part::Network, offset, 1, 0), is(0, &[127])]
}

fn end(how: Verdict) -> [Expression; 1] {
    [verdict(how)]
}

/// All chains of the table.
pub fn chains(batch: &mut Batch<'_>) {
    let place = |kind, number, priority| Some(Hook { kind, number, priority });
    let accept = end(Verdict::Accept);
    let drop = end(Verdict::Drop);
    // Bridges route 127.0.0.0/8, so that the host's own connections by 127.0.0.1 come back. Nothing else may use that.
    // Every packet of the host comes by: what tells most apart is looked at first, here and below, and sets after it.
    let rules = vec![rule([&loopback(FOUR.destination), &from_us(), &drop])];
    chain(batch, "guard", place("filter", 0, -300), rules);
    chain(batch, ALLOWANCES, None, Vec::new());
    for (name, why) in [(REFUSE, Denial::NotListed), (REFUSE_NEAR, Denial::LinkLocal)] {
        let rules = [tell(batch.name(), why), vec![vec![reject()]]].concat();
        chain(batch, name, None, rules);
    }
    let rules = tell(batch.name(), Denial::OtherNetwork);
    chain(batch, TELL, None, rules);
    chain(batch, "egress", place("filter", 0, -150), egress());
    let mut published = vec![rule([&loopback(FOUR.destination), &accept]), rule([&to_host(false), &accept])];
    published.extend(redirects());
    chain(batch, "published", place("nat", 0, -100), published);
    let [family, six] = SIX.only();
    let mut one = [0; 16];
    if let Some(last) = one.last_mut() {
        *last = 1;
    }
    // IPv6 has no way from ::1 to another interface: refused at once is better than never answered.
    let own = [family, six, SIX.destination(0), is(0, &one)];
    let mut here = vec![rule([&to_host(false), &accept]), rule([&own, &accept])];
    here.extend(redirects());
    chain(batch, "published-here", place("nat", 3, -100), here);
    chain(batch, "input", place("filter", 1, -10), input());
    chain(batch, "forward", place("filter", 2, -10), forward());
    let leave = vec![
        rule([&to_us(), &loopback(FOUR.source), &[masquerade()]]),
        // From a neighbour on the same bridge the answer would come directly, and from the wrong address.
        rule([&is_translated(true), &along(&LOOPS), &[masquerade()]]),
        // Where bridges show their packets to IP (bridge-nf-call-iptables), answers come back by IP, too, but nobody
        // takes a packet from himself.
        rule([&is_translated(true), &itself(FOUR, &SELVES4), &[masquerade()]]),
        rule([&is_translated(true), &itself(SIX, &SELVES6), &[masquerade()]]),
        rule([&to_us(), &accept]),
        rule([&[meta(Meta::InName, 0), within(HIDDEN.name, 0)], &[masquerade()]]),
    ];
    chain(batch, "leave", place("nat", 4, 100), leave);
}

/// Tells of what is refused.
fn tell(table: &str, why: Denial) -> Vec<Vec<Expression>> {
    let prefix = format!("{table} {}", why.word());
    let of = |version: Version, set: &Set| {
        let who = [meta(Meta::InName, 0), version.source(4), pace(set.name, 0, TOLD, COUNTED)];
        rule([&version.only(), &who, &[log(Denial::group(table), &prefix)]])
    };
    vec![of(FOUR, &REFUSED4), of(SIX, &REFUSED6)]
}

/// New connections of containers, before any address is translated.
fn egress() -> Vec<Vec<Expression>> {
    let accept = end(Verdict::Accept);
    let (refuse, refuse_near) = (end(Verdict::Goto(REFUSE)), end(Verdict::Goto(REFUSE_NEAR)));
    let mut rules = vec![rule([&has_state(KNOWN), &accept]), rule([&from_elsewhere(), &accept])];
    // Neighbours and groups are asked for, and answered, whatever else is allowed.
    for (first, last) in [(130, 136), (143, 143)] {
        let message = [
            meta(Meta::Protocol, 0),
            is(0, &[ICMP6]),
            payload(Part::Transport, 0, 1, 0),
            at_least(0, &[first]),
            at_most(0, &[last]),
        ];
        rules.push(rule([&SIX.only(), &message, &accept]));
    }
    let near =
        |version: Version, set: &Set| [meta(Meta::InName, 0), version.source(4), not_within(set.name, 0)];
    let four = [payload(Part::Network, FOUR.destination, 2, 0), is(0, &[169, 254])];
    rules.push(rule([&FOUR.only(), &four, &near(FOUR, &NEAR4), &refuse_near]));
    let six = [payload(Part::Network, SIX.destination, 2, 0), mask(0, &[0xff, 0xc0]), is(0, &[0xfe, 0x80])];
    rules.push(rule([&SIX.only(), &six, &to_host(true), &near(SIX, &NEAR6), &refuse_near]));
    let metadata = [0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54];
    let six = [SIX.destination(0), is(0, &metadata)];
    rules.push(rule([&SIX.only(), &six, &near(SIX, &NEAR6), &refuse_near]));
    for (version, limited) in [(FOUR, &LIMITED4), (SIX, &LIMITED6)] {
        rules.push(rule([&version.only(), &near(version, limited), &accept]));
    }
    for (version, subnets) in [(FOUR, &SUBNETS4), (SIX, &SUBNETS6)] {
        let own = [meta(Meta::InName, 0), version.destination(4), within(subnets.name, 0)];
        rules.push(rule([&version.only(), &to_host(false), &own, &accept]));
    }
    rules.push(end(Verdict::Jump(ALLOWANCES)).to_vec());
    rules.push(refuse.to_vec());
    rules
}

/// What is allowed by one protocol and range of ports.
pub fn allow(batch: &mut Batch<'_>, class: &Element) {
    let [protocol, _, _, _, a, b, c, d] = class.key() else { return };
    let (first, last) = ([*a, *b], [*c, *d]);
    for (version, sets) in [(FOUR, [&ALLOWED4, &ADMITTED4]), (SIX, [&ALLOWED6, &ADMITTED6])] {
        let mut test = version.only().to_vec();
        if *protocol != 0 {
            test.extend([meta(Meta::Protocol, 0), is(0, &[*protocol])]);
        }
        if (first, last) != ([0; 2], [0xff; 2]) {
            test.extend([payload(Part::Transport, 2, 2, 0), at_least(0, &first), at_most(0, &last)]);
        }
        let width = version.width();
        test.extend([version.source(0), version.destination(width)]);
        test.extend([load(2 * width, &[*protocol, 0, 0, 0]), load(2 * width + 1, &[*a, *b, *c, *d])]);
        for set in sets {
            batch.rule(INET, ALLOWANCES, rule([&test, &[within(set.name, 0)], &end(Verdict::Accept)]));
        }
    }
}

/// To where published ports lead: one address of the host's first, then any.
fn redirects() -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    for (version, at, any) in [(FOUR, &AT4, &ANY4), (SIX, &AT6, &ANY6)] {
        let width = version.width();
        let port = |to| [meta(Meta::Protocol, to), payload(Part::Transport, 2, 2, to + 1)];
        let lead = |map: &Set| [find(map.name, 0, 0), redirect(version.number, 0, width)];
        rules.push(rule([&version.only(), &[version.destination(0)], &port(width), &lead(at)]));
        rules.push(rule([&version.only(), &port(0), &lead(any)]));
    }
    rules
}

/// To the host itself.
fn input() -> Vec<Vec<Expression>> {
    let accept = end(Verdict::Accept);
    let drop = end(Verdict::Drop);
    let mut rules = vec![rule([&has_state(KNOWN), &accept]), rule([&from_elsewhere(), &accept])];
    let neighbours = [
        meta(Meta::Protocol, 0),
        is(0, &[ICMP6]),
        payload(Part::Transport, 0, 1, 0),
        at_least(0, &[135]),
        at_most(0, &[136]),
    ];
    rules.push(rule([&SIX.only(), &neighbours, &accept]));
    rules.push(rule([&[meta(Meta::InName, 0), within(INTERNAL.name, 0)], &drop]));
    for (version, gateways, subnets) in [(FOUR, &GATEWAYS4, &SUBNETS4), (SIX, &GATEWAYS6, &SUBNETS6)] {
        let gateway = [version.destination(0), within(gateways.name, 0)];
        let own = [meta(Meta::InName, 0), version.destination(4), not_within(subnets.name, 0)];
        rules.push(rule([&version.only(), &gateway, &own, &drop]));
    }
    rules
}

/// From one interface to another.
fn forward() -> Vec<Vec<Expression>> {
    let accept = end(Verdict::Accept);
    let drop = end(Verdict::Drop);
    // A bridge's own packets come by here where net.bridge.bridge-nf-call-iptables is set.
    let mut rules = vec![rule([&along(&TALKS), &accept])];
    for way in [Meta::InName, Meta::OutName] {
        rules.push(rule([&[meta(way, 0), within(INTERNAL.name, 0)], &drop]));
    }
    rules.push(rule([&has_state(KNOWN), &accept]));
    // Not known well enough to be hidden behind the host's address.
    rules.push(rule([&from_us(), &has_state(INVALID), &drop]));
    rules.push(rule([&to_elsewhere(), &accept]));
    rules.push(rule([&from_us(), &is_translated(false), &end(Verdict::Jump(TELL))]));
    rules.push(rule([&is_translated(false), &drop]));
    rules.push(rule([&from_elsewhere(), &accept]));
    rules.push(rule([&along(&KIN), &accept]));
    rules.push(end(Verdict::Jump(TELL)).to_vec());
    rules.push(drop.to_vec());
    rules
}
