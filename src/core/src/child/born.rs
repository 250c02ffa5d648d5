//! Born: in new namespaces, not yet anywhere else.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use rustix::thread::{
    CpuSet, Gid, ThreadNameSpaceType, Uid, move_into_thread_name_spaces, sched_setaffinity,
    set_thread_res_gid, set_thread_res_uid,
};

use super::house::Housed;
use super::pivoted::{Pivoted, open_root, set_parameter};
use super::resolve::open_proc;
use super::{Hands, Life};
use crate::channel::Received;
use crate::plan::{Furnish, Groups, House, Plan, Space};
use crate::report::{Fault, Record, Stage};
use crate::sys::clone::unshare;

/// The first stage.
pub(super) struct Born<'a, 'l> {
    life: &'l Life<'a>,
}

impl<'a, 'l> Born<'a, 'l> {
    /// Makes the child a process of its own that dies with its parent.
    pub(super) fn begin(life: &'l Life<'a>) -> Result<Self, Fault> {
        let birth = |errno| Stage::Birth.fault(errno);
        // First of all: until the parent has recorded this process, only the kernel can end it.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(birth)?;
        setsid().map_err(birth)?;
        // Nodes and directories of the root are made with the modes they shall have.
        rustix::process::umask(Mode::empty());
        if let Some(cpus) = &life.plan.process.affinity_initial {
            set_affinity(cpus).map_err(|errno| Stage::Schedule.fault(errno))?;
        }
        // Control groups come before namespaces: a cgroup namespace is rooted where its first process is.
        for tasks in &life.hands.tasks {
            // "0" is the writer itself: moving one's own single thread needs no kernel-wide lock.
            rustix::io::write(tasks, b"0").map_err(|errno| Stage::Cgroup.fault(errno))?;
        }
        Ok(Self { life })
    }

    /// Goes on to housing.
    pub(super) fn house(self) -> Result<Housed<'a, 'l>, Fault> {
        let life = self.life;
        let attached = self.attach_root()?;
        if !life.plan.spaces.needs_relay() {
            join(life.plan, life.hands)?;
        }
        self.become_housekeeper()?;
        self.unshare_rest()?;
        Housed::furnish(life, attached)
    }

    /// Enters a running container's namespaces.
    pub(super) fn visit(self) -> Result<Pivoted<'a, 'l>, Fault> {
        let life = self.life;
        // What the parent does to this process from outside is done before its program runs, or it does not run. Before it
        // takes on anything of the container's: nobody there is given time with a process that holds the host's files.
        await_go(life).map_err(|errno| Stage::Birth.fault(errno))?;
        if let Some((target, spaces)) = &life.hands.target {
            if spaces.contains(&Space::User) {
                // The relay has entered all of them.
                become_root_if_mapped(life).map_err(|errno| Stage::Birth.fault(errno))?;
            } else {
                let kinds = kinds(spaces.iter().filter(|space| **space != Space::Pid));
                enter_all(target.as_fd(), kinds).map_err(|errno| Stage::Join.fault(errno))?;
            }
        }
        let root = open_root().map_err(|errno| Stage::Enter.fault(errno))?;
        let root = life.root.get_or_init(|| root);
        if life.plan.process.terminal.is_some() {
            super::console::open(life, root.as_fd(), None).map_err(|errno| Stage::Terminal.fault(errno))?;
        }
        Ok(Pivoted::visiting(life))
    }

