//! `casemate forward`: what comes to published ports of a user's containers. Their networks are in a network namespace of
//! their own, to which the kernel leads nothing that comes to the host without root's rules: it is passed on by hand.
//!
//! The broker binds sockets on the host and hands them in, so that no port is opened here. We are in the namespace of the
//! networks, and hold no privilege once we are.

mod door;
mod tcp;
mod udp;

use std::os::fd::AsFd as _;

use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space, set_capabilities,
    set_no_new_privs,
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
    let failed = |errno: Errno| Error::os("casemate forward", errno.raw_os_error());
    let none = CapabilitySet::empty();
    set_no_new_privs(true).map_err(failed)?;
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed)?;
    // Two for each connection.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(failed)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    // It may have ended before that.
    let parent = getppid().map(Pid::as_raw_pid).and_then(|parent| u32::try_from(parent).ok());
    if parent == Some(args.supervisor) {
        Ok(())
    } else {
        Err(Error::new("casemate forward", "nobody started it"))
    }
}
