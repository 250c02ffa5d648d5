//! A process's terminal, as the runtime hands it over.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, listen, recvmsg, socket_with,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::streams::{Streams, unblock};

/// The socket that the runtime sends a terminal to.
#[derive(Debug)]
pub struct Console(OwnedFd);

impl Console {
    /// Its name in the directory.
    pub const NAME: &str = "console";

    /// Listens in a directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(dir: BorrowedFd<'_>) -> Result<Self> {
        let make = || -> Result<OwnedFd, Errno> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), Self::NAME);
            bind(&socket, &SocketAddrUnix::new(path)?)?;
            listen(&socket, 1)?;
            Ok(socket)
        };
        make().map(Self).map_err(|errno| Error::os("listen for the terminal", errno.raw_os_error()))
    }

    /// Takes the terminal that has been sent, once the runtime has ended.
    ///
    /// # Errors
    /// None was sent, or it is no terminal.
    pub fn receive(self, dir: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<Streams> {
        let take = || -> Result<Streams, Errno> {
            unlinkat(dir, Self::NAME, AtFlags::empty())?;
            let master = unblock(self.descriptor()?)?;
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let near = ioctl_tiocgptpeer(&master, flags)?;
            if let Some((rows, columns)) = size {
                resize(master.as_fd(), rows, columns)?;
            }
            let input = Some(fcntl_dupfd_cloexec(&master, 0)?);
            Ok(Streams { input, output: Some(master), error: None, near: Some(near) })
        };
        take().map_err(|errno| Error::os("take the terminal", errno.raw_os_error()))
    }

    fn descriptor(&self) -> Result<OwnedFd, Errno> {
        let sender = accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let mut bytes = [0_u8; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&sender, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let rights = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
            _ => None,
        });
        rights.ok_or(Errno::NOTTY)
    }
}

/// Sets a terminal's size; its foreground group gets SIGWINCH if it is another one.
///
/// # Errors
/// It is no terminal.
pub fn resize(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<(), Errno> {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
}
