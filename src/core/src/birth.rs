//! The parent's side of a birth: what is opened before, what is written from outside, and how the child is followed.

use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, WaitId, WaitIdOptions, pidfd_open, prlimit,
    set_dumpable_behavior, waitid,
};

use crate::channel::{Channel, Received};
use crate::child::{self, Hands, Tree, Vectors};
use crate::plan::{Hook, Limit, Maps, Plan, Program, Source, Space};
use crate::procfs::Proc;
use crate::report::{Fault, Record, Stage};
use crate::sys::clone::{Birth, CLONE_PARENT, clone3, exit_now};
use crate::sys::exec::Vector;
use crate::userns;

/// What the child is born with besides its plan.
#[derive(Debug, Default)]
pub struct Outfit {
    /// Trees that were made beforehand, by the place of the source that is then not opened.
    pub made: Vec<(usize, OwnedFd)>,
    /// `tasks` files of v1 control groups, open for writing.
    pub tasks: Vec<OwnedFd>,
    /// A v2 control group's directory.
    pub cgroup: Option<OwnedFd>,
    /// A listening socket for `start`; none when the parent itself starts the child.
    pub listener: Option<OwnedFd>,
    /// Where the pseudo-terminal's master is sent.
    pub console: Option<OwnedFd>,
    /// Readable files for child-run hooks: the state while creating, and when created.
    pub states: Option<(OwnedFd, OwnedFd)>,
    /// Kept open until execve(2).
    pub held: Vec<OwnedFd>,
    /// Not for the child: closed in it at once, and held by the parent as long as it holds the [`Newborn`].
    pub parent_only: Vec<OwnedFd>,
}

/// Why a birth failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The parent's own preparation.
    Host {
        /// What was being done.
        what: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// A mount source whose filesystem does not take the id-map.
    IdMap {
        /// The source.
        path: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The child's report.
    Child(Fault),
    /// The child is gone without a word: killed, most likely for want of memory.
    Gone,
}

fn host(what: impl Into<String>) -> impl FnOnce(Errno) -> Failure {
    let what = what.into();
    move |errno| Failure::Host { what, errno }
}

/// A process that is being set up.
#[derive(Debug)]
pub struct Newborn {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// The process itself.
    pub pidfd: OwnedFd,
    parents: Parents,
}

/// The parent's own descriptors: dropped by every child.
#[derive(Debug)]
struct Parents {
    channel: Channel,
    #[expect(dead_code, reason = "its being open is its use")]
    held: Vec<OwnedFd>,
}

/// Gives birth to a container's first process.
///
/// # Errors
/// [`Failure::Host`] when something could not be opened or cloned; the child's own failures come later.
pub fn create(plan: &Plan, mut outfit: Outfit) -> Result<Newborn, Failure> {
    let mut known = None;
    let mut open = |(index, source)| match outfit.made.iter().position(|(made, _)| *made == index) {
        Some(at) => {
            Tree::of(outfit.made.swap_remove(at).1).map(OnceCell::from).map_err(host("open a mount source"))
        }
        None => open_source(source, plan, &mut known),
    };
    let trees = plan.sources.iter().enumerate().map(&mut open).collect::<Result<Vec<_>, _>>()?;
    let joins = plan.spaces.join.iter().map(open_space).collect::<Result<Vec<_>, _>>()?;
    deliver(plan, outfit, trees, joins, None)
}

/// Gives birth to a process that enters a running container: the one that `target` refers to. It waits for `Go`.
pub fn visit(plan: &Plan, outfit: Outfit, target: OwnedFd, spaces: Vec<Space>) -> Result<Newborn, Failure> {
    deliver(plan, outfit, Vec::new(), Vec::new(), Some((target, spaces)))
}

fn deliver(
    plan: &Plan,
    outfit: Outfit,
    trees: Vec<OnceCell<Tree>>,
    joins: Vec<OwnedFd>,
    target: Option<(OwnedFd, Vec<Space>)>,
) -> Result<Newborn, Failure> {
    let proc = Proc::open().map_err(host("/proc is not a genuine procfs"))?;
    let vectors = Vectors {
        argv: Vector::new(plan.process.program.argv.clone()),
        envp: environment(&plan.process.program),
        create_hooks: plan.create_hooks.iter().map(hook_vectors).collect(),
        start_hooks: plan.start_hooks.iter().map(hook_vectors).collect(),
    };
    let (ours, theirs) = Channel::pair().map_err(host("make a channel"))?;
    // An unprivileged caller writes its child's id maps, and may do so only for a process it could inspect.
    if rustix::process::geteuid().is_root() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(host("hide from inspection"))?;
    }
    let ours = Parents { channel: ours, held: outfit.parent_only };
    let cgroup = outfit.cgroup;
    let hands = Hands {
        channel: theirs,
        tasks: outfit.tasks,
        joins,
        target,
        trees,
        proc: proc.into_fd(),
        listener: outfit.listener,
        console: outfit.console,
        states: outfit.states,
        held: outfit.held,
    };
    // Entering a user namespace changes what may be entered besides, so a process in between does it.
    let enters_user = hands.target.as_ref().is_some_and(|(_, spaces)| spaces.contains(&Space::User));
    let born = if plan.spaces.needs_relay() || enters_user {
        through_relay(plan, &vectors, &hands, cgroup.as_ref(), ours)?
    } else {
        directly(plan, &vectors, &hands, cgroup.as_ref(), ours)?
    };
    raise_limits(born.pid, &plan.process.limits)?;
    Ok(born)
}

