//! Id mappings: of the container's user namespace and of its mounts (`user_namespaces(7)`).

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use super::{Findings, Spaces};

/// The most lines the kernel takes in one map (Linux 4.15).
const MOST_LINES: usize = 340;

pub(super) fn check(spec: &Spec, spaces: &Spaces<'_>, findings: &mut Findings) {
    let maps = [("linux.uidMappings", spaces.uids), ("linux.gidMappings", spaces.gids)];
    for (field, map) in maps {
        check_map(map, field, findings);
        if spaces.is_new(LinuxNamespaceType::User) && map.is_empty() {
            findings.add("oci/idMappings", field, "a mapping for the new user namespace", "none");
        }
        if !spaces.has(LinuxNamespaceType::User) && !map.is_empty() {
            findings.add("oci/idMappings", field, "no mapping without a user namespace", "one");
            findings.remedy("add {\"type\": \"user\"} to linux.namespaces");
        }
    }
    // Of a namespace joined by path the kernel alone knows what is mapped.
    if spaces.is_new(LinuxNamespaceType::User) {
        check_user(spec, spaces, findings);
    }
}

/// Lines the kernel would refuse: empty, beyond the ids there are, or overlapping on either side.
pub(super) fn check_map(map: &[LinuxIdMapping], field: &str, findings: &mut Findings) {
    if map.len() > MOST_LINES {
        findings.add("oci/idMappings", field, "at most 340 ranges", map.len().to_string());
    }
    for (index, range) in map.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if range.size() == 0 {
            findings.add("oci/idMappings", format!("{field}.size"), "at least 1", "0");
        }
        for (name, first) in [("containerID", range.container_id()), ("hostID", range.host_id())] {
            // The last id is no id: it is how the kernel says "none".
            if u64::from(first) + u64::from(range.size()) > u64::from(u32::MAX) {
                let asked = format!("{} ids from {first}", range.size());
                findings.add("oci/idMappings", format!("{field}.{name}"), "ids up to 4294967294", asked);
            }
        }
    }
    if overlap(map, LinuxIdMapping::container_id) {
        findings.add("oci/idMappings", field, "each container id once", "ranges that overlap");
    }
    if overlap(map, LinuxIdMapping::host_id) {
        findings.add("oci/idMappings", field, "each host id once", "ranges that overlap");
    }
}

fn overlap(map: &[LinuxIdMapping], side: fn(&LinuxIdMapping) -> u32) -> bool {
    let mut ranges: Vec<(u64, u64)> = map.iter().map(|r| (side(r).into(), r.size().into())).collect();
    ranges.sort_unstable();
    ranges.iter().zip(ranges.iter().skip(1)).any(|((first, size), (next, _))| first + size > *next)
}

fn check_user(spec: &Spec, spaces: &Spaces<'_>, findings: &mut Findings) {
    let Some(user) = spec.process().as_ref().map(|process| process.user()) else { return };
    let mut check = |field: String, id: u32, map: &[LinuxIdMapping], list: &str| {
        if !is_mapped(map, id) {
            findings.add("oci/user", field, format!("an id that {list} maps"), id.to_string());
        }
    };
    check("process.user.uid".to_owned(), user.uid(), spaces.uids, "linux.uidMappings");
    check("process.user.gid".to_owned(), user.gid(), spaces.gids, "linux.gidMappings");
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        check(format!("process.user.additionalGids[{index}]"), *gid, spaces.gids, "linux.gidMappings");
    }
}

/// Whether the container id `id` has a host id.
pub(super) fn is_mapped(map: &[LinuxIdMapping], id: u32) -> bool {
    map.iter().any(|range| id.checked_sub(range.container_id()).is_some_and(|offset| offset < range.size()))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxIdMappingBuilder;
    use proptest::prelude::*;

    use super::*;

    fn range((container, host, size): (u32, u32, u32)) -> LinuxIdMapping {
        LinuxIdMappingBuilder::default().container_id(container).host_id(host).size(size).build().unwrap()
    }

    proptest! {
        /// Against the definition: a map is good when every id of either side is in at most one range.
        #[test]
        fn agrees_with_counting(ranges in proptest::collection::vec((0u32..24, 0u32..24, 0u32..6), 0..5)) {
            let map: Vec<_> = ranges.iter().copied().map(range).collect();
            let mut findings = Findings::default();
            check_map(&map, "m", &mut findings);
            let once = |side: fn(&LinuxIdMapping) -> u32| (0..32).all(|id| {
                map.iter().filter(|r| (side(r)..side(r) + r.size()).contains(&id)).count() <= 1
            });
            let sizes = map.iter().all(|r| r.size() > 0);
            if sizes {
                let good = once(LinuxIdMapping::container_id) && once(LinuxIdMapping::host_id);
                prop_assert_eq!(findings.0.is_empty(), good);
            } else {
                prop_assert!(!findings.0.is_empty());
            }
            for id in 0..32 {
                let counted = map.iter().any(|r| (r.container_id()..r.container_id() + r.size()).contains(&id));
                prop_assert_eq!(is_mapped(&map, id), counted);
            }
        }
    }

    #[test]
    fn the_whole_range_may_be_mapped_and_no_more() {
        let refused = |r| {
            let mut findings = Findings::default();
            check_map(&[range(r)], "m", &mut findings);
            findings.0.len()
        };
        assert_eq!(refused((0, 0, u32::MAX)), 0);
        assert_eq!(refused((1, 0, u32::MAX)), 1);
        assert_eq!(refused((u32::MAX, u32::MAX, u32::MAX)), 2);
    }
}
