//! How contained an admitted configuration is: each protection weighed, in the manner of `systemd-analyze security`.

use casemate_spec::mount::attr;
use oci_spec::runtime::{Capability, Linux, LinuxNamespaceType, LinuxResources};

use crate::confinement::UserNamespace;
use crate::judge::{is_bind, is_usual, options};
use crate::protections::ALL;
use crate::{Admitted, Protection};

/// The whole judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Grade {
    /// One row for each protection, in the order of [`Admitted::protections`].
    pub rows: Vec<Row>,
    /// From 0.0, nothing exposed, to 10.0: everything.
    pub exposure: f64,
    /// `safe`, `ok`, `medium`, `exposed` or `unsafe`.
    pub word: &'static str,
}

/// One protection.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name, as in [`Protection`].
    pub name: &'static str,
    /// What is enforced.
    pub enforced: String,
    /// How much it is worth, compared with the others.
    pub weight: u8,
    /// From 0, in force, to 10: missing.
    pub missing: u8,
    /// What it adds to the whole exposure.
    pub exposure: f64,
    /// What is exposed; empty where nothing is missing.
    pub exposes: &'static str,
}

/// Worth of each protection of [`ALL`]: what keeps a process in weighs more than what keeps it fair.
const WEIGHTS: [u8; 18] = [10, 10, 5, 10, 4, 4, 2, 4, 4, 8, 10, 8, 5, 2, 5, 2, 1, 1];

/// Weighs what was admitted.
pub fn grade(admitted: &Admitted) -> Grade {
    let sum: u32 = WEIGHTS.iter().map(|weight| u32::from(*weight)).sum();
    let missing = missing(admitted);
    let rows = admitted.protections().iter().zip(WEIGHTS).zip(missing);
    let rows: Vec<Row> = rows
        .map(|((protection, weight), missing)| {
            let Protection { name, enforced, exposes, .. } = protection;
            let exposure = f64::from(weight) * f64::from(missing) / f64::from(sum);
            let exposes = if missing == 0 { "" } else { exposes };
            Row { name, enforced: enforced.clone(), weight, missing, exposure, exposes }
        })
        .collect();
    let exposure: f64 = rows.iter().map(|row| row.exposure).sum();
    let word = match exposure {
        ..2.0 => "safe",
        ..4.0 => "ok",
        ..6.0 => "medium",
        ..8.0 => "exposed",
        _ => "unsafe",
    };
    Grade { rows, exposure, word }
}

/// How much of each protection of [`ALL`] is missing.
fn missing(admitted: &Admitted) -> [u8; ALL.len()] {
    let spec = &admitted.config().spec;
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let listed = |list: Option<&Option<Vec<String>>>| {
        // Docker's list has ten and five.
        let count = list.and_then(Option::as_ref).map_or(0, Vec::len);
        unless(count >= 5).min(10 - u8::try_from(count.min(10)).unwrap_or(10))
    };
    let nnp = spec.process().as_ref().and_then(|process| process.no_new_privileges()) == Some(true);
    let read_only = spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true));
    let memory = resources.and_then(|resources| *resources.memory());
    let limit = memory.and_then(|memory| memory.limit()).filter(|limit| *limit > 0);
    let swap = memory.and_then(|memory| memory.swap()).filter(|swap| *swap > 0);
    let pids = resources.and_then(|resources| resources.pids().as_ref()).is_some_and(|pids| pids.limit() > 0);
    let cpu = resources.and_then(|resources| resources.cpu().as_ref()).and_then(|cpu| cpu.quota());
    let core = spec.process().as_ref().and_then(|process| process.rlimits().as_ref());
    let landlock = admitted.confinement().landlock.as_ref();
    [
        user_namespace(admitted),
        capabilities(admitted),
        unless(nnp),
        seccomp(admitted),
        landlock.map_or(10, |rules| if rules.writable.iter().any(|path| path == "/") { 5 } else { 0 }),
        unless(read_only),
        temporary(admitted),
        listed(linux.map(Linux::masked_paths)),
        listed(linux.map(Linux::readonly_paths)),
        devices(linux, resources),
        namespaces(linux),
        mounts(admitted),
        unless(limit.is_some()),
        unless(limit.is_some() && limit == swap),
        unless(pids),
        unless(cpu.is_some_and(|quota| quota > 0)),
        unless(core.is_some_and(|limits| !limits.is_empty())),
        sysctls(linux),
    ]
}

