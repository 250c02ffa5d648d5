//! Kernel parameters that a container sets for its namespaces.

use casemate_spec::sysctl_path;

use super::{Case, IDS, adding};
use crate::confinement::UserNamespace;
use crate::schema::{Parameters, quoted};

const RULE: &str = "sysctl";

/// Groups that may make ICMP sockets; the kernel takes ids of the namespace alone.
const PING: &str = "net/ipv4/ping_group_range";

pub(super) fn apply(case: &mut Case<'_>) {
    let asked = case.linux().and_then(|linux| linux.sysctl().as_ref());
    let mut keys: Vec<String> = asked.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    for key in keys {
        // A key that names no file was refused before.
        let Some(path) = sysctl_path(&key) else { continue };
        let field = format!("linux.sysctl[{}]", quoted(&key));
        if !case.rules.sysctl.admits(|known| known.hold(&path)) {
            let remedy = adding("sysctl.allow", &[Parameters { path: path.clone(), open: false }]);
            case.deny(RULE, &field, key.as_str(), "a parameter that sysctl.allow lists", remedy);
        }
        if path == PING && matches!(case.confinement.user_namespace, UserNamespace::Own { .. }) {
            narrow(case, &key, &field);
        }
    }
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
