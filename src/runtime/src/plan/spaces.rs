//! Namespaces and id maps.

use casemate_core::plan::{IdMap, Maps, Space, Spaces};
use casemate_spec::Result;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::text::c_string;

/// How many ids a container's own range has.
const OWN_IDS: u32 = crate::ids::Range::SIZE;

pub(super) fn spaces(linux: Option<&Linux>, own: Option<u32>) -> Result<Spaces> {
    let mut spaces = Spaces::default();
    let Some(linux) = linux else { return Ok(spaces) };
    for namespace in linux.namespaces().iter().flatten() {
        let space = kind(namespace.typ());
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => spaces.join.push((space, c_string(&path.to_string_lossy())?)),
            None => spaces.new.push(space),
        }
    }
    if spaces.makes(Space::User) {
        let range = own.map(|outside| vec![IdMap { inside: 0, outside, count: OWN_IDS }]);
        let uids = id_maps(linux.uid_mappings().as_deref().unwrap_or_default());
        let gids = id_maps(linux.gid_mappings().as_deref().unwrap_or_default());
        let own = range.map(|range| Maps { uids: range.clone(), gids: range });
        spaces.maps = Some(own.unwrap_or(Maps { uids, gids }));
    }
    let mut offsets: Vec<_> = linux.time_offsets().iter().flatten().collect();
    offsets.sort_by_key(|(clock, _)| clock.as_str());
    for (clock, offset) in offsets {
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        spaces.time_offsets.push(c_string(&format!("{clock} {seconds} {nanoseconds}"))?);
    }
    Ok(spaces)
}

/// The kind in the core's words.
pub fn kind(kind: LinuxNamespaceType) -> Space {
    match kind {
        LinuxNamespaceType::Mount => Space::Mount,
        LinuxNamespaceType::Cgroup => Space::Cgroup,
        LinuxNamespaceType::Uts => Space::Uts,
        LinuxNamespaceType::Ipc => Space::Ipc,
        LinuxNamespaceType::User => Space::User,
        LinuxNamespaceType::Pid => Space::Pid,
        LinuxNamespaceType::Network => Space::Network,
        LinuxNamespaceType::Time => Space::Time,
    }
}

/// Id maps in the core's words.
pub fn id_maps(mappings: &[LinuxIdMapping]) -> Vec<IdMap> {
    let map = |m: &LinuxIdMapping| IdMap { inside: m.container_id(), outside: m.host_id(), count: m.size() };
    mappings.iter().map(map).collect()
}
