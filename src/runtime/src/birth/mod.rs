//! How `create` and `run` bring a container's first process into the world, and take everything back when that fails.

mod bundle;
mod failure;
mod foreground;
mod given;
mod image;
mod joined_proc;
mod nodes;
mod outside;
mod overlay;
mod overlay_by_path;
mod pin;
mod quota;
mod terminal;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_core::birth::{self, Newborn, Outfit, Ready};
use casemate_core::plan::{House, Maps, Plan};
use casemate_core::procfs::Proc;
use casemate_core::report::Record as Word;
use casemate_core::sys::fds::seal_from;
use casemate_core::sys::landlock::abi;
use casemate_policy::{Admitted, HostFacts, Policy, UserNamespace};
use casemate_spec::{ContainerId, Error, Result};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

pub use bundle::{
    Bundle, facts, facts_again, judged_again, keep_out_of_reach, keep_out_of_reach_early, out_of_reach,
    source,
};
pub use failure::explain;
pub use foreground::{Foreground, follow, window};
pub use outside::{hand_over_streams, keeps_groups, set_oom_score, write_pid_file};
pub use overlay::refresh;
use pin::Pinned;
pub use terminal::Console;

use crate::cgroup::{Cgroup, Layout, Placement, Wish};
use crate::choice::Chosen;
use crate::cli::{BirthArgs, Global};
use crate::ids::{Pool, Range, Settings};
use crate::plan::{self, Context, Given, Layers, Planned};
use crate::store::{
    CONFIG, Enforced, Home, InitRecord, POLICY, Phase, Record, Root, START_SOCKET, start_time,
};
use crate::{hooks, log};

/// A container whose first process waits to be started.
#[derive(Debug)]
pub struct Born {
    /// Its directory.
    pub home: Home,
    /// What is recorded of it.
    pub record: Record,
    /// The process.
    pub ready: Ready,
    /// What was admitted.
    pub admitted: Admitted,
    /// What was done, for words.
    pub plan: Plan,
}

/// Who will start the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// A `start` yet to come.
    Later,
    /// This process, at once.
    Now,
}

/// Brings a container up to the point where it waits.
///
/// # Errors
/// Anything on the way; what had been made is then removed again.
pub fn bear(
    global: &Global,
    args: &BirthArgs,
    id: &ContainerId,
    starter: Starter,
    console: Option<OwnedFd>,
    bundle: Bundle,
) -> Result<Born> {
    let Bundle { path, bytes, admitted, chosen, facts, store, .. } = bundle;
    let spec = &admitted.config().spec;
    let linux = spec.linux().as_ref();
    let rootless = global.is_rootless();
    let wish = Wish {
        id,
        path: linux.and_then(|linux| linux.cgroups_path().as_deref()),
        systemd: global.systemd_cgroup,
        rootless,
    };
    let placement = Layout::discover()?.place(&wish)?;
    let mut record = new_record(global, id, &path, &admitted, &chosen, &placement, rootless)?;
    record.store = store.is_some().then(|| facts.store.clone());
    let (home, lock) = Root::open(global)?.reserve(id)?.split();
    let mut carrier = Carrier { home, record, cgroup: None, newborn: None, hooked: false };
    let shared = store.as_ref().filter(|_| facts.store_range).map(|store| store.ids);
    let born = carrier.own_ids(&admitted, &chosen.host.ids, shared).and_then(|own| {
        let context = Context {
            id,
            bundle: &path,
            placement: Some(&placement),
            no_pivot: args.no_pivot,
            new_keyring: !args.no_new_keyring,
            preserve_fds: preserved(args.preserve_fds),
            listen_fds: activated(),
            window: if args.console_socket.is_none() { foreground::window() } else { None },
            in_user_namespace: global.is_confined(),
            keep_groups: outside::keeps_groups(linux),
            ids: own,
            landlock_abi: abi(),
            store: store.as_ref(),
        };
        let Planned { plan, layers, given } = plan::plan(&admitted, &context)?;
        let load = Load {
            plan: &plan,
            layers: layers.as_ref(),
            given: given.as_ref(),
            bundle: &path,
            // The bundle to the letter was not judged: what its paths lead to is its writer's matter.
            facts: (!chosen.enforced().is_as_asked()).then_some(&facts),
            placement: &placement,
            resources: linux.and_then(|linux| linux.resources().as_ref()),
            admitted: &admitted,
            bytes: &bytes,
            policy: &chosen.policy,
            starter,
            pid_file: args.pid_file.as_deref(),
        };
        let ready = carrier.carry(&load, lock, console)?;
        Ok((ready, plan))
    });
    match born {
        Ok((ready, plan)) => Ok(Born { home: carrier.home, record: carrier.record, ready, admitted, plan }),
        Err(error) => {
            carrier.undo(&admitted);
            Err(error)
        }
    }
}

