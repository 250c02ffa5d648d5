//! Stripped: the user, groups, capabilities and limits that the program will have.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Rlimit, Signal, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::Life;
use super::resolve::{is_character, open_proc};
use crate::plan::{Capabilities, Groups};
use crate::report::{Fault, Stage};
use crate::sys::{keyring, sched, signal};

/// capabilities(7).
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// The file mode mask of a container whose configuration names none.
const DEFAULT_UMASK: u32 = 0o022;

/// The fourth stage.
///
/// Without no_new_privs the kernel loads a filter only for `CAP_SYS_ADMIN` (seccomp(2)), so that one capability is kept
/// as the key to the seal, and thrown away right after it.
pub(super) struct Stripped<'a, 'l> {
    pub(super) life: &'l Life<'a>,
    pub(super) key: Key,
}

/// Whether the seal still needs a privilege.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `CAP_SYS_ADMIN` is held until the filter is loaded.
    Kept,
    /// Nothing is held that the program will not have.
    Thrown,
}

impl<'a, 'l> Stripped<'a, 'l> {
    /// Takes on the identity that was asked for, in the order that lets each step still be done.
    pub(super) fn strip(life: &'l Life<'a>) -> Result<Self, Fault> {
        let process = &life.plan.process;
        streams(life).map_err(|errno| Stage::Terminal.fault(errno))?;
        if let Some(name) = &process.keyring {
            join_keyring(name)?;
        }
        for (index, limit) in process.limits.iter().enumerate() {
            let rlimit = Rlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
            setrlimit(limit.resource, rlimit).map_err(|errno| Stage::Limit.fault_at(index, errno))?;
        }
        schedule(life)?;
        if let Some(label) = &process.label {
            let fault = |errno| Stage::Label.fault(errno);
            let file = open_proc(life.proc(), &label.path, OFlags::WRONLY).map_err(fault)?;
            rustix::io::write(&file, label.text.as_bytes()).map_err(fault)?;
        }
        rustix::process::umask(Mode::from_raw_mode(process.identity.umask.unwrap_or(DEFAULT_UMASK)));
        // As root of the namespace first: the user may be allowed to be somewhere, and not to walk there.
        let early = rustix::process::chdir(&process.cwd);
        if let Some(plan) = &process.landlock {
            let root = life.root.get().ok_or_else(|| Stage::Landlock.fault(Errno::NOENT))?;
            // As root of the namespace: the places are bound to, however deep they lie.
            let domain = super::landlock::prepare(root.as_fd(), plan);
            life.domain.replace(Some(domain.map_err(|errno| Stage::Landlock.fault(errno))?));
        }
        let sealed = process.landlock.is_some() || !process.filters.is_empty();
        let key = if sealed && !process.no_new_privs { Key::Kept } else { Key::Thrown };
        become_user(life, key)?;
        if process.no_new_privs {
            set_no_new_privs(true).map_err(|errno| Stage::NoNewPrivs.fault(errno))?;
        }
        let chdir = |errno| Stage::Chdir.fault(errno);
        early.or_else(|_refused| rustix::process::chdir(&process.cwd)).map_err(chdir)?;
        inside().map_err(chdir)?;
        super::program::find_home(life);
        let found = super::program::find(life).map_err(|errno| Stage::Exec.fault(errno))?;
        life.program.set(found);
        signal::reset().map_err(|errno| Stage::Birth.fault(errno))?;
        Ok(Self { life, key })
    }
}

/// A working directory that the kernel cannot name from the root lies outside of it.
fn inside() -> Result<(), Errno> {
    let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
    let path = crate::sys::clone::getcwd(&mut buffer)?;
    if path.first() == Some(&b'/') { Ok(()) } else { Err(Errno::NOENT) }
}

