//! rtnetlink(7): interfaces, their addresses and routes.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use casemate_spec::wire::Subnet;
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::net::AddressFamily;

use crate::netlink::{CREATE, EXCL, REPLACE, Socket, Writer, attributes, word};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

/// `IFLA_*`
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const NAMESPACE: u16 = 28;
/// `IFLA_INFO_*`
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
/// `IFF_UP`
const UP: u32 = 1;

/// The interfaces of the network namespace in which this was opened.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
    /// For questions by name.
    names: std::os::fd::OwnedFd,
}

/// What is known of one end of a pair.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its MAC, chosen by the kernel where there is none.
    pub mac: Option<[u8; 6]>,
}

impl Links {
    /// Of the present network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> Result<Self> {
        let names = rustix::net::socket_with(
            AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        );
        let names = names.map_err(|errno| failed("socket", errno))?;
        Ok(Self { socket: Socket::open(None)?, names })
    }

    /// An interface's number.
    pub fn index(&self, name: &str) -> Option<u32> {
        rustix::net::netdevice::name_to_index(&self.names, name).ok()
    }

    fn known(&self, name: &str) -> Result<u32> {
        rustix::net::netdevice::name_to_index(&self.names, name).map_err(|errno| failed(name, errno))
    }

    /// Makes a bridge, or makes one that is there be so; it is not up yet.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bridge(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<()> {
        /// `IFLA_BR_*`
        const FORWARD_DELAY: u16 = 1;
        const SPANNING_TREE: u16 = 5;
        const GROUP_FORWARD: u16 = 9;
        const SNOOPING: u16 = 23;
        let made = self.socket.ask(NEW_LINK, CREATE, |message| {
            interface(message, 0, 0);
            message.text(NAME, name);
            message.attribute(ADDRESS, &mac);
            message.native(MTU, mtu);
            message.nest(INFO, |info| {
                info.text(INFO_KIND, "bridge");
                info.nest(INFO_DATA, |data| {
                    data.native(FORWARD_DELAY, 0);
                    data.native(SPANNING_TREE, 0);
                    data.attribute(GROUP_FORWARD, &[0; 2]);
                    // Groups are flooded: neighbour discovery does not depend on what was overheard.
                    data.attribute(SNOOPING, &[0]);
                });
            });
        });
        made.map_err(|errno| failed(name, errno))
    }

    /// Makes a pair: one end here, down, a port of a bridge; the other where `namespace` says, from its first moment.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` where a name is taken.
    pub fn pair(
        &self,
        here: End<'_>,
        there: End<'_>,
        namespace: BorrowedFd<'_>,
        bridge: &str,
        mtu: u32,
    ) -> Result<()> {
        /// `VETH_INFO_PEER`
        const PEER: u16 = 1;
        let master = self.known(bridge)?;
        let made = self.socket.ask(NEW_LINK, CREATE | EXCL, |message| {
            interface(message, 0, 0);
            end(message, here, mtu);
            message.native(MASTER, master);
            message.nest(INFO, |info| {
                info.text(INFO_KIND, "veth");
                info.nest(INFO_DATA, |data| {
                    data.nest(PEER, |peer| {
                        interface(peer, 0, 0);
                        end(peer, there, mtu);
                        peer.attribute(NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        });
        made.map_err(|errno| failed(here.name, errno))
    }

    /// Makes a port of a bridge one that talks to the host alone, or to everybody; and one that gets back what it has
    /// sent, where that leads to itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_port(&self, port: &str, isolated: bool, hairpin: bool) -> Result<()> {
        /// `IFLA_BRPORT_*`
        const MODE: u16 = 4;
        const ISOLATED: u16 = 33;
        let index = self.known(port)?;
        let done = self.socket.ask(NEW_LINK, 0, |message| {
            interface(message, index, 0);
            message.nest(INFO, |info| {
                info.text(INFO_PORT_KIND, "bridge");
                info.nest(INFO_PORT_DATA, |data| {
                    data.attribute(MODE, &[hairpin.into()]);
                    data.attribute(ISOLATED, &[isolated.into()]);
                });
            });
        });
        done.map_err(|errno| failed(port, errno))
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enslave(&self, port: &str, bridge: &str) -> Result<()> {
        let (index, master) = (self.known(port)?, self.known(bridge)?);
        let done = self.socket.ask(NEW_LINK, 0, |message| {
            interface(message, index, 0);
            message.native(MASTER, master);
        });
        done.map_err(|errno| failed(port, errno))
    }

    /// Makes an interface with a MAC of its own upon one of the host's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn macvlan(
        &self,
        parent: &str,
        there: End<'_>,
        namespace: BorrowedFd<'_>,
        mtu: Option<u32>,
    ) -> Result<()> {
        /// `IFLA_MACVLAN_MODE`, `MACVLAN_MODE_BRIDGE`
        const MODE: (u16, u32) = (1, 4);
        let parent = self.known(parent)?;
        let made = self.socket.ask(NEW_LINK, CREATE | EXCL, |message| {
            interface(message, 0, 0);
            message.text(NAME, there.name);
            if let Some(mac) = there.mac {
                message.attribute(ADDRESS, &mac);
            }
            if let Some(mtu) = mtu {
                message.native(MTU, mtu);
            }
            message.native(LINK, parent);
            message.attribute(NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
            message.nest(INFO, |info| {
                info.text(INFO_KIND, "macvlan");
                info.nest(INFO_DATA, |data| data.native(MODE.0, MODE.1));
            });
        });
        made.map_err(|errno| failed(there.name, errno))
    }

    /// Takes an interface up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn up(&self, name: &str) -> Result<()> {
        self.change(name, |_| {})
    }

    /// The same for one of the host's, and writes down whose it is (`ip link` shows it as its alias).
    ///
    /// # Errors
    /// The kernel's.
    pub fn up_for(&self, name: &str, owner: &str) -> Result<()> {
        self.change(name, |message| message.text(ALIAS, owner))
    }

    fn change(&self, name: &str, more: impl FnOnce(&mut Writer)) -> Result<()> {
        let index = self.known(name)?;
        let done = self.socket.ask(NEW_LINK, 0, |message| {
            interface(message, index, UP);
            more(message);
        });
        done.map_err(|errno| failed(name, errno))
    }

    /// Takes an interface down; one that is not there is as good.
    ///
    /// # Errors
    /// The kernel's.
    pub fn down(&self, name: &str) -> Result<()> {
        let Some(index) = self.index(name) else { return Ok(()) };
        let gone = self.socket.ask(NEW_LINK, 0, |message| {
            message.raw(&[0; 4]);
            message.raw(&index.to_ne_bytes());
            // What it is to be, and of that what is meant.
            message.raw(&[0; 4]);
            message.raw(&UP.to_ne_bytes());
        });
        match gone {
            Ok(()) | Err(Errno::NODEV) => Ok(()),
            Err(errno) => Err(failed(name, errno)),
        }
    }

    /// The names of all ports of these bridges.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ports(&self, bridges: &[String]) -> Result<Vec<String>> {
        let masters: Vec<u32> = bridges.iter().filter_map(|bridge| self.index(bridge)).collect();
        let mut found = Vec::new();
        let listed = self.socket.list(
            GET_LINK,
            |message| interface(message, 0, 0),
            |message| {
                let attributes = || attributes(message.body.get(16..).unwrap_or_default());
                let is = |wanted: u16| attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
                let master = is(MASTER).and_then(|value| word(value, 0));
                let name = is(NAME).and_then(|value| value.strip_suffix(&[0]));
                if master.is_some_and(|master| masters.contains(&master))
                    && let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok())
                {
                    found.push(name.to_owned());
                }
            },
        );
        listed.map_err(|errno| failed("links", errno))?;
        Ok(found)
    }

    /// Waits for an interface to work, but not for long: the kernel takes it up in its own time, and the first packet that
    /// is lost meanwhile is sent again after a whole second.
    ///
    /// # Errors
    /// The kernel's.
    pub fn settle(&self, name: &str) -> Result<()> {
        const TRIES: u32 = 100;
        const PAUSE: Duration = Duration::from_micros(500);
        let index = self.known(name)?;
        for _ in 0..TRIES {
            if self.works(index).map_err(|errno| failed(name, errno))? {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn works(&self, index: u32) -> Result<bool, Errno> {
        /// `IFLA_OPERSTATE`, `IF_OPER_UP`
        const STATE: (u16, u8) = (16, 6);
        let mut works = false;
        self.socket.hear(
            GET_LINK,
            |message| interface(message, index, 0),
            |message| {
                let mut attributes = attributes(message.body.get(16..).unwrap_or_default());
                works |= attributes.any(|(kind, value)| kind == STATE.0 && value.first() == Some(&STATE.1));
            },
        )?;
        Ok(works)
    }

    /// Removes an interface; one that is not there is as good.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete(&self, name: &str) -> Result<()> {
        let gone = self.socket.ask(DELETE_LINK, 0, |message| {
            interface(message, 0, 0);
            message.text(NAME, name);
        });
        match gone {
            Ok(()) | Err(Errno::NODEV) => Ok(()),
            Err(errno) => Err(failed(name, errno)),
        }
    }

    /// Gives an interface an address; one that it has is as good. IPv6's is not asked for on the link first: the broker
    /// has seen to it that nobody else has it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        /// `IFA_*`, `IFA_F_NODAD`
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        const BROADCAST: u16 = 4;
        const FLAGS: (u16, u32) = (8, 2);
        let index = self.known(name)?;
        let given = self.socket.ask(NEW_ADDRESS, CREATE | REPLACE, |message| {
            message.raw(&[family(address), prefix, 0, 0]);
            message.raw(&index.to_ne_bytes());
            message.attribute(LOCAL, &octets(address));
            message.attribute(ADDRESS, &octets(address));
            if address.is_ipv4() {
                let last = Subnet { address, prefix, gateway: None }.last();
                message.attribute(BROADCAST, &octets(last));
            } else {
                message.native(FLAGS.0, FLAGS.1);
            }
        });
        given.map_err(|errno| failed(&format!("address {address} of {name}"), errno))
    }

    /// Makes the way to everywhere lead through `gateway`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn default_route(&self, name: &str, gateway: IpAddr) -> Result<()> {
        /// `RTA_*`
        const OUT: u16 = 4;
        const GATEWAY: u16 = 5;
        /// Table `main`, protocol `boot`, scope `universe`, type `unicast`.
        const MAIN: [u8; 4] = [254, 3, 0, 1];
        let index = self.known(name)?;
        let made = self.socket.ask(NEW_ROUTE, CREATE | REPLACE, |message| {
            message.raw(&[family(gateway), 0, 0, 0]);
            message.raw(&MAIN);
            message.raw(&[0; 4]);
            message.native(OUT, index);
            message.attribute(GATEWAY, &octets(gateway));
        });
        made.map_err(|errno| failed(&format!("route by {gateway}"), errno))
    }

    /// The first route of the host's that leads to addresses of a subnet by another interface than `own`; the way to
    /// everywhere does not count.
    ///
    /// # Errors
    /// The kernel's.
    pub fn overlapping(&self, subnet: &Subnet, own: &str) -> Result<Option<Subnet>> {
        let own = self.index(own);
        let mut found = None;
        let listed = self.socket.list(
            GET_ROUTE,
            |message| message.raw(&[family(subnet.address), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            |message| {
                if let Some((route, out)) = route(message.body)
                    && (out.is_none() || out != own)
                    && route.overlaps(subnet)
                {
                    found = found.or(Some(route));
                }
            },
        );
        listed.map_err(|errno| failed("routes", errno))?;
        Ok(found)
    }

    /// Whether an address is the host's own; one to which there is no way is not.
    pub fn is_local(&self, address: IpAddr) -> bool {
        /// `RTA_DST`, `RTN_LOCAL`
        const DESTINATION: u16 = 1;
        const LOCAL: u8 = 2;
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let mut local = false;
        let heard = self.socket.hear(
            GET_ROUTE,
            |message| {
                message.raw(&[family(address), prefix, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                message.attribute(DESTINATION, &octets(address));
            },
            |message| local |= message.body.get(7) == Some(&LOCAL),
        );
        heard.is_ok() && local
    }
}

/// Where a route leads to, and by which interface: unicast ones of the main table.
fn route(body: &[u8]) -> Option<(Subnet, Option<u32>)> {
    const DESTINATION: u16 = 1;
    const OUT: u16 = 4;
    const MAIN: u8 = 254;
    const UNICAST: u8 = 1;
    let [_, prefix, _, _, table, _, _, kind, ..] = body else { return None };
    if (*table, *kind) != (MAIN, UNICAST) || *prefix == 0 {
        return None;
    }
    let (mut address, mut out) = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            DESTINATION => address = parse(value),
            OUT => out = word(value, 0),
            _ => {}
        }
    }
    Some((Subnet { address: address?, prefix: *prefix, gateway: None }, out))
}

/// An address, of either family.
pub fn parse(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let six = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    four.or(six).ok()
}

/// An address as packets have it.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `AF_INET`, `AF_INET6`
pub fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

/// `ifinfomsg`
fn interface(message: &mut Writer, index: u32, flags: u32) {
    message.raw(&[0; 4]);
    message.raw(&index.to_ne_bytes());
    message.raw(&flags.to_ne_bytes());
    // What is not asked for stays.
    message.raw(&flags.to_ne_bytes());
}

fn end(message: &mut Writer, end: End<'_>, mtu: u32) {
    message.text(NAME, end.name);
    message.native(MTU, mtu);
    if let Some(mac) = end.mac {
        message.attribute(ADDRESS, &mac);
    }
}

fn failed(what: &str, errno: Errno) -> Error {
    Error::os(what, errno.raw_os_error())
}