fn directly(
    plan: &Plan,
    vectors: &Vectors,
    hands: &Hands,
    cgroup: Option<&OwnedFd>,
    ours: Parents,
) -> Result<Newborn, Failure> {
    // A pid namespace is entered by children only, so it is joined before the birth, and left again.
    if let Some((target, spaces)) = &hands.target
        && spaces.contains(&Space::Pid)
    {
        // No return: whoever visits has no other children to come.
        child::enter(Space::Pid, target.as_fd()).map_err(host("join pid namespace"))?;
    }
    let joined = plan.spaces.join.iter().position(|(space, _)| *space == Space::Pid);
    let own = match joined.and_then(|index| hands.joins.get(index)) {
        None => None,
        Some(pid_space) => {
            let own = Proc::open()
                .and_then(|proc| proc.namespace(rustix::process::getpid(), "pid"))
                .map_err(host("open own pid namespace"))?;
            child::enter(Space::Pid, pid_space.as_fd()).map_err(host("join pid namespace"))?;
            Some(own)
        }
    };
    let birth =
        clone3(new_flags(plan), cgroup.map(AsFd::as_fd)).map_err(host("clone into new namespaces"))?;
    match birth {
        Birth::Child => {
            drop(ours);
            child::live(plan, vectors, hands)
        }
        Birth::Parent { pid, pidfd } => {
            if let Some(own) = own {
                child::enter(Space::Pid, own.as_fd()).map_err(host("return to own pid namespace"))?;
            }
            Ok(Newborn { pid, pidfd, parents: ours })
        }
    }
}