/// The terminal, and standard streams that the container's user may open again by name.
fn streams(life: &Life<'_>) -> Result<(), Errno> {
    let identity = &life.plan.process.identity;
    if let Some(slave) = life.slave.get() {
        rustix::process::ioctl_tiocsctty(slave)?;
        rustix::stdio::dup2_stdin(slave)?;
        rustix::stdio::dup2_stdout(slave)?;
        rustix::stdio::dup2_stderr(slave)?;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = rustix::fs::fstat(stream)?;
        if stat.st_uid == identity.uid || is_character(stream, 1, 3)? {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(identity.uid)), None) {
            // Not ours to give: the program still has it open.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OVERFLOW | Errno::BADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn join_keyring(name: &std::ffi::CStr) -> Result<(), Fault> {
    match keyring::join_session(name) {
        // A kernel without keys has none to share.
        Err(Errno::NOSYS) => Ok(()),
        other => other.map_err(|errno| Stage::Keyring.fault(errno)),
    }
}

fn schedule(life: &Life<'_>) -> Result<(), Fault> {
    let process = &life.plan.process;
    let fault = |errno| Stage::Schedule.fault(errno);
    if let Some(attr) = &process.scheduler {
        sched::set_attr(attr).map_err(fault)?;
    }
    if let Some(io) = &process.io_priority {
        sched::set_io_priority(io.class, io.priority).map_err(fault)?;
    }
    if let Some(cpus) = &process.affinity_final {
        super::born::set_affinity(cpus).map_err(fault)?;
    }
    if let Some(policy) = &process.memory_policy {
        sched::set_memory_policy(policy.mode, &policy.nodes).map_err(|errno| Stage::Memory.fault(errno))?;
    }
    if let Some(domain) = process.personality {
        sched::set_personality(domain).map_err(|errno| Stage::Personality.fault(errno))?;
    }
    Ok(())
}

/// Bounding set while `CAP_SETPCAP` is there, then groups and user, then the sets that remain.
fn become_user(life: &Life<'_>, key: Key) -> Result<(), Fault> {
    let caps = &life.plan.process.capabilities;
    let identity = &life.plan.process.identity;
    let capabilities = |errno| Stage::Capabilities.fault(errno);
    let ids = |errno| Stage::Identity.fault(errno);
    drop_bounding(caps.bounding).map_err(capabilities)?;
    set_keep_capabilities(true).map_err(capabilities)?;
    if let Groups::Set(groups) = &identity.groups {
        set_groups(groups).map_err(ids)?;
    }
    let gid = Gid::from_raw(identity.gid);
    set_thread_res_gid(gid, gid, gid).map_err(ids)?;
    let uid = Uid::from_raw(identity.uid);
    set_thread_res_uid(uid, uid, uid).map_err(ids)?;
    set_keep_capabilities(false).map_err(capabilities)?;
    set_sets(caps, key).map_err(capabilities)?;
    if key == Key::Thrown {
        raise_ambient(caps).map_err(capabilities)?;
    }
    // Both were reset with the credentials. Not dumpable: nobody in the container may look into this process, whose
    // memory and descriptors are the host's, until it is the container's own image.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(ids)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(ids)
}

/// At most so many supplementary groups are set without allocating; NGROUPS_MAX is 65536, engines send tens.
const GROUPS: usize = 1024;

fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    let mut buffer = [Gid::ROOT; GROUPS];
    let set = buffer.get_mut(..groups.len()).ok_or(Errno::INVAL)?;
    for (to, from) in set.iter_mut().zip(groups) {
        *to = Gid::from_raw(*from);
    }
    set_thread_groups(set)
}

/// The single bits of a set, the lowest first.
fn bits(set: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|number| 1_u64 << number).filter(move |bit| set & bit != 0)
}

/// Leaves of the bounding set, capabilities(7), what is in `keep`: bit 0 is `CAP_CHOWN`.
/// `EPERM`: the caller lacks `CAP_SETPCAP`.
pub(crate) fn drop_bounding(keep: u64) -> Result<(), Errno> {
    let drop = |bit| remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit));
    // Up to the kernel's last capability, not the last one that a library knows.
    bits(!keep).try_for_each(drop).or_else(|errno| if errno == Errno::INVAL { Ok(()) } else { Err(errno) })
}

pub(super) fn set_sets(caps: &Capabilities, key: Key) -> Result<(), Errno> {
    let extra = if key == Key::Kept { CAP_SYS_ADMIN } else { 0 };
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(caps.effective | extra),
        permitted: CapabilitySet::from_bits_retain(caps.permitted | extra),
        inheritable: CapabilitySet::from_bits_retain(caps.inheritable),
    };
    set_capabilities(None, sets)
}

pub(super) fn raise_ambient(caps: &Capabilities) -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    bits(caps.ambient)
        .try_for_each(|bit| configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true))
}
