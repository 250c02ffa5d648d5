//! Waiting to be started; then sealed, and gone into the program.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::set_parent_process_death_signal;

use super::Life;
use super::stripped::{Key, Stripped, raise_ambient, set_sets};
use crate::channel::{Channel, Received};
use crate::report::{Fault, Record, Stage};
use crate::sys::exec::execve;
use crate::sys::fds::dangerous_close_all_but;
use crate::sys::seccomp::set_filter;

/// The fifth stage, over: somebody said start.
pub(super) struct Started<'a, 'l> {
    life: &'l Life<'a>,
    key: Key,
}

/// The sixth stage: nothing is left to do but to run.
pub(super) struct Sealed<'a, 'l> {
    life: &'l Life<'a>,
}

impl<'a, 'l> Started<'a, 'l> {
    /// Tells the parent that all is set up, and waits for `start`, from it or from a process yet to come.
    pub(super) fn wait(stripped: Stripped<'a, 'l>) -> Result<Self, Fault> {
        let Stripped { life, key } = stripped;
        let fault = |errno| Stage::Wait.fault(errno);
        let channel = &life.hands.channel;
        channel.send(Record::Ready).map_err(fault)?;
        let order = channel.receive().map_err(fault)?;
        // From here on the container outlives the process that made it.
        set_parent_process_death_signal(None).map_err(fault)?;
        match order {
            Received::Record(Record::Start, _) => {}
            Received::Record(Record::Release, _) => {
                channel.send(Record::Released).map_err(fault)?;
                let starter = await_start(life).map_err(fault)?;
                life.starter.set(starter).map_err(|_second| fault(Errno::EXIST))?;
            }
            Received::Record(..) => return Err(fault(Errno::PROTO)),
            Received::Closed => return Err(fault(Errno::PIPE)),
        }
        for (index, (hook, vectors)) in
            life.plan.start_hooks.iter().zip(&life.vectors.start_hooks).enumerate()
        {
            let state = life.hands.states.as_ref().map(|(_creating, created)| created.as_fd());
            super::hook::run(hook, vectors, state).map_err(|(errno, code)| Fault {
                errno: code.map_or(errno.raw_os_error(), |code| -code),
                ..Stage::StartHook.fault_at(index, errno)
            })?;
        }
        Ok(Self { life, key })
    }

    /// A process that enters a running container is started by whoever made it: nothing to wait for.
    pub(super) fn at_once(stripped: Stripped<'a, 'l>) -> Result<Self, Fault> {
        // A detached process outlives the one that made it; until here it was not worth keeping.
        set_parent_process_death_signal(None).map_err(|errno| Stage::Wait.fault(errno))?;
        Ok(Self { life: stripped.life, key: stripped.key })
    }

    /// Enters the Landlock domain and loads the filters; from here on only what they let pass can be done.
    pub(super) fn seal(self) -> Result<Sealed<'a, 'l>, Fault> {
        let life = self.life;
        let fault = |errno| Stage::Seal.fault(errno);
        if let Some(domain) = life.domain.take() {
            super::landlock::restrict(domain).map_err(|errno| Stage::Landlock.fault(errno))?;
        }
        // What is open now are directories and mounts of the host's: the program's path could lead through them.
        let first = i32::try_from(life.plan.process.preserve_fds).unwrap_or(i32::MAX).saturating_add(3);
        dangerous_close_all_but(first, life.talk().as_fd()).map_err(fault)?;
        for filter in &life.plan.process.filters {
            let listener = set_filter(&filter.program, filter.flags, filter.listen).map_err(fault)?;
            if let Some(listener) = listener {
                life.talk().send_with(Record::Listener, Some(listener.as_fd())).map_err(fault)?;
            }
        }
        if self.key == Key::Kept {
            let caps = &life.plan.process.capabilities;
            set_sets(caps, Key::Thrown).map_err(fault)?;
            raise_ambient(caps).map_err(fault)?;
        }
        Ok(Sealed { life })
    }
}

impl Sealed<'_, '_> {
    /// Runs the program. Returns only its failure.
    pub(super) fn run(self) -> Fault {
        let life = self.life;
        let program = &life.plan.process.program;
        let Some(path) = program.candidates.get(life.program.get()) else {
            return Stage::Exec.fault(Errno::NOENT);
        };
        Stage::Exec.fault(execve(path, &life.vectors.argv, &life.vectors.envp))
    }
}

/// Accepts connections until one says start; one that goes away without a word only looked.
fn await_start(life: &Life<'_>) -> Result<Channel, Errno> {
    let listener = life.hands.listener.as_ref().ok_or(Errno::NOTCONN)?;
    loop {
        let connection = match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            other => Channel::from_socket(other?),
        };
        if let Ok(Received::Record(Record::Start, _)) = connection.receive() {
            return Ok(connection);
        }
    }
}
