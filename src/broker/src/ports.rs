//! Ports of the host that containers publish: each is held by a socket that never listens, so that no program of the
//! host takes it, and none that has it loses it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use casemate_spec::wire::{Endpoint, HexId, Protocol, Published, Refusal, RefusalKind};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::refusal::refuse;

/// Takes all of them, or none.
///
/// # Errors
/// One is taken already.
pub fn reserve(endpoints: &[Endpoint]) -> Result<Vec<(HexId, OwnedFd)>, Refusal> {
    let ports = endpoints.iter().flat_map(|endpoint| endpoint.ports.iter().map(|port| (&endpoint.id, *port)));
    ports.map(|(id, port)| hold(port).map(|socket| (id.clone(), socket))).collect()
}

fn hold(published: Published) -> Result<OwnedFd, Refusal> {
    let (kind, word) = match published.protocol {
        Protocol::Tcp => (SocketType::STREAM, "tcp"),
        Protocol::Udp => (SocketType::DGRAM, "udp"),
    };
    take(kind, published.host, false)
        .or_else(|errno| match errno {
            // Connections that have ended just now are no reason; whoever listens still is.
            Errno::ADDRINUSE if kind == SocketType::STREAM => take(kind, published.host, true),
            other => Err(other),
        })
        .map_err(|errno| {
            let host = published.host;
            let why = casemate_spec::Error::os(format!("listen {word} {host}"), errno.raw_os_error());
            let taken = matches!(errno, Errno::ADDRINUSE | Errno::ADDRNOTAVAIL);
            refuse(if taken { RefusalKind::Conflict } else { RefusalKind::Failed }, why.to_string())
        })
}

fn take(kind: SocketType, host: SocketAddr, again: bool) -> Result<OwnedFd, Errno> {
    let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if host.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if again {
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if kind == SocketType::DGRAM {
        // What comes while the rules are away is not kept for anybody.
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    rustix::net::bind(&socket, &host)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_port_is_held_against_others_and_others_hold_theirs() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let host = listener.local_addr().expect("an address");
        let published = Published { protocol: Protocol::Tcp, host, port: 80 };
        assert_eq!(hold(published).map_err(|refusal| refusal.kind).err(), Some(RefusalKind::Conflict));
        drop(listener);
        let held = hold(published).expect("held");
        assert!(TcpListener::bind(host).is_err(), "std's has SO_REUSEADDR");
        assert!(UdpSocket::bind(host).is_ok(), "another protocol's");
        drop(held);
        assert!(TcpListener::bind(host).is_ok());
    }
}
