//! Capabilities as Docker counts them: its 14, what is added, what is dropped. The policy tightens them later.

use std::collections::BTreeSet;

use casemate_spec::capability::{DOCKER, NAMES};
use oci_spec::runtime::{Capability, LinuxCapabilities};

use super::HostConfig;
use crate::{Failure, Result};

/// What is asked for, each as `CAP_X`.
///
/// # Errors
/// One is not known.
pub fn asked(host_config: &HostConfig) -> Result<BTreeSet<String>> {
    let add = normalized("CapAdd", host_config.cap_add.as_deref().unwrap_or_default())?;
    let drop = normalized("CapDrop", host_config.cap_drop.as_deref().unwrap_or_default())?;
    let set = |list: &[&str]| -> BTreeSet<String> { list.iter().map(|cap| (*cap).to_owned()).collect() };
    if host_config.privileged {
        return Ok(set(&NAMES));
    }
    let all = "ALL";
    Ok(match (add.contains(all), drop.contains(all)) {
        (true, _) => set(&NAMES).difference(&drop).cloned().collect(),
        (false, true) => add,
        (false, false) => set(&DOCKER).difference(&drop).chain(&add).cloned().collect(),
    })
}

/// Capabilities that were named in `CapAdd`, for what is told about them.
pub fn added(host_config: &HostConfig) -> BTreeSet<String> {
    normalized("CapAdd", host_config.cap_add.as_deref().unwrap_or_default()).unwrap_or_default()
}

/// As the runtime's configuration has them: for another user than root none but the bounding set, as execve(2) leaves it.
pub fn sets(asked: &BTreeSet<String>, root: bool) -> LinuxCapabilities {
    let list: std::collections::HashSet<Capability> =
        asked.iter().filter_map(|name| name.strip_prefix("CAP_")?.parse().ok()).collect();
    let mut sets = LinuxCapabilities::default();
    let held = root.then(|| list.clone());
    sets.set_effective(held.clone()).set_permitted(held).set_bounding(Some(list));
    sets.set_inheritable(None).set_ambient(None);
    sets
}

fn normalized(option: &str, names: &[String]) -> Result<BTreeSet<String>> {
    names
        .iter()
        .map(|name| {
            let upper = name.trim().to_ascii_uppercase();
            let full =
                if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            if full == "ALL" || NAMES.contains(&full.as_str()) {
                return Ok(full);
            }
            Err(Failure::invalid(format!("invalid {option}: unknown capability: {full:?}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str], privileged: bool) -> Result<Vec<String>> {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let config =
            HostConfig { cap_add: list(add), cap_drop: list(drop), privileged, ..HostConfig::default() };
        asked(&config).map(|set| set.into_iter().collect())
    }

    #[test]
    fn sets_are_counted_as_docker_does() {
        assert_eq!(names(&[], &[], false).expect("usual"), DOCKER);
        assert_eq!(names(&[], &["ALL"], false).expect("none"), Vec::<String>::new());
        assert_eq!(names(&["sys_admin"], &["all"], false).expect("one"), ["CAP_SYS_ADMIN"]);
        assert_eq!(names(&["ALL"], &["CHOWN"], false).expect("all but one").len(), 40);
        let more = names(&["CAP_NET_ADMIN", "CHOWN"], &["MKNOD"], false).expect("more");
        assert!(more.contains(&"CAP_NET_ADMIN".to_owned()) && !more.contains(&"CAP_MKNOD".to_owned()));
        assert_eq!(more.len(), 14);
        assert_eq!(names(&[], &["ALL"], true).expect("privileged").len(), 41);
        let failure = names(&["MAGIC"], &[], false).expect_err("unknown");
        assert_eq!(failure.message, "invalid CapAdd: unknown capability: \"CAP_MAGIC\"");
        assert!(names(&[], &["", "\0"], false).is_err());
    }

    #[test]
    fn every_name_is_one_of_the_runtimes() {
        let all = names(&["ALL"], &[], false).expect("all").into_iter().collect();
        assert_eq!(sets(&all, true).effective().as_ref().map(std::collections::HashSet::len), Some(41));
        assert_eq!(sets(&all, false).effective(), &None);
        assert_eq!(sets(&all, false).bounding().as_ref().map(std::collections::HashSet::len), Some(41));
    }
}
