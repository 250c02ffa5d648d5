//! One row for every protection: what was asked, what is enforced, by which rule, and what it is for.

use std::collections::HashSet;

use casemate_spec::Config;
use casemate_spec::mount::attr;
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources};

use crate::confinement::UserNamespace;
use crate::judge::{IDS, is_bind, options};
use crate::rules::Rules;
use crate::schema::{Cpus, Size, Word, quoted, words};
use crate::{Confinement, HostFacts, Protection};

/// Names of the protections, and what is exposed without each.
pub(crate) const ALL: [(&str, &str); 18] = [
    ("user-namespace", "root of the container is root of the host wherever another protection fails"),
    ("capabilities", "a process can do what only the host's root should"),
    ("no-new-privileges", "set-user-ID programs of the image give more rights than the container was given"),
    ("seccomp", "every system call of the kernel is open to attack"),
    ("landlock", "a process that leaves its root can write to files it then finds"),
    ("read-only-root", "an intruder can change the programs of the image and stay"),
    ("tmpfs", "what is written to temporary places can be executed, and fills the host's disk"),
    ("masked-paths", "the kernel tells of the host's memory, keys and timers"),
    ("read-only-paths", "settings of the whole host can be changed through /proc"),
    ("devices", "disks and memory of the host can be read and written"),
    ("namespaces", "processes, network and names of the host can be seen and touched"),
    ("mounts", "files of the host can be changed, or run with their rights"),
    ("memory", "one container can take all memory of the host"),
    ("swap", "one container can make the whole host swap"),
    ("pids", "a fork bomb takes every process of the host"),
    ("cpu", "one container can take all processor time"),
    ("rlimits", "core dumps and descriptors are as unlimited as the engine's own"),
    ("sysctls", "kernel parameters of the container's namespaces are open"),
];

/// What a configuration comes to, protection by protection.
pub(crate) struct View([String; 18]);

impl View {
    /// `confinement` is none for what was asked.
    pub(crate) fn of(config: &Config, host: &HostFacts, confinement: Option<&Confinement>) -> Self {
        let spec = &config.spec;
        let linux = spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let process = spec.process().as_ref();
        let privileges = process.and_then(|process| process.no_new_privileges()) == Some(true);
        let read_only = spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true));
        let unlimited = match host.no_limits.as_ref().filter(|_| confinement.is_some()) {
            Some(reason) => format!("unlimited: {reason}"),
            None => "unlimited".to_owned(),
        };
        let count = |list: Option<&Option<Vec<String>>>| match list.and_then(Option::as_ref).map(Vec::len) {
            None | Some(0) => "none".to_owned(),
            Some(count) => format!("{count} paths"),
        };
        Self([
            user_namespace(linux, host, confinement),
            capabilities(config),
            if privileges { "on" } else { "off" }.to_owned(),
            seccomp(linux, confinement),
            landlock(host, confinement),
            if read_only { "read-only" } else { "writable" }.to_owned(),
            tmpfs(config),
            count(linux.map(Linux::masked_paths)),
            count(linux.map(Linux::readonly_paths)),
            devices(linux, resources),
            namespaces(linux, host),
            mounts(config),
            limit(resources, &unlimited, |r| Some(Size(positive((*r.memory())?.limit())?).to_string())),
            limit(resources, &unlimited, swap),
            limit(resources, &unlimited, |r| Some(positive(Some(r.pids().as_ref()?.limit()))?.to_string())),
            limit(resources, &unlimited, cpu),
            rlimits(config),
            sysctls(linux),
        ])
    }
}

/// The rows, in the order of [`ALL`].
pub(crate) fn rows(asked: View, enforced: View, rules: &Rules) -> Vec<Protection> {
    let texts = asked.0.into_iter().zip(enforced.0);
    let rules = rule_texts(rules);
    let all = ALL.into_iter().zip(texts).zip(rules);
    all.map(|(((name, exposes), (asked, enforced)), rule)| Protection {
        name,
        asked,
        enforced,
        rule,
        exposes,
    })
    .collect()
}

fn user_namespace(linux: Option<&Linux>, host: &HostFacts, confinement: Option<&Confinement>) -> String {
    if confinement.is_some_and(|c| matches!(c.user_namespace, UserNamespace::Own { .. })) {
        return match host.store_range {
            true => format!("the {IDS} ids of the caller's store, shared with its other containers"),
            false => format!("its own range of {IDS} ids"),
        };
    }
    let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let mut listed = listed.filter(|namespace| namespace.typ() == LinuxNamespaceType::User);
    match listed.next().map(|namespace| namespace.path()) {
        Some(Some(_)) if host.host.shared.contains(&LinuxNamespaceType::User) => "the host's".to_owned(),
        Some(Some(path)) => format!("joined at {}", path.display()),
        Some(None) => "new, with the bundle's ids".to_owned(),
        None if host.in_user_namespace || host.host.rootless => "inherited from the caller".to_owned(),
        None => match host.no_range.as_ref().filter(|_| confinement.is_some()) {
            Some(reason) => format!("the host's: {reason}"),
            None => "the host's".to_owned(),
        },
    }
}

