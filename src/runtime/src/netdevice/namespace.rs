//! Sockets that belong to another network namespace.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, getpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use casemate_core::procfs::Proc;

/// A route netlink socket (rtnetlink(7)) of the network namespace that `pid` lives in; this thread is back in its own
/// when the function returns.
///
/// # Errors
/// setns(2): `EPERM` without `CAP_SYS_ADMIN` over the namespace.
pub fn route_socket(proc: &Proc, pid: Pid) -> Result<OwnedFd, Errno> {
    let own = proc.namespace(getpid(), "net")?;
    let theirs = proc.namespace(pid, "net")?;
    let enter = |space: &OwnedFd| move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network));
    enter(&theirs)?;
    // NETLINK_ROUTE is protocol 0, the default.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
    enter(&own)?;
    socket
}
