//! What nfnetlink_log(7) tells of a refused packet. The packet itself is a container's: whatever it holds is looked for,
//! and nothing of it believed but where it goes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use casemate_spec::netlink::{Message, attributes, messages};
use casemate_spec::wire::Denial;

/// `NFNL_SUBSYS_ULOG`, `NFULNL_MSG_PACKET`
const PACKET: u16 = 4 << 8;
/// `nfgenmsg`
const HEADER: usize = 4;
/// `NFULA_*`
const INTERFACE: u16 = 4;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const SEQUENCE: u16 = 12;
/// Of IP.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;
/// More extensions than any sender has use for.
const EXTENSIONS: usize = 8;

/// Where a connection was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// IP's number of the protocol.
    pub protocol: u8,
    /// Where the protocol has ports, and the packet the beginning of its header.
    pub port: Option<u16>,
}

/// A packet that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Counted up by the kernel, from any number.
    pub sequence: Option<u32>,
    /// The bridge by which it came, by its number.
    pub bridge: u32,
    /// Who has sent it. The rules of bridges see to it that it is true.
    pub source: IpAddr,
    /// Where it was to go.
    pub target: Target,
    /// By which rule.
    pub why: Denial,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(formatter, "{}/", SocketAddr::new(self.address, port))?,
            None => write!(formatter, "{}/", self.address)?,
        }
        match self.protocol {
            ICMP => formatter.write_str("icmp"),
            ICMP6 => formatter.write_str("icmp6"),
            TCP => formatter.write_str("tcp"),
            UDP => formatter.write_str("udp"),
            SCTP => formatter.write_str("sctp"),
            other => write!(formatter, "protocol-{other}"),
        }
    }
}

/// All that one read gave.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Denied> {
    messages(bytes).filter_map(|message| denied(&message))
}

fn denied(message: &Message<'_>) -> Option<Denied> {
    if message.kind != PACKET {
        return None;
    }
    let body = message.body.get(HEADER..)?;
    let find = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let number = |wanted| Some(u32::from_be_bytes(find(wanted)?.try_into().ok()?));
    let (source, target) = addresses(find(PAYLOAD)?)?;
    let prefix = find(PREFIX)?.strip_suffix(&[0])?;
    let why = Denial::ALL.into_iter().find(|why| prefix.ends_with(why.word().as_bytes()))?;
    Some(Denied { sequence: number(SEQUENCE), bridge: number(INTERFACE)?, source, target, why })
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, Target)> {
    match packet.first()? >> 4 {
        4 => four(packet),
        6 => six(packet),
        _ => None,
    }
}

fn four(packet: &[u8]) -> Option<(IpAddr, Target)> {
    let address = |at| Some(Ipv4Addr::from(bytes::<4>(packet, at)?).into());
    let length = usize::from(packet.first()? & 0xf) * 4;
    let (source, destination): (IpAddr, IpAddr) = (address(12)?, address(16)?);
    let protocol = *packet.get(9)?;
    let is_first = u16::from_be_bytes(bytes(packet, 6)?) & 0x1fff == 0;
    let rest = packet.get(length..).filter(|_| is_first && length >= 20);
    let port = rest.and_then(|rest| port(protocol, rest));
    Some((source, Target { address: destination, protocol, port }))
}

fn six(packet: &[u8]) -> Option<(IpAddr, Target)> {
    let address = |at| Some(Ipv6Addr::from(bytes::<16>(packet, at)?).into());
    let (source, destination): (IpAddr, IpAddr) = (address(8)?, address(24)?);
    let mut protocol = *packet.get(6)?;
    let mut rest = packet.get(40..);
    for _ in 0..EXTENSIONS {
        let Some([next, length, ..]) = rest else { break };
        let behind = match protocol {
            // Hop by hop, routing, destination, mobility
            0 | 43 | 60 | 135 => (usize::from(*length) + 1) * 8,
            // A fragment, of which the first alone has ports.
            44 if rest.and_then(|rest| bytes(rest, 2)).map(u16::from_be_bytes)? & 0xfff8 == 0 => 8,
            44 => usize::MAX,
            // Authentication
            51 => (usize::from(*length) + 2) * 4,
            _ => break,
        };
        protocol = *next;
        rest = rest.and_then(|rest| rest.get(behind..));
    }
    let port = rest.and_then(|rest| port(protocol, rest));
    Some((source, Target { address: destination, protocol, port }))
}

