//! Where a container's terminal goes: to an engine's socket, or to ours.

use std::os::fd::OwnedFd;
use std::path::Path;

use casemate_spec::{Error, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, recvmsg, socket_with, socketpair,
};

/// The two ends of the way that a terminal's master takes.
#[derive(Debug)]
pub struct Console {
    /// The child's end.
    pub theirs: OwnedFd,
    /// Ours, when the terminal is for this process.
    pub ours: Option<OwnedFd>,
}

impl Console {
    /// Chooses by what the process wants, whether this command returns at once, and what the caller offers.
    ///
    /// # Errors
    /// The three do not fit, or the socket cannot be connected to.
    pub fn choose(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<Option<Self>> {
        match (terminal, socket) {
            (false, Some(_)) => Err(Error::new(
                "--console-socket",
                "cannot use console socket if runtime will not detach or allocate tty",
            )),
            (false, None) => Ok(None),
            (true, Some(path)) => Ok(Some(Self { theirs: connected(path)?, ours: None })),
            (true, None) if detach => Err(Error::new(
                "terminal",
                "cannot allocate tty if runtime will detach without setting console socket",
            )
            .hint("--console-socket names a socket that receives the terminal")),
            (true, None) => {
                let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
                let (ours, theirs) = pair.map_err(|e| Error::os("make a socket pair", e.raw_os_error()))?;
                Ok(Some(Self { theirs, ours: Some(ours) }))
            }
        }
    }
}

fn connected(path: &Path) -> Result<OwnedFd> {
    let failed = |errno: rustix::io::Errno| {
        Error::os(format!("connect to console socket {}", path.display()), errno.raw_os_error())
    };
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    Ok(socket)
}

/// Receives the master that a child sent.
pub fn receive_master(socket: &OwnedFd) -> Result<OwnedFd> {
    let mut bytes = [0_u8; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|errno| Error::os("receive the terminal", errno.raw_os_error()))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(Error::new("receive the terminal", "none was sent"))
}
