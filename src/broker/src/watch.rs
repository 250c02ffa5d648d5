//! What the kernel tells of rules: whether somebody else has changed our tables, and what egress rules refuse.

use std::os::fd::OwnedFd;
use std::time::Duration;

use casemate_spec::netlink::{attributes, messages};
use casemate_spec::wire::{Answer, NetOrder, Refusal};
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::broker::{Asker, Broker, refused};
use crate::child::Listen;
use crate::networks::outcome;

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, and its word that a transaction is over.
const SUBSYSTEM: u16 = 10;
const GENERATION: u16 = SUBSYSTEM << 8 | 15;
const NAME: u16 = 1;
const PROGRAM: u16 = 3;
/// `nfgenmsg`, behind a message's own header.
const FAMILY: usize = 4;
/// How long a socket takes to be told of things.
const PATIENCE: Duration = Duration::from_secs(10);

/// Begins to listen; a kernel without nftables has nothing to tell.
pub fn open() -> Option<OwnedFd> {
    socket(1 << (GROUP - 1)).ok()
}

fn socket(groups: u32) -> Result<OwnedFd> {
    let open = || {
        let protocol = Some(rustix::net::netlink::NETFILTER);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(socket)
    };
    open().map_err(|errno: Errno| crate::tree::failed("netfilter", errno))
}

impl Broker {
    /// Has a socket told of what egress rules refuse, and gives it away. It is kept for the next daemon: what is refused
    /// while there is none waits in it.
    pub(crate) fn denials(&mut self, asker: &Asker) -> Result<(), Refusal> {
        self.have_networks()?;
        let copy = |socket: &OwnedFd| {
            let copy = socket.try_clone().map_err(|error| refused(Error::io("netfilter", &error)));
            copy.map(|copy| (Answer::Connected, vec![copy]))
        };
        if let Some(socket) = &self.denials {
            let answer = copy(socket);
            self.answer(asker, answer);
            return Ok(());
        }
        let socket = self.there(|| socket(0)).map_err(refused)?;
        let mut command = self.net_command(&NetOrder::Listen).map_err(refused)?;
        command.stdout(socket.try_clone().map_err(|error| refused(Error::io("netfilter", &error)))?);
        let asker = asker.clone();
        self.run(command, Listen::Errors, PATIENCE, move |broker, ended| {
            let answer = outcome(&ended).and_then(|()| copy(&socket));
            if answer.is_ok() {
                broker.denials = Some(socket);
            }
            broker.answer(&asker, answer);
        });
        Ok(())
    }
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
fn told(bytes: &[u8], table: &str, mut touched: bool) -> (bool, bool) {
    let mut by_others = false;
    for message in messages(bytes).filter(|message| message.kind >> 8 == SUBSYSTEM) {
        let text = |wanted| {
            let mut all = attributes(message.body.get(FAMILY..).unwrap_or_default());
            all.find(|(kind, _)| *kind == wanted).and_then(|(_, value)| value.strip_suffix(&[0]))
        };
        if message.kind == GENERATION {
            by_others |= touched && text(PROGRAM) != Some(b"casemate-net");
            touched = false;
        } else {
            touched |= text(NAME) == Some(table.as_bytes());
        }
    }
    (touched, by_others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attribute: u16, text: &str) -> Vec<u8> {
        let value = [text.as_bytes(), &[0]].concat();
        let mut body = vec![0; 4];
        body.extend(u16::try_from(4 + value.len()).expect("short").to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
        let mut bytes = u32::try_from(16 + body.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn changes_of_ours_by_others_are_seen() {
        let end = |program: &str| message(GENERATION & 0xff, PROGRAM, program);
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
