//! Whether somebody else has changed our tables: the kernel tells of every change, and whose it was.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, and its word that a transaction is over.
const SUBSYSTEM: u8 = 10;
const GENERATION: u8 = 15;
const NAME: u16 = 1;
const PROGRAM: u16 = 3;
/// `nlmsghdr`, and `nfgenmsg` behind it.
const HEADER: usize = 16;
const FAMILY: usize = 4;

/// Begins to listen; a kernel without nftables has nothing to tell.
pub fn open() -> Option<OwnedFd> {
    let protocol = Some(rustix::net::netlink::NETFILTER);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol).ok()?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 1 << (GROUP - 1))).ok()?;
    Some(socket)
}

/// Reads what was told, and whether a table of this name was changed by another program than ours.
pub fn changed(socket: &OwnedFd, table: &str) -> bool {
    let mut bytes = vec![0; 64 << 10];
    let (mut touched, mut changed) = (false, false);
    for _ in 0..256 {
        match rustix::net::recv(socket, bytes.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((read, _)) => {
                let (more, by_others) = told(bytes.get(..read).unwrap_or_default(), table, touched);
                touched = more;
                changed |= by_others;
            }
            Err(Errno::AGAIN) => break,
            // Too much was told at once: what it was, nobody knows.
            Err(_) => changed = true,
        }
    }
    changed
}

/// Whether our table was touched in a transaction that is not over, and whether it was by others in one that is.
fn told(mut bytes: &[u8], table: &str, mut touched: bool) -> (bool, bool) {
    let mut by_others = false;
    while let Some((length, kind, subsystem)) = header(bytes) {
        let message = bytes.get(..length).unwrap_or_default();
        let attributes = message.get(HEADER + FAMILY..).unwrap_or_default();
        let text = |kind| attribute(attributes, kind).and_then(|value| value.strip_suffix(&[0]));
        match (subsystem, kind) {
            (SUBSYSTEM, GENERATION) => {
                by_others |= touched && text(PROGRAM) != Some(b"casemate-net");
                touched = false;
            }
            (SUBSYSTEM, _) => touched |= text(NAME) == Some(table.as_bytes()),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    (touched, by_others)
}

fn header(bytes: &[u8]) -> Option<(usize, u8, u8)> {
    let [a, b, c, d, kind, subsystem, ..] = bytes else { return None };
    let length = usize::try_from(u32::from_ne_bytes([*a, *b, *c, *d])).ok()?;
    (HEADER..=bytes.len()).contains(&length).then_some((length, *kind, *subsystem))
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = bytes {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes([*c, *d]) & 0x3fff == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, attribute: u16, text: &str) -> Vec<u8> {
        let value = [text.as_bytes(), &[0]].concat();
        let mut body = vec![0; 4];
        body.extend(u16::try_from(4 + value.len()).expect("short").to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
        let mut bytes = u32::try_from(16 + body.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend([kind, SUBSYSTEM, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn changes_of_ours_by_others_are_seen() {
        let end = |program: &str| message(GENERATION, PROGRAM, program);
        let ours = message(2, NAME, "casemate");
        let others = message(2, NAME, "filter");
        for (messages, expected) in [
            ([ours.clone(), end("nft")].concat(), (false, true)),
            ([ours.clone(), end("casemate-net")].concat(), (false, false)),
            ([others, end("nft")].concat(), (false, false)),
            (ours.clone(), (true, false)),
            ([ours, vec![9; 7]].concat(), (true, false)),
        ] {
            assert_eq!(told(&messages, "casemate", false), expected);
        }
        assert_eq!(told(&end("nft"), "casemate", true), (false, true));
    }
}