    /// Attaches the root while this process still has the host's view of who it is: later, as a mapped root, it may
    /// not be allowed to walk to the bundle.
    fn attach_root(&self) -> Result<bool, Fault> {
        super::tree::open_rest(self.life.plan, self.life.hands, false)?;
        for (index, step) in self.life.plan.house.iter().enumerate() {
            if let House::Root { path } = step {
                super::mounts::attach_root(self.life, path)
                    .map_err(|errno| Stage::House.fault_at(index, errno))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Becomes root of the user namespace once the parent has written its maps. A parent that moves this process to
    /// its control groups is waited for too: a cgroup namespace is rooted where its first process is.
    fn become_housekeeper(&self) -> Result<(), Fault> {
        let birth = |errno| Stage::Birth.fault(errno);
        let spaces = &self.life.plan.spaces;
        if spaces.maps.is_some() || self.life.plan.adopted {
            await_go(self.life).map_err(birth)?;
        }
        let (uid, gid) = match &spaces.maps {
            Some(maps) => maps.housekeeper().ok_or_else(|| birth(Errno::INVAL))?,
            None if spaces.has_user() => (0, 0),
            None => return Ok(()),
        };
        become_user(self.life, uid, gid).map_err(birth)
    }

    /// The namespaces that cannot be made by the birth itself.
    fn unshare_rest(&self) -> Result<(), Fault> {
        let fault = |errno| Stage::Unshare.fault(errno);
        let spaces = &self.life.plan.spaces;
        if spaces.makes(Space::Cgroup) {
            unshare(Space::Cgroup.flag()).map_err(fault)?;
        }
        if spaces.makes(Space::Network) {
            crate::sys::net::loopback_up().map_err(fault)?;
        }
        if spaces.makes(Space::Time) {
            self.make_time_space().map_err(fault)?;
        }
        Ok(())
    }

    /// Offsets can be set only before the first process enters, so the namespace is made, set, and then entered.
    fn make_time_space(&self) -> Result<(), Errno> {
        unshare(Space::Time.flag())?;
        let proc = self.life.proc();
        if !self.life.plan.spaces.time_offsets.is_empty() {
            let offsets = open_proc(proc, c"self/timens_offsets", OFlags::WRONLY)?;
            for line in &self.life.plan.spaces.time_offsets {
                rustix::io::write(&offsets, line.as_bytes())?;
            }
        }
        let own = rustix::fs::openat(
            proc,
            c"self/ns/time_for_children",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        enter(Space::Time, own.as_fd())
    }
}

fn await_go(life: &Life<'_>) -> Result<(), Errno> {
    match life.hands.channel.receive()? {
        Received::Record(Record::Go, _) => Ok(()),
        Received::Record(..) => Err(Errno::PROTO),
        Received::Closed => Err(Errno::PIPE),
    }
}

/// Enters the namespaces that a process yet to be born shall live in.
pub(crate) fn relay(plan: &Plan, hands: &Hands) -> Result<(), Fault> {
    let Some((target, spaces)) = &hands.target else {
        join(plan, hands)?;
        super::tree::open_rest(plan, hands, true)?;
        for (index, step) in plan.furnish.iter().enumerate() {
            if let Furnish::Sysctl { path, value } = step
                && plan.is_set_early(path)
            {
                set_parameter(hands.proc.as_fd(), path, value)
                    .map_err(|errno| Stage::Furnish.fault_at(index, errno))?;
            }
        }
        return Ok(());
    };
    let fault = |errno| Stage::Join.fault(errno);
    let others = || enter_all(target.as_fd(), kinds(spaces.iter().filter(|space| **space != Space::User)));
    let user = || enter_all(target.as_fd(), kinds([Space::User].iter()));
    // A privileged caller enters the others first: some may not belong to the container's user namespace. For an
    // unprivileged one the user namespace brings the right to enter them.
    match others() {
        Err(Errno::PERM) => user().and_then(|()| others()),
        other => other.and_then(|()| user()),
    }
    .map_err(fault)
}

/// Joins the plan's namespaces, which the parent has opened in the same order.
///
/// The user namespace comes after those that the caller's own privilege opens, and before those that only it opens.
fn join(plan: &Plan, hands: &Hands) -> Result<(), Fault> {
    let relayed = plan.spaces.needs_relay();
    let pairs = plan.spaces.join.iter().map(|(space, _)| *space).zip(&hands.joins).enumerate();
    // Where nobody stands in between, the parent has seen to the pid namespace.
    let pairs = pairs.filter(move |(_, (space, _))| relayed || *space != Space::Pid);
    let user = pairs.clone().find(|(_, (space, _))| *space == Space::User);
    let mut refused = 0_u32;
    for (index, (space, fd)) in pairs.clone().filter(|(_, (space, _))| *space != Space::User) {
        match enter(space, fd.as_fd()) {
            Err(Errno::PERM) if user.is_some() => refused |= 1 << index,
            other => other.map_err(|errno| Stage::Join.fault_at(index, errno))?,
        }
    }
    let Some((index, (space, fd))) = user else { return Ok(()) };
    enter(space, fd.as_fd()).map_err(|errno| Stage::Join.fault_at(index, errno))?;
    for (index, (space, fd)) in pairs {
        if refused & (1 << index) != 0 {
            enter(space, fd.as_fd()).map_err(|errno| Stage::Join.fault_at(index, errno))?;
        }
    }
    Ok(())
}

/// Root of the container's user namespace, where it has one: files that are made on the way are then its.
fn become_root_if_mapped(life: &Life<'_>) -> Result<(), Errno> {
    // Where it does not map root, the process stays who it is.
    match become_user(life, 0, 0) {
        Err(Errno::INVAL) => set_parent_process_death_signal(Some(Signal::KILL)),
        other => other,
    }
}

fn become_user(life: &Life<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    if life.plan.process.identity.groups != Groups::Keep {
        rustix::thread::set_thread_groups(&[])?;
    }
    let gid = Gid::from_raw(gid);
    let group = set_thread_res_gid(gid, gid, gid);
    let uid = Uid::from_raw(uid);
    set_thread_res_uid(uid, uid, uid)?;
    group?;
    // A change of credentials clears it.
    set_parent_process_death_signal(Some(Signal::KILL))
}

/// setns(2) takes a namespace's own descriptor and a process's alike.
pub(crate) fn enter(space: Space, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_thread_name_spaces(fd, kinds([space].iter()))
}

fn kinds<'s>(spaces: impl Iterator<Item = &'s Space>) -> ThreadNameSpaceType {
    let bits = spaces.fold(0, |bits, space| bits | space.flag());
    ThreadNameSpaceType::from_bits_retain(u32::try_from(bits).unwrap_or(0))
}

fn enter_all(target: BorrowedFd<'_>, kinds: ThreadNameSpaceType) -> Result<(), Errno> {
    if kinds.is_empty() { Ok(()) } else { move_into_thread_name_spaces(target, kinds) }
}

/// Lets this thread run on these CPUs only.
pub(super) fn set_affinity(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(Errno::INVAL);
        }
        set.set(*cpu);
    }
    sched_setaffinity(None, &set)
}
