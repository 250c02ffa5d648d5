//! What the kernel remembers of connections (nf_conntrack): forgotten where it would lead packets to who is no more, or past
//! who is there now. A new connection asks the rules; one that is known does not.

use std::net::{IpAddr, SocketAddr};

use casemate_spec::wire::{Endpoint, Protocol};
use casemate_spec::{Error, Result};
use rustix::io::Errno;

use crate::link::{Links, family, octets, parse};
use crate::netlink::{Message, Socket, Writer, attributes};

/// `NFNL_SUBSYS_CTNETLINK`, with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// With it a removal is of one family alone.
const VERSION: u8 = 1;
/// `nfgenmsg`
const HEADER: usize = 4;
/// `CTA_*`
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
/// `CTA_TUPLE_*`
const ADDRESSES: u16 = 1;
const PORTS: u16 = 2;
/// `CTA_PROTO_*`
const PROTOCOL: u16 = 1;
const DESTINATION_PORT: u16 = 3;
/// `CTA_FILTER_FLAG(CTA_IP_SRC)` and `CTA_FILTER_FLAG(CTA_PROTO_NUM)`: what of a tuple is looked at.
const BY_SOURCE: u32 = 1;
const BY_PROTOCOL: u32 = 8;
const UDP: u8 = 17;

/// One connection, as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    /// Its first packet's tuple and its number, as they came: by these it is found again.
    tuple: Vec<u8>,
    number: Vec<u8>,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    port: u16,
    /// Who answers.
    answerer: IpAddr,
}

/// What the kernel remembers, in the network namespace in which this was opened.
#[derive(Debug)]
pub struct Flows(Socket);

