//! The sockets by which a container asks for names: opened in its network namespace, and handed to the resolver.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};

use casemate_spec::wire::{HexId, Opened};
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use crate::arguments::Arguments;
use crate::netlink::Socket;
use crate::rules;

/// Where names are asked for.
const NAMES: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);
const BACKLOG: i32 = 64;

/// The resolver's own socket, opened while we are where it is.
///
/// # Errors
/// Nobody listens there.
pub fn connect(arguments: &Arguments) -> Result<OwnedFd> {
    let Some(path) = &arguments.resolver else {
        return Err(Error::new("resolver", "nobody said where it is").exit(2));
    };
    let failed = |errno: Errno| Error::os("resolver", errno.raw_os_error());
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
    let address = SocketAddrUnix::new(path.as_path()).map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(failed)?;
    Ok(socket)
}

/// Opens both in the present network namespace, leads questions to them, and hands them over.
///
/// # Errors
/// The kernel's.
pub fn open(container: &HexId, resolver: &OwnedFd, rules: &Socket) -> Result<()> {
    let (udp, udp_port) = bound(SocketType::DGRAM)?;
    let (tcp, tcp_port) = bound(SocketType::STREAM)?;
    let failed = |errno: Errno| Error::os("resolver", errno.raw_os_error());
    rustix::net::listen(&tcp, BACKLOG).map_err(failed)?;
    rules::answer_names(rules, udp_port, tcp_port)?;
    let message = serde_json::to_vec(&Opened::Sockets { container: container.clone() });
    let message = message.map_err(|error| Error::new("resolver", error.to_string()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let both = [udp.as_fd(), tcp.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&both)) {
        return Err(failed(Errno::TOOBIG));
    }
    rustix::net::sendmsg(resolver, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(failed)
}

fn bound(kind: SocketType) -> Result<(OwnedFd, u16)> {
    let failed = |errno: Errno| Error::os(NAMES.to_string(), errno.raw_os_error());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None).map_err(failed)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(NAMES, 0)).map_err(failed)?;
    let address = rustix::net::getsockname(&socket).map_err(failed)?;
    let address = SocketAddrV4::try_from(address).map_err(failed)?;
    Ok((socket, address.port()))
}