fn capabilities(config: &Config) -> String {
    let sets = config.spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let mut held = HashSet::new();
    if let Some(sets) = sets {
        let all = [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()];
        held.extend(all.into_iter().flatten().flatten());
    }
    let mut names: Vec<String> = held.into_iter().map(ToString::to_string).collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

fn seccomp(linux: Option<&Linux>, confinement: Option<&Confinement>) -> String {
    let ours = confinement.map_or(0, |confinement| confinement.filters.len());
    let theirs = linux.and_then(|linux| linux.seccomp().as_ref()).is_some();
    match (ours, theirs) {
        (0, false) => "none".to_owned(),
        (0, true) => "the bundle's".to_owned(),
        (1, false) => "the policy's".to_owned(),
        (1, true) => "the policy's and the bundle's".to_owned(),
        (ours, false) => format!("{ours} of the policy's"),
        (ours, true) => format!("{ours} of the policy's and the bundle's"),
    }
}

fn landlock(host: &HostFacts, confinement: Option<&Confinement>) -> String {
    let Some(rules) = confinement.and_then(|confinement| confinement.landlock.as_ref()) else {
        return "none".to_owned();
    };
    let abi = host.landlock_abi;
    if abi == 0 {
        return "none: the kernel has no Landlock".to_owned();
    }
    // What is asked, the ABI that brought it (landlock(7)), and how it reads in force.
    let ports =
        |what: &str, ports: &Option<Vec<u16>>| ports.as_ref().map(|ports| format!("TCP {what} {ports:?}"));
    let scope = |on: bool, what: &str| on.then(|| format!("no {what} outside"));
    let parts = [
        (3, "truncation", Some(String::new())),
        (4, "TCP bind", ports("bind", &rules.bind_tcp)),
        (4, "TCP connect", ports("connect", &rules.connect_tcp)),
        (5, "ioctl of devices", Some(String::new())),
        (6, "abstract sockets", scope(rules.scope_abstract_sockets, "abstract sockets")),
        (6, "signals", scope(rules.scope_signals, "signals")),
    ];
    let mut text = format!("writes beneath {}", rules.writable.join(" "));
    if rules.write_xor_execute {
        text.push_str("; nothing writable is executed");
    }
    let mut lacking = Vec::new();
    for (needs, name, shown) in parts {
        match shown {
            Some(_) if abi < needs => lacking.push(format!("{name} (ABI {needs})")),
            Some(shown) if !shown.is_empty() => text.push_str(&format!("; {shown}")),
            _ => {}
        }
    }
    if !lacking.is_empty() {
        text.push_str(&format!("; not restricted by this kernel's ABI {abi}: {}", lacking.join(", ")));
    }
    text
}

fn tmpfs(config: &Config) -> String {
    let places = config.spec.mounts().iter().flatten().filter(|mount| {
        let options = options(mount);
        mount.typ().as_deref() == Some("tmpfs") && options.set & attr::NOEXEC != 0
    });
    let places: Vec<String> = places.map(|mount| mount.destination().display().to_string()).collect();
    if places.is_empty() { "none".to_owned() } else { places.join(" ") }
}

fn devices(linux: Option<&Linux>, resources: Option<&LinuxResources>) -> String {
    let nodes = linux.and_then(|linux| linux.devices().as_ref()).map_or(0, Vec::len);
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    let closed = rules.is_some_and(|rules| rules.iter().any(|rule| !rule.allow() && rule.major().is_none()));
    match (closed, nodes) {
        (false, _) => "all".to_owned(),
        (true, 0) => "the standard ones".to_owned(),
        (true, more) => format!("the standard ones and {more} of the host's"),
    }
}

fn namespaces(linux: Option<&Linux>, host: &HostFacts) -> String {
    let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let own = listed.filter(|n| !host.host.shared.contains(&n.typ()) && n.typ() != LinuxNamespaceType::User);
    let own: Vec<String> = own.map(|namespace| namespace.typ().text()).collect();
    if own.is_empty() { "none".to_owned() } else { own.join(" ") }
}

fn mounts(config: &Config) -> String {
    let binds: Vec<_> = config.spec.mounts().iter().flatten().filter(|mount| is_bind(mount)).collect();
    let loose = |bit: u64| binds.iter().filter(|mount| options(mount).set & bit == 0).count();
    let (writable, suid) = (loose(attr::RDONLY), loose(attr::NOSUID));
    format!("{} of the host, {writable} writable, {suid} with set-user-ID programs", binds.len())
}

fn positive(limit: Option<i64>) -> Option<u64> {
    limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
}

fn limit(
    resources: Option<&LinuxResources>,
    none: &str,
    read: impl Fn(&LinuxResources) -> Option<String>,
) -> String {
    resources.and_then(read).unwrap_or_else(|| none.to_owned())
}

fn swap(resources: &LinuxResources) -> Option<String> {
    let memory = (*resources.memory())?;
    let (limit, both) = (positive(memory.limit())?, positive(memory.swap())?);
    match both.saturating_sub(limit) {
        0 => Some("none".to_owned()),
        swap => Some(Size(swap).to_string()),
    }
}

fn cpu(resources: &LinuxResources) -> Option<String> {
    let cpu = resources.cpu().as_ref()?;
    let period = cpu.period().filter(|period| *period > 0).unwrap_or(100_000);
    Some(format!("{} CPUs", Cpus(positive(cpu.quota())?.saturating_mul(1000) / period)))
}

fn rlimits(config: &Config) -> String {
    let limits = config.spec.process().as_ref().and_then(|process| process.rlimits().as_ref());
    let mut texts: Vec<String> = limits
        .into_iter()
        .flatten()
        .map(|limit| {
            let name = limit.typ().to_string().trim_start_matches("RLIMIT_").to_lowercase();
            format!("{name}={}", limit.hard())
        })
        .collect();
    texts.sort();
    if texts.is_empty() { "inherited".to_owned() } else { texts.join(" ") }
}

fn sysctls(linux: Option<&Linux>) -> String {
    match linux.and_then(|linux| linux.sysctl().as_ref()).map_or(0, |map| map.len()) {
        0 => "none set".to_owned(),
        count => format!("{count} set"),
    }
}

/// The line of the policy that decides each row, in the order of [`ALL`].
fn rule_texts(rules: &Rules) -> [String; 18] {
    let allowed =
        |key: &str, list: Option<String>| format!("{key} = {}", list.unwrap_or("[\"*\"]".to_owned()));
    let mode = if rules.user_namespace.own { "own" } else { "as-asked" };
    let on = if rules.no_new_privs { "on" } else { "as-asked" };
    let profiles: Vec<&str> = rules.seccomp.iter().map(|rule| rule.profile.name()).collect();
    let profiles = if profiles.is_empty() { "none".to_owned() } else { profiles.join("+") };
    let landlock = if rules.landlock.enforce { "enforce" } else { "as-asked" };
    let unset = || "\"as-asked\"".to_owned();
    let size = |size: Option<Size>| size.map_or_else(unset, |size| quoted(&size.to_string()));
    let rlimits: Vec<String> =
        rules.rlimits.iter().map(|(n, most)| format!("{} = {most}", n.name())).collect();
    [
        format!("user_namespace.mode = \"{mode}\""),
        allowed("capabilities.at_most", rules.capabilities.list().map(words)),
        format!("no_new_privs = \"{on}\""),
        format!("seccomp.profile = {}", quoted(&profiles)),
        format!("landlock.mode = \"{landlock}\""),
        format!("rootfs.read_only = {}", rules.rootfs.read_only),
        format!("rootfs.tmpfs = {}", words(&rules.rootfs.tmpfs)),
        format!("paths.masked, {} paths", rules.paths.masked.len()),
        format!("paths.read_only, {} paths", rules.paths.read_only.len()),
        allowed("devices.allow", rules.devices.allow.list().map(words)),
        allowed("namespaces.shared_with_host", rules.namespaces.shared_with_host.list().map(words)),
        format!("mounts.deny_sources, {} places", rules.mounts.deny_sources.len()),
        format!("limits.memory = {}", size(rules.limits.memory)),
        format!("limits.swap = {}", rules.limits.swap),
        format!("limits.pids = {}", rules.limits.pids.map_or_else(unset, |pids| pids.to_string())),
        format!("limits.cpus = {}", rules.limits.cpus.map_or_else(unset, |cpus| cpus.to_string())),
        if rlimits.is_empty() { "rlimits".to_owned() } else { format!("rlimits: {}", rlimits.join(", ")) },
        allowed("sysctl.allow", rules.sysctl.list().map(words)),
    ]
}