/// A process in between joins the namespaces, gives birth to a sibling of its own, says who it is, and ends.
fn through_relay(
    plan: &Plan,
    vectors: &Vectors,
    hands: &Hands,
    cgroup: Option<&OwnedFd>,
    ours: Parents,
) -> Result<Newborn, Failure> {
    let (listen, tell) = Channel::pair().map_err(host("make a channel"))?;
    let birth = clone3(0, cgroup.map(AsFd::as_fd)).map_err(host("clone"))?;
    let relay = match birth {
        Birth::Child => {
            drop(listen);
            relay_life(plan, vectors, hands, &tell, ours)
        }
        Birth::Parent { pidfd, .. } => pidfd,
    };
    drop(tell);
    let said = listen.receive().map_err(host("hear from the relay process"))?;
    waitid(WaitId::PidFd(relay.as_fd()), WaitIdOptions::EXITED)
        .map_err(host("wait for the relay process"))?;
    match said {
        Received::Record(Record::Born(pid), _) => {
            let pid = Pid::from_raw(pid).ok_or(Failure::Gone)?;
            // Our child by CLONE_PARENT: its id cannot be reused before we reap it.
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(host("open the new process"))?;
            Ok(Newborn { pid, pidfd, parents: ours })
        }
        Received::Record(Record::Fault(fault), _) => Err(Failure::Child(fault)),
        _ => Err(Failure::Gone),
    }
}

fn relay_life(plan: &Plan, vectors: &Vectors, hands: &Hands, tell: &Channel, ours: Parents) -> ! {
    let born = child::relay(plan, hands).and_then(|()| {
        clone3(new_flags(plan) | CLONE_PARENT, None).map_err(|errno| Stage::Birth.fault(errno))
    });
    let record = match born {
        Ok(Birth::Child) => {
            drop(ours);
            child::live(plan, vectors, hands)
        }
        Ok(Birth::Parent { pid, .. }) => Record::Born(pid.as_raw_nonzero().get()),
        Err(fault) => Record::Fault(fault),
    };
    exit_now(if tell.send(record).is_ok() { 0 } else { 1 })
}

/// Cgroup and time namespaces are made by the child itself, when their moment has come.
fn new_flags(plan: &Plan) -> u64 {
    let later = |space: &&Space| !matches!(space, Space::Cgroup | Space::Time);
    plan.spaces.new.iter().filter(later).fold(0, |flags, space| flags | space.flag())
}

/// Empty when it is not to be had here: the child then tries from its own mount namespace.
///
/// Most mounts are mapped alike, so the last user namespace is kept in `known`.
fn open_source(
    source: &Source,
    plan: &Plan,
    known: &mut Option<(Maps, OwnedFd)>,
) -> Result<OnceCell<Tree>, Failure> {
    // A relay mounts it, once it has joined the namespace.
    if source.instance.is_some() && plan.spaces.needs_relay() {
        return Ok(OnceCell::new());
    }
    let shown = source.path.to_string_lossy();
    let tree = match Tree::open(source) {
        Err(_absent) if source.optional => return Ok(OnceCell::new()),
        Err(Errno::PERM) if source.idmap.is_none() => return Ok(OnceCell::new()),
        other => other.map_err(host(format!("open mount source {shown}")))?,
    };
    if let Some(maps) = &source.idmap {
        let (_, space) = match known.take().filter(|(last, _)| last == maps) {
            Some(last) => known.insert(last),
            None => known.insert((maps.clone(), userns::with_maps(maps)?)),
        };
        match crate::sys::mount::idmap(tree.fd.as_fd(), space.as_fd(), source.idmap_recursive) {
            Err(Errno::INVAL) if source.idmap_optional => {}
            other => other.map_err(|errno| Failure::IdMap { path: shown.into_owned(), errno })?,
        }
    }
    Ok(OnceCell::from(tree))
}

fn open_space((space, path): &(Space, CString)) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(host(format!("open {space} namespace {}", path.to_string_lossy())))
}

fn environment(program: &Program) -> Vector {
    if program.find_home {
        Vector::with_slot(program.envp.clone(), "HOME=", "/")
    } else {
        Vector::new(program.envp.clone())
    }
}

fn hook_vectors(hook: &Hook) -> (Vector, Vector) {
    (Vector::new(hook.argv.clone()), Vector::new(hook.envp.clone()))
}

