//! Terminals: the container's own devpts gives the pair, the master leaves by a socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Life;
use super::mounts::{attach, clone_of};
use super::resolve::{file, is_character, look};
use crate::channel::send_bytes;
use crate::plan::At;

/// Opens a pseudo-terminal of the container's, sends its master away and keeps its slave, which is bound at `console`
/// too.
pub(super) fn open(life: &Life<'_>, root: BorrowedFd<'_>, console_at: Option<&At>) -> Result<(), Errno> {
    let console = life.hands.console.as_ref().ok_or(Errno::NOTCONN)?;
    let slave = open_pty_and_send(root, console.as_fd(), life.plan.process.terminal.and_then(|t| t.size))?;
    if let Some(at) = console_at {
        attach(clone_of(slave.as_fd(), false)?.as_fd(), file(root, at)?.as_fd())?;
    }
    life.slave.set(slave).map_err(|_set_before| Errno::EXIST)
}

/// Opens a pseudo-terminal beneath `root`, sends its master over `socket`, and gives its slave.
pub fn open_pty_and_send(
    root: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    size: Option<(u16, u16)>,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = match look(root, c"dev/pts/ptmx", flags) {
        Err(Errno::NOENT) => look(root, c"dev/ptmx", flags)?,
        other => other?,
    };
    // A file of the image's must not pass for the multiplexer: its "master" would be the image's choice.
    if !is_character(master.as_fd(), 5, 2)? {
        return Err(Errno::NODEV);
    }
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    if let Some((rows, columns)) = size {
        tcsetwinsize(&slave, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    send_bytes(socket, b"/dev/ptmx", Some(master.as_fd()))?;
    Ok(slave)
}
