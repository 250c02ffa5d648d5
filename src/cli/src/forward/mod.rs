//! `casemate forward`: what comes to published ports of a user's containers. Their networks are in a network namespace of
//! their own, to which the kernel leads nothing that comes to the host without root's rules: it is passed on by hand.
//!
//! The broker binds sockets on the host and hands them in, so that no port is opened here. We are in the namespace of the
//! networks, and once we are we hold no privilege and no file.

mod door;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::os::fd::AsFd as _;

use casemate_spec::wire::{NET, STORE_IDS};
use casemate_spec::{Error, Result};
use landlock::{ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, Scope};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid, move_into_link_name_space, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::arguments::ForwardArgs;

/// Serves until whoever started it ends.
///
/// # Errors
/// There is no such namespace, or standard input is not the place where sockets are handed in.
pub fn forward(args: &ForwardArgs) -> Result<std::process::ExitCode> {
    enter(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("casemate forward", &error))?;
    runtime.block_on(async {
        let door = door::open()?;
        door::attend(&door).await
    })
}

fn enter(args: &ForwardArgs) -> Result<()> {
    let shown = args.namespace.display().to_string();
    let namespace = std::fs::File::open(&args.namespace).map_err(|error| Error::io(&shown, &error))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::os(shown, errno.raw_os_error()))?;
    // Two for each connection.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(failed)?;
    become_nobody().map_err(failed)?;
    leave_files().map_err(|error| Error::new("casemate forward", error.to_string()))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    // It may have ended before that.
    let parent = getppid().map(Pid::as_raw_pid).and_then(|parent| u32::try_from(parent).ok());
    if parent == Some(args.supervisor) {
        Ok(())
    } else {
        Err(Error::new("casemate forward", "nobody started it"))
    }
}

/// Whoever sets networks up owns no file, and we hold nothing else.
fn become_nobody() -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(STORE_IDS + NET), Gid::from_raw(STORE_IDS + NET));
    let none = CapabilitySet::empty();
    set_no_new_privs(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// landlock(7): all that is needed is open. An older kernel knows less of it, or nothing.
fn leave_files() -> Result<(), landlock::RulesetError> {
    let rules = Ruleset::default().handle_access(AccessFs::from_all(ABI::V6))?;
    rules.scope(Scope::from_all(ABI::V6))?.create()?.restrict_self().map(drop)
}

fn failed(errno: Errno) -> Error {
    Error::os("casemate forward", errno.raw_os_error())
}