fn new_record(
    global: &Global,
    id: &ContainerId,
    bundle: &Path,
    admitted: &Admitted,
    chosen: &Chosen,
    placement: &Placement,
    rootless: bool,
) -> Result<Record> {
    let spec = &admitted.config().spec;
    let rootfs = match spec.root() {
        Some(root) => bundle.join(root.path()),
        None => PathBuf::from("/"),
    };
    Ok(Record {
        version: Record::VERSION,
        id: id.to_string(),
        oci_version: spec.version().clone(),
        bundle: bundle.to_owned(),
        rootfs: std::fs::canonicalize(&rootfs).unwrap_or(rootfs),
        created: log::now(),
        owner: rustix::process::geteuid().as_raw(),
        annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        phase: Phase::Creating,
        init: None,
        cgroup: Some(placement.clone()),
        ids: None,
        store: None,
        systemd_cgroup: global.systemd_cgroup,
        rootless,
        policy: chosen.policy.name().to_owned(),
        chosen: chosen.why.clone(),
        audit: chosen.audit,
        protections: Enforced::of(admitted),
    })
}

/// Whether the policy gives the container a range of ids of its own.
pub fn has_own_ids(admitted: &Admitted) -> bool {
    matches!(admitted.confinement().user_namespace, UserNamespace::Own { .. })
}

/// What a birth is made from.
struct Load<'a> {
    plan: &'a Plan,
    layers: Option<&'a Layers>,
    given: Option<&'a Given>,
    bundle: &'a Path,
    /// What the verdict rests on; none where there was none.
    facts: Option<&'a HostFacts>,
    placement: &'a Placement,
    resources: Option<&'a LinuxResources>,
    admitted: &'a Admitted,
    bytes: &'a [u8],
    policy: &'a Policy,
    starter: Starter,
    pid_file: Option<&'a Path>,
}

/// What only the host's root can make for a container that will not have its ids.
fn made_beforehand(load: &Load<'_>, pinned: &Pinned, maps: &Maps) -> Result<Vec<(usize, OwnedFd)>> {
    let mut made = nodes::make(load.plan, maps)?;
    made.extend(joined_proc::make(&pinned.plan)?);
    if let (Some(layers), Some(root)) = (load.layers, load.plan.sources.first()) {
        let space = overlay::namespace(&overlay::with_mounter(maps))?;
        made.push((0, overlay::assemble(layers, &root.path, Some(space.as_fd()))?));
    }
    Ok(made)
}

/// What exists so far, for taking it back.
struct Carrier {
    home: Home,
    record: Record,
    cgroup: Option<Cgroup>,
    newborn: Option<OwnedFd>,
    hooked: bool,
}

impl Carrier {
    /// A range of ids of the container's own, where the policy wants one; recorded before anything else is done.
    fn own_ids(
        &mut self,
        admitted: &Admitted,
        settings: &Settings,
        shared: Option<u32>,
    ) -> Result<Option<u32>> {
        if !has_own_ids(admitted) {
            return Ok(None);
        }
        let range = match shared {
            Some(first) => Range::shared(first),
            None => Pool::open(settings)?.allocate(self.home.path())?,
        };
        let first = range.first;
        self.record.ids = Some(range);
        Ok(Some(first))
    }

    fn carry(&mut self, load: &Load<'_>, lock: OwnedFd, console: Option<OwnedFd>) -> Result<Ready> {
        // Recorded before anything is made, so that `delete` finds it however this process ends.
        self.home.save(&self.record)?;
        self.home.write(CONFIG, load.bytes)?;
        self.home.write(POLICY, load.policy.to_toml().as_bytes())?;
        let cgroup = self.cgroup.insert(load.placement.create(load.resources)?);
        let entry = cgroup.entry()?;
        let states = hooks::state_files(load.plan)?;
        if let (Some(maps), Some(_range)) = (&load.plan.spaces.maps, &self.record.ids) {
            outside::hand_over_streams(maps, load.plan.process.identity.uid)?;
        }
        let spec = &load.admitted.config().spec;
        let pinned = match load.facts {
            Some(facts) => Pinned::judged(load.plan, load.given, spec, facts, load.bundle)?,
            None => Pinned::nothing(load.plan),
        };
        let mut made = match (&load.plan.spaces.maps, &self.record.ids) {
            (Some(maps), Some(_own)) => made_beforehand(load, &pinned, maps)?,
            _ => Vec::new(),
        };
        if let Some(given) = load.given {
            let place = plan::rootfs(spec, load.bundle)?;
            made.extend(given::make(given, &place)?);
        }
        let mut outfit = Outfit {
            made,
            tasks: entry.tasks,
            cgroup: entry.unified,
            console,
            states: states.as_ref().map(hooks::StateFiles::for_child).transpose()?,
            parent_only: vec![lock],
            ..Outfit::default()
        };
        if load.starter == Starter::Later {
            outfit.listener = Some(listener(&self.home)?);
            outfit.held.push(self.home.make_waiting()?);
        }
        let newborn = birth::create(&pinned.plan, outfit)
            .map_err(|failure| explain(load.plan, pinned.named(load.plan, failure)))?;
        self.newborn =
            Some(rustix::io::fcntl_dupfd_cloexec(&newborn.pidfd, 0).map_err(os("duplicate pidfd"))?);
        let pid = newborn.pid.as_raw_nonzero().get();
        self.record.init = start_time(pid)?.map(|start_time| InitRecord { pid, start_time });
        self.home.save(&self.record)?;
        self.settle(load, &newborn, states)?;
        let ready = newborn.ready().map_err(|failure| explain(load.plan, failure))?;
        self.record.phase = Phase::Created;
        self.home.save(&self.record)?;
        if let Some(path) = load.pid_file {
            outside::write_pid_file(path, pid)?;
        }
        Ok(ready)
    }

