//! What the policy adds to the seal: a Landlock domain, and filters that are loaded before the bundle's own.

use casemate_core::plan::{Landlock, Process};
use casemate_policy::{Confinement, Landlock as Asked};
use casemate_spec::Result;

use super::Context;
use super::process::filter;
use super::text::place;

/// The newest ABI whose rights are restricted; a newer kernel has more rights, which then stay free.
const NEWEST: u32 = 7;
/// Since when TCP ports (Linux 6.7), abstract sockets and signals (Linux 6.12) can be restricted.
const WITH_PORTS: u32 = 4;
const WITH_SCOPES: u32 = 6;

pub(super) fn seal(process: &mut Process, confinement: &Confinement, context: &Context<'_>) -> Result<()> {
    let ours = confinement.filters.iter().map(filter).collect::<Result<Vec<_>>>()?;
    process.filters.splice(0..0, ours);
    if let Some(asked) = confinement.landlock.as_ref().filter(|_| context.landlock_abi > 0) {
        process.landlock = Some(landlock(asked, context.landlock_abi.min(NEWEST))?);
    }
    Ok(())
}

/// As much of what is asked as the kernel has: whether less will do was the policy's to say.
fn landlock(asked: &Asked, abi: u32) -> Result<Landlock> {
    let ports = |ports: &Option<Vec<u16>>| ports.clone().filter(|_| abi >= WITH_PORTS);
    Ok(Landlock {
        abi,
        writable: asked.writable.iter().map(|path| place(path)).collect::<Result<_>>()?,
        write_xor_execute: asked.write_xor_execute,
        bind: ports(&asked.bind_tcp),
        connect: ports(&asked.connect_tcp),
        scope_abstract_sockets: asked.scope_abstract_sockets && abi >= WITH_SCOPES,
        scope_signals: asked.scope_signals && abi >= WITH_SCOPES,
    })
}
