//! Moving a network device of the host's into a container (`linux.netDevices`, OCI runtime specification 1.3).
//!
//! The kernel takes a device down and forgets its addresses when it changes the network namespace, so the permanent
//! global ones are read before, and set again after.

mod message;
mod namespace;
mod route;

use casemate_core::procfs::Proc;
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use route::Route;

/// Moves the device `name` into the network namespace of `pid`, where it is called `inside` and is up.
///
/// # Errors
/// `ENODEV` when there is none of that name, `EEXIST` when the container has one called `inside`, `EINVAL` for a
/// device that cannot be moved (`lo`, and drivers that say so).
pub fn move_into(name: &str, inside: &str, pid: Pid, proc: &Proc) -> Result<()> {
    let what = |what: &str| format!("network device {name}: {what}");
    let failed = |step: &'static str| {
        let what = what(step);
        move |errno: Errno| Error::os(what, errno.raw_os_error())
    };
    let socket = namespace::route_socket(proc, getpid()).map_err(failed("open netlink"))?;
    let mut host = Route::new(socket);
    let index = host.index_of(name).map_err(failed("look up"))?;
    let addresses = host.addresses(index).map_err(failed("read addresses"))?;
    let space = proc.namespace(pid, "net").map_err(failed("open the container's network namespace"))?;
    host.hand_over(index, &space, inside).map_err(failed("move into the container"))?;
    let socket = namespace::route_socket(proc, pid).map_err(failed("open netlink in the container"))?;
    let mut container = Route::new(socket);
    let index = container.index_of(inside).map_err(failed("look up in the container"))?;
    for address in &addresses {
        container.add_address(index, address).map_err(failed("restore an address"))?;
    }
    container.bring_up(index).map_err(failed("bring up"))
}
