//! Where sockets are handed in: by `casemate-net`, those of containers; by the broker, the daemon's.

use std::io::{ErrorKind, Result as IoResult};
use std::net::{TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::rc::Rc;
use std::time::Duration;

use casemate_spec::wire::Opened;
use casemate_spec::{Error, Result};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::time::timeout;

use crate::packet::Packets;
use crate::resolver::Resolver;

/// Whoever connects has something to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// A packet here is an id with a few words around it.
const LONGEST: usize = 1024;
/// Connections of one container that wait to be taken up.
const BACKLOG: i32 = 64;

/// Standard input.
///
/// # Errors
/// It is no listening socket.
pub fn open() -> Result<UnixListener> {
    let failed = |error: std::io::Error| {
        Error::io("standard input", &error).hint("it must be a listening SOCK_SEQPACKET socket")
    };
    let socket = rustix::stdio::stdin().try_clone_to_owned().map_err(failed)?;
    let suits = sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::SEQPACKET)
        && sockopt::socket_acceptconn(&socket).unwrap_or(false);
    if !suits {
        return Err(failed(ErrorKind::InvalidInput.into()));
    }
    rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| failed(errno.into()))?;
    UnixListener::from_std(StdUnixListener::from(socket)).map_err(failed)
}

/// Takes in whatever is handed to us, for ever.
pub async fn attend(resolver: &Rc<Resolver>, door: UnixListener) -> Result<()> {
    loop {
        match door.accept().await {
            Ok((caller, _)) => {
                let resolver = Rc::clone(resolver);
                tokio::task::spawn_local(async move {
                    let taken = match caller.into_std() {
                        Ok(caller) => take(&resolver, caller.into()).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = taken {
                        eprintln!("casemate-dns: {}", Error::io("what was handed in", &error));
                    }
                });
            }
            // No descriptors are left, or whoever called has gone: neither is for ever.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn take(resolver: &Rc<Resolver>, caller: OwnedFd) -> IoResult<()> {
    let caller = Packets::new(caller)?;
    let mut buffer = [0; LONGEST];
    let (length, given) = timeout(PATIENCE, caller.receive(&mut buffer)).await??;
    let opened: Opened = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
    match opened {
        Opened::Sockets { container } => {
            let [udp, tcp] = <[OwnedFd; 2]>::try_from(given).map_err(|_| ErrorKind::InvalidInput)?;
            resolver.serve(container, datagrams(udp)?, streams(tcp)?);
            Ok(())
        }
        Opened::Daemon => {
            let [daemon] = <[OwnedFd; 1]>::try_from(given).map_err(|_| ErrorKind::InvalidInput)?;
            resolver.follow(daemon)
        }
    }
}

fn datagrams(socket: OwnedFd) -> IoResult<UdpSocket> {
    internet(&socket, SocketType::DGRAM)?;
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

fn streams(socket: OwnedFd) -> IoResult<TcpListener> {
    internet(&socket, SocketType::STREAM)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(StdTcpListener::from(socket))
}

fn internet(socket: &OwnedFd, kind: SocketType) -> IoResult<()> {
    let family = sockopt::socket_domain(socket)?;
    let suits = matches!(family, AddressFamily::INET | AddressFamily::INET6);
    if !suits || sockopt::socket_type(socket)? != kind {
        return Err(ErrorKind::InvalidInput.into());
    }
    Ok(rustix::io::ioctl_fionbio(socket, true)?)
}
