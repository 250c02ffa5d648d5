//! The few questions of rtnetlink(7) that moving a device takes.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::message::{HEADER, Message, Part, attributes, split, u32_at};

/// linux/netlink.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_NEW: u16 = 0x400 | 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// linux/if_link.h.
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
/// linux/if_addr.h: what an address is made of, and what tells a permanent one.
const ADDRESS_PARTS: [u16; 3] = [1, 2, 4];
const PERMANENT: u8 = 0x80;
/// Bytes of `struct ifaddrmsg`.
const ADDRESS_FIXED: usize = 8;
const UP: u32 = 1;

/// An address of a device, as the kernel told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    parts: Vec<(u16, Vec<u8>)>,
}

/// A route netlink socket.
#[derive(Debug)]
pub(super) struct Route(OwnedFd);

impl Route {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The index of the device of this name.
    pub(super) fn index_of(&mut self, name: &str) -> Result<u32, Errno> {
        let ask = Message::new(GET_LINK, REQUEST, &link(0, 0, 0)).attribute(LINK_NAME, &terminated(name));
        let mut index = None;
        self.ask(ask, |part| index = u32_at(part.body, 4))?;
        index.ok_or(Errno::NODEV)
    }

    /// The permanent global addresses of a device.
    pub(super) fn addresses(&mut self, index: u32) -> Result<Vec<Address>, Errno> {
        let mut found = Vec::new();
        self.ask(Message::new(GET_ADDRESS, REQUEST | DUMP, &[0; ADDRESS_FIXED]), |part| {
            found.extend(address(part, index));
        })?;
        Ok(found)
    }

    /// Moves a device into another network namespace, under another name.
    pub(super) fn hand_over(&mut self, index: u32, space: &OwnedFd, name: &str) -> Result<(), Errno> {
        let space = u32::try_from(space.as_raw_fd()).map_err(|_negative| Errno::BADF)?;
        let ask = Message::new(NEW_LINK, REQUEST | ACK, &link(index, 0, 0))
            .attribute(LINK_NAMESPACE, &space.to_ne_bytes())
            .attribute(LINK_NAME, &terminated(name));
        self.ask(ask, |_part| {})
    }

    /// Gives a device an address.
    pub(super) fn add_address(&mut self, index: u32, address: &Address) -> Result<(), Errno> {
        let [i0, i1, i2, i3] = index.to_ne_bytes();
        let fixed = [address.family, address.prefix, PERMANENT, 0, i0, i1, i2, i3];
        let ask = Message::new(NEW_ADDRESS, REQUEST | ACK | CREATE_NEW, &fixed);
        let ask = address.parts.iter().fold(ask, |ask, (kind, value)| ask.attribute(*kind, value));
        self.ask(ask, |_part| {})
    }

    /// Sets a device up.
    pub(super) fn bring_up(&mut self, index: u32) -> Result<(), Errno> {
        self.ask(Message::new(NEW_LINK, REQUEST | ACK, &link(index, UP, UP)), |_part| {})
    }

    /// Sends one question and reads up to the end of its answer.
    fn ask(&mut self, message: Message, mut on_part: impl FnMut(Part<'_>)) -> Result<(), Errno> {
        let bytes = message.finish();
        let dump = bytes.get(6..8).is_some_and(|flags| flags == (REQUEST | DUMP).to_ne_bytes());
        let acknowledged = bytes.get(6).is_some_and(|flags| u16::from(*flags) & ACK != 0);
        send(&self.0, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            let (read, _length) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..read).unwrap_or_default();
            while let Some((part, after)) = split(rest) {
                match part.kind {
                    DONE => return Ok(()),
                    ERROR => return outcome(part),
                    _ => on_part(part),
                }
                rest = after;
                // A single answer has no end of its own.
                if !dump && !acknowledged {
                    return Ok(());
                }
            }
            if read < HEADER {
                return Err(Errno::PROTO);
            }
        }
    }
}

/// `struct nlmsgerr`: zero is an acknowledgement.
fn outcome(part: Part<'_>) -> Result<(), Errno> {
    let code = u32_at(part.body, 0).map_or(i32::MIN, u32::cast_signed);
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.wrapping_neg())) }
}

fn address(part: Part<'_>, index: u32) -> Option<Address> {
    let &[family, prefix, flags, scope, ..] = part.body else { return None };
    let ours = part.kind == NEW_ADDRESS && u32_at(part.body, 4)? == index;
    // Scope 0 is global: link-local addresses belong to the device and come back by themselves.
    if !ours || flags & PERMANENT == 0 || scope != 0 {
        return None;
    }
    let parts = attributes(part.body, ADDRESS_FIXED)
        .filter(|(kind, _)| ADDRESS_PARTS.contains(kind))
        .map(|(kind, value)| (kind, value.to_vec()))
        .collect();
    Some(Address { family, prefix, parts })
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    let fields = [0, index, flags, change].into_iter().flat_map(u32::to_ne_bytes);
    for (to, from) in fixed.iter_mut().zip(fields) {
        *to = from;
    }
    fixed
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
