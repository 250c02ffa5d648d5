//! More processes in a container that runs (`docker exec`).

mod process;
mod record;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{HexId, Tenant};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use record::adopt;
pub use run::{claim, kill, resize, start};

use super::attach::{Attachment, Wanted};
use super::detach::DetachKeys;
use super::stdio::Stdio;
use super::{not_running, tell};
use crate::containers::{Container, Status};
use crate::{Caller, Engine, Failure, Result};

/// As many of one container may wait for their start.
const UNSTARTED: usize = 256;

/// The execs of all tenants: none outlives its container's run for long.
#[derive(Debug, Default)]
pub struct Execs(Mutex<HashMap<HexId, Arc<Exec>>>);

/// What a client asks to be run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `user[:group]`; nothing is the container's.
    pub user: String,
    /// All capabilities that the policy admits.
    pub privileged: bool,
    /// A pseudo-terminal.
    pub tty: bool,
    /// What the client will be attached to.
    pub attach: (bool, bool, bool),
    /// How a client leaves the terminal.
    pub detach_keys: String,
    /// `NAME=value`, beyond the container's.
    pub env: Vec<String>,
    /// Where it starts; nothing is the container's.
    pub working_dir: String,
    /// Rows and columns at the start.
    pub size: Option<(u16, u16)>,
}

/// One exec.
#[derive(Debug)]
pub struct Exec {
    /// Its id.
    pub id: HexId,
    /// Of which container.
    pub container: HexId,
    /// Whose.
    pub tenant: Tenant,
    /// What was asked.
    pub asked: Asked,
    /// It is somebody's who may ask for it after a restart of the daemon.
    lasting: bool,
    stdio: Arc<Stdio>,
    state: watch::Sender<State>,
}

/// How an exec is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Somebody has started it.
    pub started: bool,
    /// It runs.
    pub running: bool,
    /// The process, as the host numbers it; 0 before the start.
    pub pid: i32,
    /// How it ended.
    pub exit_code: Option<i32>,
}

impl Execs {
    /// A tenant's exec.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, caller: &Caller, id: &str) -> Result<Arc<Exec>> {
        self.find_of(&caller.tenant, id)
    }

    /// As [`Execs::find`], for whoever knows the tenant only.
    ///
    /// # Errors
    /// There is none.
    pub fn find_of(&self, tenant: &Tenant, id: &str) -> Result<Arc<Exec>> {
        let missing = || Failure::not_found(format!("No such exec instance: {id}"));
        let known: HexId = id.parse().map_err(|_| missing())?;
        let found = self.known().get(&known).filter(|exec| exec.tenant == *tenant).cloned();
        found.ok_or_else(missing)
    }

    /// Those of a container that have not ended.
    pub fn of(&self, container: &HexId) -> Vec<HexId> {
        let known = self.known();
        let live =
            known.values().filter(|exec| exec.container == *container && exec.state().exit_code.is_none());
        live.map(|exec| exec.id.clone()).collect()
    }

    /// Forgets those of a container: all, or those that were never started.
    pub(super) fn forget(&self, engine: &Engine, container: &HexId, all: bool) {
        let goes = |exec: &Exec| exec.container == *container && (all || !exec.state().started);
        let gone: Vec<_> = self.known().extract_if(|_, exec| goes(exec)).map(|(_, exec)| exec).collect();
        record::drop_all(engine, &gone);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<HexId, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exec {
    /// How it is.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Attaches a client, before the start.
    pub fn attach(&self, wanted: Wanted) -> Attachment {
        Attachment {
            output: self.stdio.attach(wanted.stdout, wanted.stderr),
            input: wanted.stdin.then(|| Arc::clone(&self.stdio)),
            tty: self.asked.tty,
            closes: !self.asked.tty,
        }
    }

    /// The keys by which a client leaves it.
    ///
    /// # Errors
    /// They are none.
    pub fn detach_keys(&self) -> Result<DetachKeys> {
        DetachKeys::parse(&self.asked.detach_keys)
    }
}

/// Notes what is to be run.
///
/// # Errors
/// The container does not run, or what is asked makes no sense.
pub fn create(engine: &Engine, container: &Container, asked: Asked) -> Result<HexId> {
    let exec = make(engine, container, asked, true)?;
    record::keep(engine, &exec);
    Ok(exec.id.clone())
}

/// The same for one of our own; it is `lasting` when another daemon must know of it.
///
/// # Errors
/// As for [`create`].
pub(super) fn make(engine: &Engine, container: &Container, asked: Asked, lasting: bool) -> Result<Arc<Exec>> {
    admit(container)?;
    if asked.cmd.first().is_none_or(String::is_empty) {
        return Err(Failure::invalid("No exec command specified"));
    }
    DetachKeys::parse(&asked.detach_keys)?;
    let execs = &engine.supervision.execs;
    let waiting = |exec: &&Arc<Exec>| exec.container == container.id && !exec.state().started;
    if execs.known().values().filter(waiting).count() >= UNSTARTED {
        let message = format!("container {} has {UNSTARTED} execs that were never started", container.id);
        return Err(Failure::conflict(message));
    }
    let exec = Arc::new(Exec {
        id: new_id()?,
        container: container.id.clone(),
        tenant: container.tenant.clone(),
        asked,
        lasting,
        stdio: Arc::default(),
        state: watch::Sender::default(),
    });
    execs.known().insert(exec.id.clone(), Arc::clone(&exec));
    event(engine, container, &exec, "exec_create", &[]);
    Ok(exec)
}

fn new_id() -> Result<HexId> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("no random bytes can be had"))?;
    Ok(HexId::from_bytes(bytes))
}

fn admit(container: &Container) -> Result<()> {
    let refuse = |what: &str| Err(Failure::conflict(format!("Container {} is {what}", container.id)));
    match container.state().status {
        Status::Running => Ok(()),
        Status::Paused => refuse("paused, unpause the container before exec"),
        Status::Restarting => refuse("restarting, wait until the container is running"),
        _ => Err(not_running(container)),
    }
}

/// `exec_create: sh -c …`; the end has no command in its name.
fn event(engine: &Engine, container: &Container, exec: &Exec, action: &str, more: &[(&str, String)]) {
    let named = match action {
        "exec_die" => action.to_owned(),
        _ => format!("{action}: {}", exec.asked.cmd.join(" ")),
    };
    let mut attributes = vec![("execID", exec.id.to_string())];
    attributes.extend_from_slice(more);
    tell(engine, container, named, &attributes);
}
