//! Where sockets are handed in. Each comes on a connection of its own, and is let go when that is closed.

use std::io::{ErrorKind, IoSliceMut, Result as IoResult};
use std::mem::MaybeUninit;
use std::net::{TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::Duration;

use casemate_spec::wire::{Forward, Protocol};
use casemate_spec::{Error, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{tcp, udp};

/// Whoever connects has something to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// One address with a few words around it.
const LONGEST: usize = 1024;
/// Connections of one port that wait to be taken up.
const BACKLOG: i32 = 1024;
/// What waits until no descriptor was left may find one.
const PAUSE: Duration = Duration::from_millis(100);

/// Standard input, which listens.
///
/// # Errors
/// It does not.
pub fn open() -> Result<UnixListener> {
    let failed = |error: std::io::Error| Error::io("standard input", &error);
    let socket = rustix::stdio::stdin().try_clone_to_owned().map_err(failed)?;
    rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| failed(errno.into()))?;
    UnixListener::from_std(StdUnixListener::from(socket)).map_err(failed)
}

/// Takes in whatever is handed to us, for ever.
pub async fn attend(door: &UnixListener) -> ! {
    let mut ports = JoinSet::new();
    loop {
        tokio::select! {
            caller = door.accept() => match caller {
                Ok((caller, _)) => drop(ports.spawn(serve(caller))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = ports.join_next() => {}
        }
    }
}

/// One port, as long as its connection is there.
async fn serve(caller: UnixStream) {
    let served = async {
        let (word, socket) = timeout(PATIENCE, receive(&caller)).await??;
        match word.protocol {
            Protocol::Tcp => tcp::serve(listening(socket)?, word.to, closed(&caller)).await,
            Protocol::Udp => udp::serve(datagrams(socket)?, word.to, closed(&caller)).await,
        }
        Ok(())
    };
    if let Err(error) = served.await {
        eprintln!("casemate forward: {}", Error::io("what was handed in", &error));
    }
}

/// Nothing more is said on it: whatever comes is its end.
async fn closed(caller: &UnixStream) {
    let read = || Ok(rustix::net::recv(caller, &mut [0; 1], RecvFlags::empty())?.0);
    // One that cannot be read is as good as closed.
    caller.async_io(Interest::READABLE, read).await.map(drop).unwrap_or_default();
}

async fn receive(caller: &UnixStream) -> IoResult<(Forward, OwnedFd)> {
    let take = || {
        let mut buffer = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            rustix::net::recvmsg(caller.as_fd(), &mut parts, &mut control, flags)?.bytes
        };
        let given = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((buffer.get(..read).unwrap_or_default().to_vec(), given))
    };
    let (bytes, given) = caller.async_io(Interest::READABLE, take).await?;
    Ok((serde_json::from_slice(&bytes)?, given.ok_or(ErrorKind::InvalidInput)?))
}

fn listening(socket: OwnedFd) -> IoResult<TcpListener> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    // Connections that have ended do not keep the port from being published again.
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(StdTcpListener::from(socket))
}

fn datagrams(socket: OwnedFd) -> IoResult<UdpSocket> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    // The broker's keep nothing.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, udp::BUFFER)?;
    UdpSocket::from_std(StdUdpSocket::from(socket))
}
