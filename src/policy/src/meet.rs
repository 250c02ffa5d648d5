//! Of two policies, of every rule the stricter one.
//!
//! What either refuses, the result refuses. It may refuse a little more: where two exceptions meet, only what both
//! name is left of them.

use oci_spec::runtime::LinuxNamespaceType;

use crate::confinement::{Fallback, Missing};
use crate::rules::{
    DevicesRule, FilterRule, LandlockRule, LimitsRule, MountsRule, NamespacesRule, PathsRule, RootfsRule,
    Rules, UserNamespaceRule,
};
use crate::schema::{Allow, Device, Parameters, Place, is_beneath};
use crate::seccomp::Profile;

pub(crate) fn rules(a: &Rules, b: &Rules) -> Rules {
    let mut rlimits = a.rlimits.clone();
    for (limit, most) in &b.rlimits {
        let ours = rlimits.entry(*limit).or_insert(*most);
        *ours = (*ours).min(*most);
    }
    Rules {
        no_new_privs: a.no_new_privs || b.no_new_privs,
        user_namespace: user_namespace(&a.user_namespace, &b.user_namespace),
        capabilities: both(&a.capabilities, &b.capabilities, |x, y| x == y),
        namespaces: namespaces(&a.namespaces, &b.namespaces),
        seccomp: seccomp(&a.seccomp, &b.seccomp),
        landlock: landlock(&a.landlock, &b.landlock),
        rootfs: rootfs(&a.rootfs, &b.rootfs),
        paths: PathsRule {
            masked: either(&a.paths.masked, &b.paths.masked),
            read_only: either(&a.paths.read_only, &b.paths.read_only),
        },
        devices: DevicesRule {
            allow: both(&a.devices.allow, &b.devices.allow, Device::holds),
            network: a.devices.network && b.devices.network,
        },
        mounts: mounts(&a.mounts, &b.mounts),
        limits: limits(&a.limits, &b.limits),
        rlimits,
        sysctl: both(&a.sysctl, &b.sysctl, Parameters::hold_all),
    }
}

/// What is in one or the other.
fn either<T: Clone + PartialEq>(a: &[T], b: &[T]) -> Vec<T> {
    let more = b.iter().filter(|item| !a.contains(item));
    a.iter().chain(more).cloned().collect()
}

/// What is allowed by one and the other; `holds(x, y)` when x stands for all that y does.
fn both<T: Clone + PartialEq>(a: &Allow<T>, b: &Allow<T>, holds: fn(&T, &T) -> bool) -> Allow<T> {
    match (a, b) {
        (Allow::Any, other) | (other, Allow::Any) => other.clone(),
        (Allow::Only(a), Allow::Only(b)) => Allow::Only(in_both(a, b, holds)),
    }
}

fn in_both<T: Clone + PartialEq>(a: &[T], b: &[T], holds: fn(&T, &T) -> bool) -> Vec<T> {
    let of_a = a.iter().filter(|x| b.iter().any(|y| holds(y, x)));
    let of_b = b.iter().filter(|y| a.iter().any(|x| holds(x, y)));
    let of_a: Vec<T> = of_a.cloned().collect();
    let of_b: Vec<T> = of_b.cloned().collect();
    either(&of_a, &of_b)
}

/// Of two that are not in force, the one that says something.
fn said<T: Clone + PartialEq + Default>(a: &T, b: &T) -> T {
    if *a == T::default() { b.clone() } else { a.clone() }
}

/// The smaller of two numbers, where none is no bound.
fn least<T: Ord + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}

fn user_namespace(a: &UserNamespaceRule, b: &UserNamespaceRule) -> UserNamespaceRule {
    // A fallback is an exception of the one that asks for ids of its own; the other has no say in it.
    let refuses = |rule: &UserNamespaceRule| rule.own && rule.fallback == Fallback::Refuse;
    let own = a.own || b.own;
    let refuse = match own {
        true => refuses(a) || refuses(b),
        false => a.fallback == Fallback::Refuse || b.fallback == Fallback::Refuse,
    };
    let fallback = if refuse { Fallback::Refuse } else { Fallback::Host };
    UserNamespaceRule { own, fallback, map_host_root: a.map_host_root && b.map_host_root }
}

fn namespaces(a: &NamespacesRule, b: &NamespacesRule) -> NamespacesRule {
    let copes = |rule: &NamespacesRule, kind: LinuxNamespaceType| {
        rule.add.contains(&kind) || rule.shared_with_host.admits(|shared| *shared == kind)
    };
    // Adding is milder than refusing: a kind that one of them refuses is not added by the other.
    let add = either(&a.add, &b.add).into_iter().filter(|kind| copes(a, *kind) && copes(b, *kind));
    NamespacesRule {
        add: add.collect(),
        shared_with_host: both(&a.shared_with_host, &b.shared_with_host, |x, y| x == y),
    }
}

