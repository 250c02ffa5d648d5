//! Giving up what is not needed: first what no order takes, before a byte of one is read; then what this one does not.

mod filter;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::AsFd as _;

use casemate_core::surrender::{give_up, leave_files};
use casemate_spec::wire::{NET, NetOrder, STORE_IDS};
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, getgid, getuid, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, capabilities};

/// Where a network's parameters are.
const SETTINGS: &str = "/proc/sys/net";

/// Links and rules; another network namespace; another user.
const LEAST: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID);
/// The same, and a process' own files in /proc, where that is another user's.
const MOST: CapabilitySet = LEAST.union(CapabilitySet::SYS_PTRACE);

/// What of the kernel an order takes beyond the links and rules of the network namespace in which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Parameters, beneath /proc/sys/net.
    settings: bool,
    /// To enter another network namespace, which has been opened.
    namespace: bool,
    /// To open the sockets for names there, and to hand them over.
    names: bool,
}

impl Needs {
    /// An order's.
    pub fn of(order: &NetOrder) -> Self {
        let none = Self { settings: false, namespace: false, names: false };
        match order {
            NetOrder::Make { .. } | NetOrder::Repair { .. } => Self { settings: true, ..none },
            NetOrder::Attach { resolver, .. } => {
                Self { settings: true, namespace: true, names: resolver.is_some() }
            }
            NetOrder::Detach { inside, .. } => Self { namespace: *inside, ..none },
            NetOrder::Drop { .. } | NetOrder::Admit { .. } | NetOrder::Listen => none,
        }
    }

    fn capabilities(self) -> CapabilitySet {
        let entering = if self.namespace { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
        CapabilitySet::NET_ADMIN | entering
    }
}

/// Keeps what some order needs, and nothing that could be got by starting another program.
///
/// # Errors
/// The kernel's; one that is needed is not there.
pub fn shed() -> Result<()> {
    let now = capabilities(None).map_err(failed)?;
    if !now.permitted.contains(LEAST) {
        return Err(Error::new("casemate-net", "it must be started by root"));
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    remain(now.permitted & MOST).map_err(failed)?;
    filter::reading()
}

/// Becomes nobody who owns a file, with what this order needs. Whatever root alone may open has been opened.
///
/// In a user namespace that does not have such an identity, as that of a user without root, root stays what it is:
/// somebody who owns nothing of the host's but the user's own.
///
/// # Errors
/// The kernel refuses a step: the caller must not go on.
pub fn settle(needs: Needs) -> Result<()> {
    // A kernel without the place has nothing to be set.
    let settings = if needs.settings { File::open(SETTINGS).ok() } else { None };
    let kept = needs.capabilities();
    match give_up(STORE_IDS + NET, STORE_IDS + NET, kept) {
        Err(Errno::INVAL) => remain(kept),
        done => done,
    }
    .map_err(failed)?;
    let places: Vec<_> = settings.iter().map(|place| place.as_fd()).collect();
    // The sockets for names are bound, and nobody is connected to.
    leave_files(&places, true)
        .map_err(|errno| Error::os("enter the Landlock domain", errno.raw_os_error()))?;
    filter::working(needs)
}

/// The same user, with these capabilities alone.
fn remain(kept: CapabilitySet) -> Result<(), Errno> {
    give_up(getuid().as_raw(), getgid().as_raw(), kept)
}

fn failed(errno: Errno) -> Error {
    Error::os("give privilege away", errno.raw_os_error())
}
