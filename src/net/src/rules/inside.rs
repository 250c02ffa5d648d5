//! The one rule inside a container's network namespace: its questions for names go to where the resolver hears them.

use std::net::Ipv4Addr;

use casemate_spec::Result;

use super::batch::{Batch, Hook, IPV4, has_table};
use super::expression::{Meta, Part, is, load, meta, payload, redirect};
use crate::netlink::Socket;

/// Where names are asked for.
pub const NAMES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const TABLE: &str = "casemate";
const CHAIN: &str = "names";
const PORT: u16 = 53;

/// Leads port 53 of [`NAMES`] to these ports of the same address, so that the container may serve port 53 itself. In the
/// present network namespace, in place of what an earlier one led to.
///
/// # Errors
/// The kernel's.
pub fn answer_names(socket: &Socket, udp: u16, tcp: u16) -> Result<()> {
    let mut batch = Batch::new(TABLE);
    // Only where there is something to remove: the kernel makes whoever has removed something wait at his end.
    if has_table(socket, IPV4, TABLE)? {
        batch.delete_table(IPV4);
    }
    batch.table(IPV4, false);
    batch.chain(IPV4, CHAIN, Some(Hook { kind: "nat", number: 3, priority: -100 }));
    for (protocol, port) in [(17, udp), (6, tcp)] {
        let rule = [
            payload(Part::Network, 16, 4, 0),
            is(0, &NAMES.octets()),
            meta(Meta::Protocol, 0),
            is(0, &[protocol]),
            payload(Part::Transport, 2, 2, 0),
            is(0, &PORT.to_be_bytes()),
            load(0, &NAMES.octets()),
            load(1, &port.to_be_bytes()),
            redirect(IPV4, 0, 1),
        ];
        batch.rule(IPV4, CHAIN, rule);
    }
    batch.commit(socket)
}