/// What every engine sets exposes nothing.
fn sysctls(linux: Option<&Linux>) -> u8 {
    let mut set = linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten();
    if set.any(|(key, _)| !is_usual(key)) { 2 } else { 0 }
}

fn unless(there: bool) -> u8 {
    if there { 0 } else { 10 }
}

fn user_namespace(admitted: &Admitted) -> u8 {
    let own = matches!(admitted.confinement().user_namespace, UserNamespace::Own { .. });
    let row = admitted.protections().iter().find(|row| row.name == "user-namespace");
    match row.map(|row| row.enforced.as_str()) {
        _ if own => 0,
        // Somebody else's choice of ids, perhaps shared with others.
        Some(text) if !text.starts_with("the host's") => 3,
        _ => 10,
    }
}

/// Those that have led out of containers count in full.
fn capabilities(admitted: &Admitted) -> u8 {
    const FATAL: [Capability; 9] = [
        Capability::SysAdmin,
        Capability::SysModule,
        Capability::SysRawio,
        Capability::SysPtrace,
        Capability::DacReadSearch,
        Capability::Bpf,
        Capability::NetAdmin,
        Capability::SysBoot,
        Capability::Perfmon,
    ];
    let sets = admitted.config().spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let Some(bounding) = sets.and_then(|sets| sets.bounding().as_ref()) else { return 0 };
    match bounding.len() {
        _ if FATAL.iter().any(|fatal| bounding.contains(fatal)) => 10,
        0 => 0,
        1..=8 => 2,
        9..=14 => 4,
        _ => 7,
    }
}

fn seccomp(admitted: &Admitted) -> u8 {
    use oci_spec::runtime::LinuxSeccompAction::{ScmpActAllow, ScmpActLog};
    let theirs = admitted.config().spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let open = |filter: &oci_spec::runtime::LinuxSeccomp| {
        matches!(filter.default_action(), ScmpActAllow | ScmpActLog)
    };
    match (admitted.confinement().filters.is_empty(), theirs) {
        (false, _) => 0,
        (true, Some(theirs)) if !open(theirs) => 2,
        (true, Some(_)) => 8,
        (true, None) => 10,
    }
}

fn temporary(admitted: &Admitted) -> u8 {
    let mounts = admitted.config().spec.mounts().iter().flatten();
    let private = |path: &str| {
        mounts.clone().any(|mount| {
            mount.destination().as_os_str() == path
                && options(mount).set & attr::NOEXEC != 0
                && !is_bind(mount)
        })
    };
    unless(private("/tmp"))
}

fn devices(linux: Option<&Linux>, resources: Option<&LinuxResources>) -> u8 {
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    let closed = rules.is_some_and(|rules| rules.iter().any(|rule| !rule.allow() && rule.major().is_none()));
    let opened = rules.is_some_and(|rules| rules.iter().any(|rule| rule.allow() && rule.major().is_none()));
    let nodes = linux.and_then(|linux| linux.devices().as_ref()).map_or(0, Vec::len);
    match (closed && !opened, nodes) {
        (false, _) => 10,
        (true, 0) => 0,
        (true, _) => 4,
    }
}

fn namespaces(linux: Option<&Linux>) -> u8 {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let listed = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let worth = [(Pid, 3), (Mount, 3), (Network, 2), (Ipc, 1), (Uts, 0), (Cgroup, 1)];
    let missing = worth.iter().filter(|(kind, _)| !listed.iter().any(|n| n.typ() == *kind));
    missing.map(|(_, worth)| worth).sum()
}

fn mounts(admitted: &Admitted) -> u8 {
    let mounts = admitted.config().spec.mounts().iter().flatten();
    let binds = mounts.filter(|mount| is_bind(mount) && options(mount).set & attr::RDONLY == 0);
    let (mut guarded, mut loose) = (0u8, 0u8);
    for mount in binds {
        let count = if options(mount).set & attr::NOSUID != 0 { &mut guarded } else { &mut loose };
        *count = count.saturating_add(1);
    }
    match (loose, guarded) {
        (0, 0) => 0,
        (0, _) => 2,
        (_, _) => 6,
    }
}