fn port(protocol: u8, header: &[u8]) -> Option<u16> {
    matches!(protocol, TCP | UDP | SCTP).then(|| bytes(header, 2).map(u16::from_be_bytes)).flatten()
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.get(..N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = [&[2, 0, 0, 0][..], &attributes.concat()].concat();
        let length = u32::try_from(16 + body.len()).expect("short");
        [&length.to_ne_bytes()[..], &PACKET.to_ne_bytes(), &[0; 10], &body].concat()
    }

    fn logged(packet: &[u8]) -> Vec<u8> {
        let prefix = b"casemate-0123456789abcdef link-local\0";
        message(&[
            attribute(INTERFACE, &7_u32.to_be_bytes()),
            attribute(PREFIX, prefix),
            attribute(PAYLOAD, packet),
            attribute(SEQUENCE, &41_u32.to_be_bytes()),
        ])
    }

    fn packet_of_four(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let head = [0x45, 0, 0, 60, 0, 0];
        let [a, b] = fragment.to_be_bytes();
        [&head[..], &[a, b, 64, protocol, 0, 0, 10, 1, 0, 2, 192, 0, 2, 2], rest].concat()
    }

    fn packet_of_six(next: u8, rest: &[u8]) -> Vec<u8> {
        let (from, to): (Ipv6Addr, Ipv6Addr) =
            ("fd00::2".parse().expect("one"), "2001:db8::2".parse().expect("one"));
        [&[0x60, 0, 0, 0, 0, 8, next, 64][..], &from.octets(), &to.octets(), rest].concat()
    }

    fn shown(packet: &[u8]) -> String {
        read(&logged(packet)).map(|denied| format!("{} {}", denied.source, denied.target)).collect()
    }

    #[test]
    fn packets_are_shown_as_lists_are_written() {
        let ports = [0x9c, 0x40, 0, 81];
        assert_eq!(shown(&packet_of_four(TCP, 0x4000, &ports)), "10.1.0.2 192.0.2.2:81/tcp");
        assert_eq!(shown(&packet_of_four(UDP, 0, &ports[..3])), "10.1.0.2 192.0.2.2/udp", "cut off");
        assert_eq!(shown(&packet_of_four(UDP, 1, &ports)), "10.1.0.2 192.0.2.2/udp", "a later fragment");
        assert_eq!(shown(&packet_of_four(ICMP, 0, &[8, 0])), "10.1.0.2 192.0.2.2/icmp");
        assert_eq!(shown(&packet_of_four(47, 0, &[])), "10.1.0.2 192.0.2.2/protocol-47");
        assert_eq!(shown(&packet_of_six(TCP, &ports)), "fd00::2 [2001:db8::2]:81/tcp");
        assert_eq!(shown(&packet_of_six(ICMP6, &[128, 0])), "fd00::2 2001:db8::2/icmp6");
        let options = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &ports].concat();
        assert_eq!(shown(&packet_of_six(60, &options)), "fd00::2 [2001:db8::2]:81/udp");
        let fragment = |offset: u8| [&[UDP, 0, 0, offset, 0, 0, 0, 9][..], &ports].concat();
        assert_eq!(shown(&packet_of_six(44, &fragment(1))), "fd00::2 [2001:db8::2]:81/udp");
        assert_eq!(shown(&packet_of_six(44, &fragment(8))), "fd00::2 2001:db8::2/udp");
        let all = read(&logged(&packet_of_four(TCP, 0, &ports))).next().expect("one");
        assert_eq!((all.sequence, all.bridge, all.why), (Some(41), 7, Denial::LinkLocal));
    }

    #[test]
    fn what_is_not_ours_or_cut_off_is_nothing() {
        for packet in [&[][..], &[0x45], &[0x60; 39], &[0x25; 60]] {
            assert_eq!(shown(packet), "");
        }
        let other = message(&[
            attribute(INTERFACE, &[0; 4]),
            attribute(PREFIX, b"ulogd\0"),
            attribute(PAYLOAD, &packet_of_four(TCP, 0, &[0; 8])),
        ]);
        assert_eq!(read(&other).count(), 0);
        let mut later = logged(&packet_of_four(TCP, 0, &[0; 8]));
        later.extend(logged(&packet_of_six(UDP, &[0; 8])));
        assert_eq!(read(&later).count(), 2, "two in one read");
    }

    proptest! {
        /// Whatever the packet is, reading it ends.
        #[test]
        fn any_packet_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200), first in prop::sample::select(vec![0x45_u8, 0x4f, 0x60])) {
            let mut packet = bytes.clone();
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            prop_assert!(read(&bytes).count() <= 8);
            let whole = packet.len() >= if first == 0x60 { 40 } else { 20 };
            prop_assert_eq!(read(&logged(&packet)).count(), usize::from(whole));
        }
    }
}
