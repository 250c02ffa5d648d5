//! What a container sends into its bridge: from its own addresses alone, whatever it writes into its packets.

use super::batch::{BRIDGE, Batch, Hook};
use super::expression::{Expression, Meta, Part, Verdict, is, meta, not_within, payload, verdict, within};
use super::sets::{MACS, PORTS, SENDERS4, SENDERS6, Set};

const CHAIN: &str = "senders";
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMP6: u8 = 58;
/// Messages of ICMPv6: who is the router, and who is whose neighbour.
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const GROUP_REPORT: u8 = 143;

/// The chain of the table.
pub fn chains(batch: &mut Batch<'_>) {
    batch.chain(BRIDGE, CHAIN, Some(Hook { kind: "filter", number: 0, priority: -300 }));
    let accept = || verdict(Verdict::Accept);
    let drop = || verdict(Verdict::Drop);
    // Its type is read where it stands, so that a frame for a virtual network within is none of these.
    let of = |kind: [u8; 2]| vec![payload(Part::Link, 12, 2, 0), is(0, &kind)];
    let with = |mut first: Vec<Expression>, rest: Vec<Expression>| {
        first.extend(rest);
        first
    };
    let icmp6 = |kind: u8| {
        let kind =
            [meta(Meta::Protocol, 0), is(0, &[ICMP6]), payload(Part::Transport, 0, 1, 0), is(0, &[kind])];
        with(of(IPV6), kind.to_vec())
    };
    // Nearly every frame of a container ends with the first rule: one look into one set.
    let mut rules = vec![
        with(
            of(IPV4),
            [sender(&SENDERS4, source_mac(4), payload(Part::Network, 12, 4, 6)), vec![accept()]].concat(),
        ),
        vec![meta(Meta::InName, 0), not_within(PORTS.name, 0), accept()],
        vec![meta(Meta::InName, 0), source_mac(4), not_within(MACS.name, 0), drop()],
    ];
    // Ethernet and IPv4, and the sender is who sends.
    let arp = vec![payload(Part::Network, 0, 6, 0), is(0, &[0, 1, 8, 0, 6, 4])];
    let told = sender(&SENDERS4, payload(Part::Network, 8, 6, 4), payload(Part::Network, 14, 4, 6));
    rules.push(with(of(ARP), [arp, told, vec![accept()]].concat()));
    for kind in [ROUTER_ADVERTISEMENT, REDIRECT] {
        rules.push(with(icmp6(kind), vec![drop()]));
    }
    let target = [meta(Meta::InName, 0), source_mac(4), payload(Part::Transport, 8, 16, 6)];
    let foreign = [target.to_vec(), vec![not_within(SENDERS6.name, 0), drop()]].concat();
    rules.push(with(icmp6(ADVERTISEMENT), foreign));
    let six = sender(&SENDERS6, source_mac(4), payload(Part::Network, 8, 16, 6));
    rules.push(with(of(IPV6), [six, vec![accept()]].concat()));
    // Before it has an address, it asks whether anybody else has it, and joins the group that is asked.
    for kind in [SOLICITATION, GROUP_REPORT] {
        let nobody = vec![payload(Part::Network, 8, 16, 0), is(0, &[0; 16]), accept()];
        rules.push(with(icmp6(kind), nobody));
    }
    rules.push(vec![drop()]);
    for rule in rules {
        batch.rule(BRIDGE, CHAIN, rule);
    }
}

fn source_mac(to: u32) -> Expression {
    payload(Part::Link, 6, 6, to)
}

/// Goes on where port, MAC and address belong together.
fn sender(set: &Set, mac: Expression, address: Expression) -> Vec<Expression> {
    vec![meta(Meta::InName, 0), mac, address, within(set.name, 0)]
}