    /// Everything that is done to the newborn from outside.
    fn settle(
        &mut self,
        load: &Load<'_>,
        newborn: &Newborn,
        states: Option<hooks::StateFiles>,
    ) -> Result<()> {
        let pid = newborn.pid.as_raw_nonzero().get();
        let failed = |failure| explain(load.plan, failure);
        let oci = load.admitted.config().spec.process().as_ref();
        if let Some(cgroup) = self.cgroup.take() {
            self.cgroup = Some(cgroup.adopt(pid)?);
        }
        let proc = Proc::open().map_err(os("open /proc"))?;
        if let Some(score) = oci.and_then(|process| process.oom_score_adj()) {
            outside::set_oom_score(&proc, newborn.pid, score, self.record.rootless)?;
        }
        if let Some(states) = states {
            states.fill(&self.record, pid)?;
        }
        if let Some(maps) = &load.plan.spaces.maps {
            outside::write_maps(&proc, newborn.pid, maps, load.plan)?;
        }
        if load.plan.spaces.maps.is_some() || load.plan.adopted {
            newborn.say(Word::Go).map_err(failed)?;
        }
        if load.plan.pause_for_hooks {
            newborn.hear(Word::Housed).map_err(failed)?;
            for step in &load.plan.house {
                if let House::NetDevice { name, inside } = step {
                    crate::netdevice::move_into(name, inside, newborn.pid, &proc)?;
                }
            }
            self.hooked = true;
            hooks::run_before_pivot(&load.admitted.config().spec, &self.record)?;
            newborn.say(Word::Proceed).map_err(failed)?;
        }
        Ok(())
    }

    /// Ends the newborn and removes what was made. The failure that led here is what people need to read; what goes
    /// wrong now is only logged.
    fn undo(self, admitted: &Admitted) {
        let mut problems = Vec::new();
        if let Some(pidfd) = &self.newborn {
            match pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => problems.push(Error::os("kill the new process", errno.raw_os_error())),
            }
            if let Err(errno) = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
                problems.push(Error::os("wait for the new process", errno.raw_os_error()));
            }
        }
        if let Some(cgroup) = &self.cgroup {
            problems.extend(cgroup.remove().err());
        }
        if self.hooked {
            hooks::run_poststop(&admitted.config().spec, &self.record);
        }
        if let Some(ids) = &self.record.ids {
            problems.extend(ids.release(self.home.path()).err());
        }
        problems.extend(self.home.remove().err());
        for problem in problems {
            log::warn(format_args!("undo create: {problem}"));
        }
    }
}

fn os(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::os(what, errno.raw_os_error())
}

/// The socket that `start` connects to. A path beneath our descriptor: the directory's own may be longer than an
/// address can be (unix(7): 108 bytes).
fn listener(home: &Home) -> Result<OwnedFd> {
    let failed = os("make start.sock");
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(&failed)?;
    let path = format!("/proc/self/fd/{}/{START_SOCKET}", home.as_fd().as_raw_fd());
    let address = SocketAddrUnix::new(path).map_err(&failed)?;
    bind(&socket, &address).map_err(&failed)?;
    listen(&socket, 4).map_err(&failed)?;
    Ok(socket)
}

/// `--preserve-fds` and the descriptors of socket activation (sd_listen_fds(3)).
pub fn preserved(asked: u32) -> u32 {
    asked.saturating_add(activated())
}

/// How many sockets the caller hands to the container.
pub fn activated() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Keeps from the container what our caller left open, and makes sure of what it is promised: the number of a
/// descriptor that is not there would go to one of ours.
///
/// # Errors
/// A promised descriptor is not open.
pub fn keep_descriptors(asked: u32) -> Result<()> {
    let first = i32::try_from(preserved(asked)).unwrap_or(i32::MAX).saturating_add(3);
    seal_from(first).map_err(os("mark descriptors close-on-exec"))?;
    for number in 3..3_u32.saturating_add(preserved(asked)) {
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::new("--preserve-fds", format!("file descriptor {number} is not open")));
        }
    }
    Ok(())
}
