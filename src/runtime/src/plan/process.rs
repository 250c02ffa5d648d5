//! The process: identity, limits, scheduling, labels, program.

use std::path::Path;

use casemate_core::plan::{
    Filter, Groups, Identity, IoPriority, Label, Limit, MemoryPolicy, Process, Program, Terminal,
};
use casemate_core::sys::sched::SchedAttr;
use casemate_core::sys::seccomp::Instruction;
use casemate_spec::{Error, Result};
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxMemoryPolicy, LinuxNamespaceType, LinuxPersonalityDomain,
    LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimitType,
    Process as OciProcess, Scheduler,
};
use rustix::process::Resource;

use super::text::{c_string, number_list};
use super::{Context, capabilities};

/// The process in the core's words.
///
/// # Errors
/// Values that the kernel has no word for, and features that it lacks.
pub fn process(oci: &OciProcess, linux: Option<&Linux>, context: &Context<'_>) -> Result<Process> {
    let size = oci.console_size().as_ref().map(|size| {
        let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        (clamp(size.height()), clamp(size.width()))
    });
    let affinity = oci.exec_cpu_affinity().as_ref();
    let cpus = |list: Option<&String>| {
        list.filter(|list| !list.is_empty()).map(|list| number_list(list)).transpose()
    };
    let user = oci.user();
    Ok(Process {
        program: program(oci, context.listen_fds)?,
        cwd: c_string(&oci.cwd().to_string_lossy())?,
        terminal: oci.terminal().unwrap_or(false).then_some(Terminal { size: size.or(context.window) }),
        identity: Identity {
            uid: user.uid(),
            gid: user.gid(),
            groups: match context.keep_groups {
                true => Groups::Keep,
                false => Groups::Set(user.additional_gids().clone().unwrap_or_default()),
            },
            umask: user.umask(),
        },
        capabilities: capabilities::sets(oci.capabilities().as_ref(), !has_user_namespace(linux)),
        limits: oci.rlimits().iter().flatten().map(|l| limit(l.typ(), l.soft(), l.hard())).collect(),
        no_new_privs: oci.no_new_privileges().unwrap_or(false),
        scheduler: oci.scheduler().as_ref().map(scheduler),
        io_priority: oci.io_priority().as_ref().map(|io| IoPriority {
            class: match io.class() {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            },
            priority: u8::try_from(io.priority()).unwrap_or(0),
        }),
        affinity_initial: cpus(affinity.and_then(|a| a.initial().as_ref()))?,
        affinity_final: cpus(affinity.and_then(|a| a.cpu_affinity_final().as_ref()))?,
        memory_policy: linux.and_then(|l| l.memory_policy().as_ref()).map(memory_policy).transpose()?,
        personality: linux.and_then(|l| l.personality().as_ref()).map(|p| match p.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        }),
        keyring: match context.new_keyring {
            true => Some(c_string(&format!("_ses.{}", context.id))?),
            false => None,
        },
        label: label(oci)?,
        landlock: None,
        filters: linux.and_then(|l| l.seccomp().as_ref()).map(filter).transpose()?.into_iter().collect(),
        preserve_fds: context.preserve_fds,
    })
}