/// Raises hard limits that the child will want and, in a user namespace of its own, could not raise.
fn raise_limits(pid: Pid, limits: &[Limit]) -> Result<(), Failure> {
    for limit in limits {
        let now = rustix::process::getrlimit(limit.resource);
        let enough = now.maximum.is_none_or(|maximum| limit.hard <= maximum);
        if enough || limit.resource == Resource::Cpu {
            continue;
        }
        let raised = Rlimit { current: now.current, maximum: Some(limit.hard) };
        prlimit(Some(pid), limit.resource, raised).map_err(host(format!("raise {limit}")))?;
    }
    Ok(())
}

impl Newborn {
    /// Waits until the child waits to be started.
    pub fn ready(self) -> Result<Ready, Failure> {
        self.hear(Record::Ready)?;
        Ok(Ready { pid: self.pid, pidfd: self.pidfd, parents: self.parents })
    }

    /// Follows a visiting process into its program; see [`follow`].
    pub fn entered(&self, on_listener: impl FnMut(OwnedFd) -> Result<(), Failure>) -> Result<(), Failure> {
        follow(&self.parents.channel, on_listener)
    }

    /// Lets the child go on: now that what is done from outside is done (`Go`), or into its root (`Proceed`).
    pub fn say(&self, record: Record) -> Result<(), Failure> {
        match self.parents.channel.send(record) {
            // It may have died of something that it told before.
            Err(Errno::PIPE) => self.hear(record),
            other => other.map_err(host("talk to the new process")),
        }
    }

    /// Waits until the child says so: that the root filesystem is set up and hooks may run (`Housed`).
    pub fn hear(&self, record: Record) -> Result<(), Failure> {
        expect(&self.parents.channel, record)
    }
}

/// A process that waits to be started.
#[derive(Debug)]
pub struct Ready {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// The process itself.
    pub pidfd: OwnedFd,
    parents: Parents,
}

impl Ready {
    /// Lets the child wait for a `start` yet to come; afterwards this process may end.
    pub fn release(self) -> Result<OwnedFd, Failure> {
        self.parents.channel.send(Record::Release).map_err(host("talk to the new process"))?;
        expect(&self.parents.channel, Record::Released)?;
        Ok(self.pidfd)
    }

    /// Starts the program; see [`follow`].
    pub fn start(self, on_listener: impl FnMut(OwnedFd) -> Result<(), Failure>) -> Result<OwnedFd, Failure> {
        self.parents.channel.send(Record::Start).map_err(host("talk to the new process"))?;
        follow(&self.parents.channel, on_listener)?;
        Ok(self.pidfd)
    }
}

/// Starts a process that waits behind `connection`; see [`follow`].
pub fn start(
    connection: OwnedFd,
    on_listener: impl FnMut(OwnedFd) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let channel = Channel::from_socket(connection);
    channel.send(Record::Start).map_err(host("talk to the waiting process"))?;
    follow(&channel, on_listener)
}

/// Follows a process into its program: execve(2) closes the channel, a failure comes over it. A seccomp listener is
/// given to `on_listener` as soon as it comes, since the execve itself may wait for it.
fn follow(
    channel: &Channel,
    mut on_listener: impl FnMut(OwnedFd) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        match channel.receive().map_err(host("hear from the new process"))? {
            Received::Closed => return Ok(()),
            Received::Record(Record::Listener, Some(listener)) => on_listener(listener)?,
            Received::Record(Record::Fault(fault), _) => return Err(Failure::Child(fault)),
            Received::Record(..) => return Err(host("hear from the new process")(Errno::PROTO)),
        }
    }
}

fn expect(channel: &Channel, record: Record) -> Result<(), Failure> {
    match channel.receive().map_err(host("hear from the new process"))? {
        Received::Record(got, _) if got == record => Ok(()),
        Received::Record(Record::Fault(fault), _) => Err(Failure::Child(fault)),
        Received::Record(..) => Err(host("hear from the new process")(Errno::PROTO)),
        Received::Closed => Err(Failure::Gone),
    }
}
