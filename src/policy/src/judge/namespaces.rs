//! Namespaces: what of the host's a container may see.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};

use super::{Case, adding};
use crate::schema::Word;

const RULE: &str = "namespaces";

/// Every kind that hides something of the host. Time hides nothing that a container could use against it.
const KINDS: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Cgroup,
];

pub(super) fn apply(case: &mut Case<'_>) {
    for kind in KINDS {
        if case.is_the_hosts(kind) {
            shared(case, kind);
        }
    }
}

fn shared(case: &mut Case<'_>, kind: LinuxNamespaceType) {
    let rule = &case.rules.namespaces;
    let name = kind.text();
    // What is joined by path was meant, and is not replaced by something else.
    let asked_by_path = case.namespace(kind).is_some();
    if rule.add.contains(&kind) && !asked_by_path {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        case.linux_mut().namespaces_mut().get_or_insert_with(Vec::new).push(namespace);
        return case.change(RULE, "linux.namespaces", format!("the host's {name} namespace"), "its own");
    }
    if rule.shared_with_host.admits(|shared| *shared == kind) {
        return;
    }
    case.deny(
        RULE,
        "linux.namespaces",
        format!("the host's {name} namespace"),
        format!("a {name} namespace of the container's own"),
        adding("namespaces.shared_with_host", &[kind]),
    );
}
