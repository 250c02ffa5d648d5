//! Giving up what is not needed: first what no order takes, before a byte of one is read; then what this one does not.

mod domain;
mod filter;
#[cfg(test)]
mod tests;

use casemate_core::drop_bounding;
use casemate_spec::wire::{NET, NetOrder, STORE_IDS};
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, clear_ambient_capability_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

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
    set_no_new_privs(true).map_err(failed)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    clear_ambient_capability_set().map_err(failed)?;
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        drop_bounding(0).map_err(failed)?;
    }
    keep(now.permitted & MOST).map_err(failed)?;
    filter::reading()
}

/// Becomes nobody who owns a file, with what this order needs. Whatever root alone may open has been opened.
///
/// # Errors
/// The kernel refuses a step: the caller must not go on.
pub fn settle(needs: Needs) -> Result<()> {
    let domain = domain::rules(needs.settings)?;
    let user = become_nobody(STORE_IDS + NET).map_err(failed)?;
    keep(needs.capabilities()).map_err(failed)?;
    domain::enter(domain)?;
    filter::working(needs)?;
    prove(needs, user)
}

/// Takes an identity of its own, and gives it. In a user namespace that does not have it, as that of a user without root,
/// root stays what it is: somebody who owns nothing of the host's but the user's own.
fn become_nobody(id: u32) -> Result<Uid, Errno> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    // The change of the user would take all capabilities.
    set_keep_capabilities(true)?;
    match set_thread_res_gid(group, group, group) {
        Err(Errno::INVAL) => return Ok(rustix::process::getuid()),
        done => done?,
    }
    set_thread_groups(&[])?;
    set_thread_res_uid(user, user, user)?;
    Ok(user)
}

/// Asks the kernel whether it is so: a step that was forgotten would not fail.
fn prove(needs: Needs, user: Uid) -> Result<()> {
    let sets = capabilities(None).map_err(failed)?;
    let own = (rustix::process::getuid(), rustix::process::geteuid()) == (user, user);
    if own && sets.permitted == needs.capabilities() && sets.inheritable.is_empty() {
        return Ok(());
    }
    Err(Error::new("give privilege away", "it is not gone"))
}

fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

fn failed(errno: Errno) -> Error {
    Error::os("give privilege away", errno.raw_os_error())
}
