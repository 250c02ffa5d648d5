//! What egress rules refuse, told to somebody who has no privilege: a group of nfnetlink_log(7) tells the socket by which it
//! was asked for, whoever asked.

use std::os::fd::AsFd;

use casemate_spec::wire::Denial;
use casemate_spec::{Error, Result};
use rustix::io::Errno;

use crate::netlink::Socket;

/// `NFNL_SUBSYS_ULOG`, `NFULNL_MSG_CONFIG`
const CONFIGURE: u16 = 4 << 8 | 1;
/// Bytes of a packet: the headers of IPv6 with some extensions, and ports.
const COPIED: u32 = 96;
/// What may wait while nobody reads; each packet takes a page and a little.
const WAITING: usize = 2 << 20;

/// Has a netlink socket told of what the rules of a table refuse, at once and with a number for each, so that whoever reads
/// knows of how many it was not told.
///
/// # Errors
/// The kernel's; exit status 3 where somebody else is told already.
pub fn listen(socket: impl AsFd, table: &str) -> Result<()> {
    let group = Denial::group(table);
    let socket = Socket::given(socket, WAITING)?;
    let asked = socket.ask(CONFIGURE, 0, |body| {
        body.raw(&[0, 0]);
        body.raw(&group.to_be_bytes());
        // NFULNL_CFG_CMD_BIND
        body.attribute(1, &[1]);
        // NFULNL_COPY_PACKET
        body.attribute(2, &[&COPIED.to_be_bytes()[..], &[2, 0]].concat());
        // Packets in one message, and NFULNL_CFG_F_SEQ
        body.network(5, 1);
        body.attribute(6, &1_u16.to_be_bytes());
    });
    asked.map_err(|errno| match errno {
        // Another socket has the group, or this one has.
        Errno::PERM | Errno::BUSY => {
            let why = "somebody else on this host listens to it";
            Error::new(format!("log group {group}"), why).exit(3)
        }
        errno => Error::os(format!("log group {group}"), errno.raw_os_error()),
    })
}