impl Flows {
    /// Of the present network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> Result<Self> {
        Ok(Self(Socket::open(Some(rustix::net::netlink::NETFILTER))?))
    }

    /// Forgets all connections from and to these endpoints' addresses: who gets one next has neither the connections of who
    /// had it nor what was allowed to them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget<'a>(&self, endpoints: impl Iterator<Item = &'a Endpoint>) -> Result<()> {
        for (address, _) in endpoints.flat_map(|endpoint| &endpoint.addresses) {
            for tuple in [ORIGINAL, REPLY] {
                self.forget_address(*address, tuple)?;
            }
        }
        Ok(())
    }

    fn forget_address(&self, address: IpAddr, tuple: u16) -> Result<()> {
        let by_source = |message: &mut Writer| {
            message.nest(tuple, |body| {
                let kind = if address.is_ipv4() { 1 } else { 3 };
                body.nest(ADDRESSES, |one| one.attribute(kind, &octets(address)));
            });
            message.nest(FILTER, |filter| filter.native(tuple, BY_SOURCE));
        };
        let gone = self.0.ask(DELETE, 0, |message| {
            message.raw(&[family(address), VERSION, 0, 0]);
            by_source(message);
        });
        match gone {
            // One that is older than that: half a tuple is none to it, and it has to be told which they are.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                let found = self.find(family(address), by_source)?;
                let ours = |flow: &&Flow| flow.from == address || flow.answerer == address;
                self.delete(found.iter().filter(ours))
            }
            Err(errno) if errno != Errno::NOENT => Err(failed(errno)),
            _ => Ok(()),
        }
    }

    /// Forgets datagrams' ways to ports that were nobody's, or a program's of the host, and are published now. Whoever goes
    /// on sending from one port would never be led anywhere else.
    ///
    /// # Errors
    /// The kernel's.
    pub fn redirect(&self, endpoints: &[Endpoint], links: &Links) -> Result<()> {
        let ports = endpoints.iter().flat_map(|endpoint| &endpoint.ports);
        let ports: Vec<SocketAddr> =
            ports.filter(|port| port.protocol == Protocol::Udp).map(|port| port.host).collect();
        for four in [true, false] {
            let Some(first) = ports.iter().find(|host| host.is_ipv4() == four) else { continue };
            let found = self.find(family(first.ip()), |message| {
                message.nest(ORIGINAL, |tuple| {
                    tuple.nest(PORTS, |port| port.attribute(PROTOCOL, &[UDP]));
                });
                message.nest(FILTER, |filter| filter.native(ORIGINAL, BY_PROTOCOL));
            })?;
            let meant = |flow: &&Flow| {
                let of = |host: &SocketAddr| {
                    host.port() == flow.port && (host.ip() == flow.to || host.ip().is_unspecified())
                };
                // What passes through the host to that port of somebody else's is none of ours.
                flow.protocol == UDP
                    && flow.answerer == flow.to
                    && ports.iter().any(of)
                    && links.is_local(flow.to)
            };
            self.delete(found.iter().filter(meant))?;
        }
        Ok(())
    }

    fn find(&self, family: u8, filter: impl FnOnce(&mut Writer)) -> Result<Vec<Flow>> {
        let mut found = Vec::new();
        let listed = self.0.list(
            GET,
            |message| {
                message.raw(&[family, 0, 0, 0]);
                filter(message);
            },
            |message| found.extend(read(message)),
        );
        match listed {
            // A kernel that tells nobody of connections.
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(found),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn delete<'a>(&self, flows: impl Iterator<Item = &'a Flow>) -> Result<()> {
        for flow in flows {
            let gone = self.0.ask(DELETE, 0, |message| {
                message.raw(&[family(flow.to), 0, 0, 0]);
                message.nest(ORIGINAL, |tuple| tuple.raw(&flow.tuple));
                message.attribute(ID, &flow.number);
            });
            match gone {
                // It has ended meanwhile.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }
}

fn failed(errno: Errno) -> Error {
    Error::os("connections", errno.raw_os_error())
}

fn read(message: &Message<'_>) -> Option<Flow> {
    let body = message.body.get(HEADER..)?;
    let of = |wanted: u16| attribute(body, wanted);
    let (tuple, reply) = (of(ORIGINAL)?, of(REPLY)?);
    let (from, to) = ends(tuple)?;
    let (answerer, _) = ends(reply)?;
    let ports = attribute(tuple, PORTS)?;
    // Of what has no ports, none is anybody's.
    let port = attribute(ports, DESTINATION_PORT).and_then(|port| port.try_into().ok());
    Some(Flow {
        tuple: tuple.to_vec(),
        number: of(ID)?.to_vec(),
        from,
        to,
        protocol: *attribute(ports, PROTOCOL)?.first()?,
        port: port.map_or(0, u16::from_be_bytes),
        answerer,
    })
}

/// Source and destination.
fn ends(tuple: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let addresses = attribute(tuple, ADDRESSES)?;
    let mut values = attributes(addresses).map(|(_, value)| parse(value));
    Some((values.next()??, values.next()??))
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple(message: &mut Writer, kind: u16, from: [u8; 4], to: [u8; 4], port: u16) {
        message.nest(kind, |tuple| {
            tuple.nest(ADDRESSES, |ends| {
                ends.attribute(1, &from);
                ends.attribute(2, &to);
            });
            tuple.nest(PORTS, |ports| {
                ports.attribute(PROTOCOL, &[UDP]);
                ports.attribute(2, &40_000_u16.to_be_bytes());
                ports.attribute(DESTINATION_PORT, &port.to_be_bytes());
            });
        });
    }

    #[test]
    fn a_connection_is_read_as_the_kernel_writes_it() {
        let mut writer = Writer::default();
        writer.raw(&[2, 0, 0, 0]);
        tuple(&mut writer, ORIGINAL, [192, 0, 2, 2], [192, 0, 2, 1], 53);
        tuple(&mut writer, REPLY, [10, 0, 0, 2], [192, 0, 2, 2], 40_000);
        writer.network(ID, 77);
        let bytes = writer.bytes();
        let flow = read(&Message { kind: 256, sequence: 1, body: &bytes }).expect("a connection");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!((flow.from, flow.to, flow.answerer), (ip("192.0.2.2"), ip("192.0.2.1"), ip("10.0.0.2")));
        assert_eq!((flow.protocol, flow.port, flow.number), (UDP, 53, 77_u32.to_be_bytes().to_vec()));
        for cut in 0..bytes.len() - 8 {
            assert_eq!(read(&Message { kind: 256, sequence: 1, body: &bytes[..cut] }), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_says_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            read(&Message { kind: 256, sequence: 1, body: &bytes });
        }
    }
}