/// All of both: they are stacked, but for one compiled in that another is stricter than.
fn seccomp(a: &[FilterRule], b: &[FilterRule]) -> Vec<FilterRule> {
    let all = either(a, b);
    let rank = |rule: &FilterRule| {
        let builtin = Profile::builtin(rule.profile.name()) == Some(&rule.profile);
        Profile::BUILTIN.iter().position(|name| builtin && *name == rule.profile.name())
    };
    let stricter = |one: &FilterRule, other: &FilterRule| {
        let ranks = rank(one).zip(rank(other));
        let less = one.allow.iter().all(|name| other.allow.contains(name));
        less && ranks.is_some_and(|(one, other)| one < other)
    };
    all.iter().filter(|rule| !all.iter().any(|other| stricter(other, rule))).cloned().collect()
}

fn landlock(a: &LandlockRule, b: &LandlockRule) -> LandlockRule {
    // One that is not enforced says nothing.
    let (a, b) = match (a.enforce, b.enforce) {
        (false, false) => return said(a, b),
        (false, true) => return b.clone(),
        (true, false) => return a.clone(),
        (true, true) => (a, b),
    };
    let ports = |a: &Option<Vec<u16>>, b: &Option<Vec<u16>>| match (a, b) {
        (None, ports) | (ports, None) => ports.clone(),
        (Some(a), Some(b)) => Some(in_both(a, b, |x, y| x == y)),
    };
    let refuse = a.missing == Missing::Refuse || b.missing == Missing::Refuse;
    LandlockRule {
        enforce: true,
        writable: both(&a.writable, &b.writable, |x, y| is_beneath(&y.0, &x.0)),
        write_xor_execute: a.write_xor_execute || b.write_xor_execute,
        bind_tcp: ports(&a.bind_tcp, &b.bind_tcp),
        connect_tcp: ports(&a.connect_tcp, &b.connect_tcp),
        scope_abstract_sockets: a.scope_abstract_sockets || b.scope_abstract_sockets,
        scope_signals: a.scope_signals || b.scope_signals,
        missing: if refuse { Missing::Refuse } else { Missing::Report },
    }
}

fn rootfs(a: &RootfsRule, b: &RootfsRule) -> RootfsRule {
    let (a, b) = match (a.read_only, b.read_only) {
        (false, false) => return said(a, b),
        (false, true) => return b.clone(),
        (true, false) => return a.clone(),
        (true, true) => (a, b),
    };
    RootfsRule {
        read_only: true,
        tmpfs: in_both(&a.tmpfs, &b.tmpfs, |x, y| x == y),
        tmpfs_size: a.tmpfs_size.min(b.tmpfs_size),
        tmpfs_exec: a.tmpfs_exec && b.tmpfs_exec,
    }
}

fn mounts(a: &MountsRule, b: &MountsRule) -> MountsRule {
    // An exception counts for the list it is an exception from: a policy that denies nothing has no say.
    let allow_sources = match (a.deny_sources.is_empty(), b.deny_sources.is_empty()) {
        (true, true) => said(&a.allow_sources, &b.allow_sources),
        (true, false) => b.allow_sources.clone(),
        (false, true) => a.allow_sources.clone(),
        (false, false) => in_both(&a.allow_sources, &b.allow_sources, Place::holds_all),
    };
    MountsRule {
        deny_sources: either(&a.deny_sources, &b.deny_sources),
        allow_sources,
        read_only_sources: either(&a.read_only_sources, &b.read_only_sources),
        types: both(&a.types, &b.types, |x, y| x == y),
        read_only_types: either(&a.read_only_types, &b.read_only_types),
        propagation: a.propagation.min(b.propagation),
        nosuid_nodev: a.nosuid_nodev || b.nosuid_nodev,
        writable_noexec: a.writable_noexec || b.writable_noexec,
    }
}

fn limits(a: &LimitsRule, b: &LimitsRule) -> LimitsRule {
    LimitsRule {
        memory: least(a.memory, b.memory),
        memory_max: least(a.memory_max, b.memory_max),
        swap: a.swap && b.swap,
        pids: least(a.pids, b.pids),
        pids_max: least(a.pids_max, b.pids_max),
        cpus: least(a.cpus, b.cpus),
        cpus_max: least(a.cpus_max, b.cpus_max),
        unbounded: a.unbounded && b.unbounded,
    }
}