fn has_user_namespace(linux: Option<&Linux>) -> bool {
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

fn program(oci: &OciProcess, listen_fds: u32) -> Result<Program> {
    let args = oci.args().as_deref().unwrap_or_default();
    let name = args.first().ok_or_else(|| Error::new("config.json: process.args", "no program is named"))?;
    let env = oci.env().as_deref().unwrap_or_default();
    let searched = !name.contains('/');
    let candidates = if searched {
        let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
        // A relative directory would mean whatever the working directory holds.
        let directories = path.split(':').filter(|directory| directory.starts_with('/'));
        directories.map(|directory| c_string(&format!("{directory}/{name}"))).collect::<Result<_>>()?
    } else {
        vec![c_string(name)?]
    };
    let mut envp: Vec<_> = env.iter().map(|variable| c_string(variable)).collect::<Result<_>>()?;
    if listen_fds > 0 {
        // The sockets are for the container's first process, which is 1 to itself.
        envp.push(c_string(&format!("LISTEN_FDS={listen_fds}"))?);
        envp.push(c"LISTEN_PID=1".to_owned());
    }
    Ok(Program {
        shown: name.clone(),
        candidates,
        searched,
        argv: args.iter().map(|arg| c_string(arg)).collect::<Result<_>>()?,
        envp,
        find_home: !env.iter().any(|variable| variable.starts_with("HOME=")),
    })
}

fn limit(kind: PosixRlimitType, soft: u64, hard: u64) -> Limit {
    let (resource, name) = match kind {
        PosixRlimitType::RlimitCpu => (Resource::Cpu, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (Resource::Fsize, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (Resource::Data, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (Resource::Stack, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (Resource::Core, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (Resource::Rss, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (Resource::Nproc, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (Resource::Nofile, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (Resource::Memlock, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (Resource::As, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (Resource::Locks, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (Resource::Sigpending, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (Resource::Msgqueue, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (Resource::Nice, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (Resource::Rtprio, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (Resource::Rttime, "RLIMIT_RTTIME"),
    };
    Limit { resource, name, soft, hard }
}

fn scheduler(oci: &Scheduler) -> SchedAttr {
    let policy = match oci.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    SchedAttr {
        // SCHED_ATTR_SIZE_VER0, linux/sched/types.h.
        size: 48,
        policy,
        flags: oci.flags().iter().flatten().map(flag).fold(0, |flags, flag| flags | flag),
        nice: oci.nice().unwrap_or(0),
        priority: oci.priority().and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
        runtime: oci.runtime().unwrap_or(0),
        deadline: oci.deadline().unwrap_or(0),
        period: oci.period().unwrap_or(0),
    }
}

/// `MPOL_*` and `MPOL_F_*` of linux/mempolicy.h.
fn memory_policy(oci: &LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    let mode = match oci.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    let mut nodes = Vec::new();
    for node in number_list(oci.nodes().as_deref().unwrap_or_default())
        .map_err(|error| error.within("config.json: linux.memoryPolicy.nodes"))?
    {
        let word = node / 64;
        if nodes.len() <= word {
            nodes.resize(word + 1, 0_u64);
        }
        if let Some(word) = nodes.get_mut(word) {
            *word |= 1 << (node % 64);
        }
    }
    let flags = oci.flags().iter().flatten().map(flag).fold(0, |flags, flag| flags | flag);
    Ok(MemoryPolicy { mode: mode | flags, nodes })
}

fn label(oci: &OciProcess) -> Result<Option<Label>> {
    let selinux = oci.selinux_label().as_deref().filter(|label| !label.is_empty());
    if let Some(label) = selinux {
        if !Path::new("/sys/fs/selinux/status").exists() {
            return Err(Error::new(
                "config.json: process.selinuxLabel",
                "SELinux is not enabled in this kernel",
            ));
        }
        return Ok(Some(Label { path: c"self/attr/exec".into(), text: c_string(label)? }));
    }
    let Some(profile) = oci.apparmor_profile().as_deref().filter(|profile| !profile.is_empty()) else {
        return Ok(None);
    };
    let enabled =
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    match (enabled, profile) {
        (true, _) => {
            // Since Linux 5.8 AppArmor has a directory of its own, so that modules can be stacked.
            let own = Path::new("/proc/self/attr/apparmor/exec").exists();
            let path = if own { c"self/attr/apparmor/exec" } else { c"self/attr/exec" };
            Ok(Some(Label { path: path.into(), text: c_string(&format!("exec {profile}"))? }))
        }
        (false, "unconfined") => Ok(None),
        (false, _) => Err(Error::new(
            "config.json: process.apparmorProfile",
            "apparmor: config provided but apparmor not supported by this kernel",
        )),
    }
}

pub(super) fn filter(oci: &oci_spec::runtime::LinuxSeccomp) -> Result<Filter> {
    let filter = crate::seccomp::compile(oci)?;
    for name in &filter.unknown {
        crate::log::debug(format_args!("config.json: linux.seccomp: ignored unknown system call {name}"));
    }
    let instruction = |i: &seccompiler::sock_filter| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
    Ok(Filter {
        program: filter.program.iter().map(instruction).collect(),
        flags: filter.flags,
        listen: filter.notify,
    })
}
