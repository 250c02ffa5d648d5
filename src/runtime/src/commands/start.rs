//! `start`: lets a created container's program run.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use casemate_core::birth::{self, Failure};
use casemate_policy::Confinement;
use casemate_spec::{Error, Result};
use oci_spec::runtime::Spec;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::birth::{explain, refresh};
use crate::cli::{Global, IdArgs};
use crate::hooks::{self, State};
use crate::notify;
use crate::plan::{self, Context};
use crate::store::{CONFIG, Container, Home, Record, Root, START_SOCKET, Status};

/// Runs the command.
///
/// # Errors
/// The container is not in the state created, or its program cannot be run.
pub fn start(global: &Global, args: &IdArgs) -> Result<ExitCode> {
    let container = Root::locked(global, &args.id)?;
    let init = container.init()?;
    match container.status_with(init.as_ref())? {
        Status::Created => {}
        Status::Stopped => return Err(Error::new("", "cannot start a container that has stopped")),
        Status::Running | Status::Paused => {
            return Err(Error::new("", "cannot start an already running container"));
        }
        Status::Creating => return Err(Error::new("", "cannot start a container in the creating state")),
    }
    let home = container.home();
    let bytes =
        home.read(CONFIG)?.ok_or_else(|| Error::new("config.json", "the container has lost its copy"))?;
    let spec = casemate_spec::parse(&bytes)?.spec;
    let pid = container.record().init.map_or(0, |init| init.pid);
    refresh(container.record());
    let connection = connected(home)?;
    let mut trouble = None;
    let started =
        birth::start(connection, |listener| give(&spec, container.record(), pid, &listener, &mut trouble));
    if let Err(failure) = started {
        let error = trouble.unwrap_or_else(|| words(&spec, &container, failure));
        // Who hears of the failure deletes the container at once, and containerd refuses that while it knows of no end.
        let ended = init.map_or(Ok(true), |init| init.wait(Duration::from_secs(2)));
        return Err(ended.err().unwrap_or(error));
    }
    hooks::run_poststart(&spec, container.record());
    Ok(ExitCode::SUCCESS)
}

/// Hands a seccomp listener to its agent; the reason why it could not be is kept for whoever explains the failure.
pub fn give(
    spec: &Spec,
    record: &Record,
    pid: i32,
    listener: &OwnedFd,
    trouble: &mut Option<Error>,
) -> Result<(), Failure> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(());
    };
    let state = State::new(record, "created", Some(pid));
    notify::hand_over(profile, &record.oci_version, pid, &state, listener).map_err(|error| {
        *trouble = Some(error);
        Failure::Gone
    })
}

fn connected(home: &Home) -> Result<OwnedFd> {
    let failed = |errno: Errno| match errno {
        Errno::CONNREFUSED | Errno::NOENT => Error::new("start", "the container's init has ended"),
        errno => Error::os("connect to the waiting init", errno.raw_os_error()),
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    let path = format!("/proc/self/fd/{}/{START_SOCKET}", home.as_fd().as_raw_fd());
    connect(&socket, &SocketAddrUnix::new(path).map_err(failed)?).map_err(failed)?;
    Ok(socket)
}

/// The plan was the creator's; what it said of the last steps is in the configuration too.
fn words(spec: &Spec, container: &Container, failure: Failure) -> Error {
    let context = Context {
        id: container.home().id(),
        bundle: &container.record().bundle,
        placement: None,
        no_pivot: false,
        new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        window: None,
        in_user_namespace: false,
        keep_groups: false,
        ids: None,
        landlock_abi: 0,
        store: None,
    };
    plan::visit(spec, &Confinement::default(), &context)
        .map_or_else(|error| error, |plan| explain(&plan, failure))
}
