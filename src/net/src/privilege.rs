//! Giving up what is not needed, before a byte of the order is read.

use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Links and rules; another network namespace; its file in /proc, which is the container's.
const KEPT: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_ADMIN).union(CapabilitySet::SYS_PTRACE);

/// Keeps what is needed, and nothing that could be got by starting another program.
///
/// # Errors
/// The kernel's; one that is needed is not there.
pub fn shed() -> Result<()> {
    let failed = |errno: Errno| Error::os("give privilege away", errno.raw_os_error());
    let now = capabilities(None).map_err(failed)?;
    if !now.permitted.contains(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN) {
        return Err(Error::new("casemate-net", "it must be started by root"));
    }
    set_no_new_privs(true).map_err(failed)?;
    clear_ambient_capability_set().map_err(failed)?;
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        // Up to the kernel's last capability, which may be newer than this program.
        for number in 0..64 {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                Ok(()) => {}
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
    let kept = now.permitted & KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed)
}
