//! Whose ids the container's are.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType};

use super::Case;
use crate::HostFacts;
use crate::confinement::{Fallback, UserNamespace};
use crate::rules::Rules;
use casemate_spec::Config;

const RULE: &str = "user-namespace";

/// How many ids a range has.
pub(crate) const IDS: u32 = 65_536;

/// Namespaces that root of another user namespace has no rights over: binding a low port in the host's network, or
/// mounting /proc of the host's processes, takes the host's own.
const NEEDS_HOST_IDS: [LinuxNamespaceType; 3] =
    [LinuxNamespaceType::Network, LinuxNamespaceType::Pid, LinuxNamespaceType::Ipc];

/// Whether a container of this configuration is given a range of ids. It asks for no user namespace, or for a new one
/// without saying which ids; the latter is what judging leaves, so that judging twice is judging once.
pub(crate) fn takes_range(config: &Config, rules: &Rules, host: &HostFacts) -> bool {
    let Some(linux) = config.spec.linux().as_ref() else { return rules.user_namespace.own };
    let listed = linux.namespaces().iter().flatten().find(|n| n.typ() == LinuxNamespaceType::User);
    let unmapped = |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().is_none_or(Vec::is_empty);
    let free = match listed {
        None => true,
        Some(namespace) => {
            namespace.path().is_none() && unmapped(linux.uid_mappings()) && unmapped(linux.gid_mappings())
        }
    };
    let the_hosts = !host.in_user_namespace && !host.host.rootless;
    let to_be_had = host.no_range.is_none() && (the_hosts || host.store_range);
    rules.user_namespace.own && free && to_be_had
}

pub(super) fn apply(case: &mut Case<'_>) {
    let rule = &case.rules.user_namespace;
    if takes_range(&case.config, case.rules, case.host) {
        let unasked = case.namespace(LinuxNamespaceType::User).is_none();
        let shares = NEEDS_HOST_IDS.iter().any(|kind| case.is_the_hosts(*kind));
        if unasked && shares && rule.fallback == Fallback::Host {
            return;
        }
        return own(case, rule.fallback, unasked);
    }
    if case.host.in_user_namespace || case.host.host.rootless {
        return;
    }
    let Some(namespace) = case.namespace(LinuxNamespaceType::User) else { return without_range(case) };
    let joined = namespace.path().is_some();
    if rule.own && joined && case.host.host.shared.contains(&LinuxNamespaceType::User) {
        case.deny(
            RULE,
            "linux.namespaces",
            "the host's user namespace",
            "ids of the container's own",
            "user_namespace.mode = \"as-asked\"",
        );
    }
    if !rule.map_host_root && !joined {
        deny_root(case);
    }
}

/// Where the host cannot give a range, a policy says whether its own ids will do.
fn without_range(case: &mut Case<'_>) {
    let rule = &case.rules.user_namespace;
    let Some(reason) = case.host.no_range.as_ref().filter(|_| rule.own && rule.fallback == Fallback::Refuse)
    else {
        return;
    };
    let asked = format!("the host's ids ({reason})");
    let remedy = "user_namespace.fallback = \"host\"";
    case.deny(RULE, "linux.namespaces", asked, "ids of the container's own", remedy);
}

/// Adds the namespace; whoever starts the container finds the ids.
fn own(case: &mut Case<'_>, fallback: Fallback, unasked: bool) {
    case.confinement.user_namespace = UserNamespace::Own { fallback };
    if unasked {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(LinuxNamespaceType::User);
        case.linux_mut().namespaces_mut().get_or_insert_with(Vec::new).push(namespace);
        let (was, given) = match case.host.store_range {
            true => ("the caller's ids", format!("the {IDS} ids of the caller's store")),
            false => ("the host's ids", format!("{IDS} ids of the container's own")),
        };
        case.change(RULE, "linux.namespaces", was, given);
    }
    let Some(user) = case.process().map(|process| process.user()) else { return };
    let more = user.additional_gids().iter().flatten().enumerate();
    let more = more.map(|(index, gid)| (format!("process.user.additionalGids[{index}]"), *gid));
    let ids = [("process.user.uid".to_owned(), user.uid()), ("process.user.gid".to_owned(), user.gid())];
    let beyond: Vec<(String, u32)> = ids.into_iter().chain(more).filter(|(_, id)| *id >= IDS).collect();
    for (field, id) in beyond {
        let remedy = "user_namespace.mode = \"as-asked\"";
        case.deny(RULE, field, id.to_string(), format!("an id below {IDS}"), remedy);
    }
}

/// Root of the host beneath another number is root of the host to every file.
fn deny_root(case: &mut Case<'_>) {
    let Some(linux) = case.linux() else { return };
    let maps = [("linux.uidMappings", linux.uid_mappings()), ("linux.gidMappings", linux.gid_mappings())];
    let mut found = Vec::new();
    for (field, map) in maps {
        let of_root = map.iter().flatten().enumerate().filter(|(_, range)| range.host_id() == 0);
        found.extend(of_root.map(|(index, _)| format!("{field}[{index}].hostID")));
    }
    for field in found {
        case.deny(RULE, field, "the host's id 0", "ids other than 0", "user_namespace.map_host_root = true");
    }
}
