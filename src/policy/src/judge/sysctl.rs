//! Kernel parameters that a container sets for its namespaces.

use casemate_spec::sysctl_path;
use oci_spec::runtime::{Capability, LinuxNamespaceType};

use super::{Case, IDS, adding};
use crate::confinement::UserNamespace;
use crate::schema::{Parameters, quoted};

const RULE: &str = "sysctl";

/// Groups that may make ICMP sockets; the kernel takes ids of the namespace alone.
const PING: &str = "net/ipv4/ping_group_range";
/// From which port on anybody may bind.
const LOW_PORTS: &str = "net/ipv4/ip_unprivileged_port_start";

/// Whether a parameter is one that engines set for every container of theirs: what is for convenience, and changes nothing
/// but what the container may do in its own network.
pub(crate) fn is_usual(key: &str) -> bool {
    sysctl_path(key).is_some_and(|path| [PING, LOW_PORTS].contains(&path.as_str()))
}

pub(super) fn apply(case: &mut Case<'_>) {
    low_ports(case);
    let asked = case.linux().and_then(|linux| linux.sysctl().as_ref());
    let mut keys: Vec<String> = asked.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    for key in keys {
        // A key that names no file was refused before.
        let Some(path) = sysctl_path(&key) else { continue };
        let field = format!("linux.sysctl[{}]", quoted(&key));
        if !case.rules.sysctl.admits(|known| known.hold(&path)) {
            if is_usual(&key) {
                leave_out(case, &key, &field);
                continue;
            }
            let remedy = adding("sysctl.allow", &[Parameters { path: path.clone(), open: false }]);
            case.deny(RULE, &field, key.as_str(), "a parameter that sysctl.allow lists", remedy);
        }
        if path == PING && matches!(case.confinement.user_namespace, UserNamespace::Own { .. }) {
            narrow(case, &key, &field);
        }
    }
}

/// Nobody asked for it: under a policy that does not list it, it stays what the kernel makes it.
fn leave_out(case: &mut Case<'_>, key: &str, field: &str) {
    let Some(sysctl) = case.linux_mut().sysctl_mut().as_mut() else { return };
    if let Some(asked) = sysctl.remove(key) {
        case.change(RULE, field, asked, "the kernel's own");
    }
}

/// A network made by an engine beforehand belongs to the host's ids, and a capability over the container's own does
/// not count there. Who keeps the capability keeps the ports: Docker and containerd set the same for every container.
fn low_ports(case: &mut Case<'_>) {
    let own = matches!(case.confinement.user_namespace, UserNamespace::Own { .. });
    let joined = case.namespace(LinuxNamespaceType::Network).is_some_and(|space| space.path().is_some());
    let hosts = case.is_the_hosts(LinuxNamespaceType::Network);
    let sets = case.process().and_then(|process| process.capabilities().as_ref());
    let held = sets.and_then(|sets| sets.bounding().as_ref());
    let held = held.is_some_and(|held| held.contains(&Capability::NetBindService));
    let set = case.linux().and_then(|linux| linux.sysctl().as_ref());
    let set = set.is_some_and(|set| set.keys().any(|key| sysctl_path(key).as_deref() == Some(LOW_PORTS)));
    let admitted = case.rules.sysctl.admits(|known| known.hold(LOW_PORTS));
    if !own || !joined || hosts || !held || set || !admitted {
        return;
    }
    let key = LOW_PORTS.replace('/', ".");
    let field = format!("linux.sysctl[{}]", quoted(&key));
    case.linux_mut().sysctl_mut().get_or_insert_default().insert(key, "0".to_owned());
    case.change(RULE, field, "CAP_NET_BIND_SERVICE over a network of other ids", "0");
}

/// To the ids there are: the kernel refuses others with EINVAL.
fn narrow(case: &mut Case<'_>, key: &str, field: &str) {
    let Some(sysctl) = case.linux_mut().sysctl_mut().as_mut() else { return };
    let Some(value) = sysctl.get_mut(key) else { return };
    let mut numbers = value.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(low)), Some(Ok(high)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
        return;
    };
    let last = u64::from(IDS) - 1;
    if low.max(high) <= last {
        return;
    }
    // A range that begins beyond the ids is empty, which the kernel writes as "1 0".
    let narrowed = if low > last { "1 0".to_owned() } else { format!("{low} {last}") };
    let asked = std::mem::replace(value, narrowed.clone());
    case.change(RULE, field, asked, narrowed);
}
