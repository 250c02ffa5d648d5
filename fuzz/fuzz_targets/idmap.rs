//! Id mappings: those the gate admits are maps that the kernel takes, and go into the plan unchanged.
#![no_main]

use std::collections::BTreeMap;

use casemate_runtime::plan::id_maps;
use casemate_spec::{config, validate};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|words: Vec<u32>| {
    let lines: Vec<_> = words
        .chunks_exact(3)
        .map(|line| json!({ "containerID": line[0], "hostID": line[1], "size": line[2] }))
        .collect();
    let document = json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["true"], "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [{ "type": "user" }, { "type": "mount" }], "uidMappings": lines, "gidMappings": lines }
    });
    let config = config::parse(document.to_string().as_bytes()).expect("a well-formed document");
    let findings = validate::validate(&config, &validate::Host::default());
    let refused = findings.iter().any(|found| found.field.contains("Mappings"));
    let spec = config.spec.linux().as_ref().expect("linux");
    let maps = id_maps(spec.uid_mappings().as_deref().unwrap_or_default());
    let asked: Vec<_> = words.chunks_exact(3).map(|line| (line[0], line[1], line[2])).collect();
    let kept: Vec<_> = maps.iter().map(|map| (map.inside, map.outside, map.count)).collect();
    assert_eq!(kept, asked);
    assert_eq!(refused, !is_map(&asked), "{asked:?}: {findings:?}");
});

/// Whether the kernel takes `lines` as `uid_map` (user_namespaces(7)), found with the ends of ranges on two maps.
fn is_map(lines: &[(u32, u32, u32)]) -> bool {
    let mut inside = BTreeMap::new();
    let mut outside = BTreeMap::new();
    let fits = |taken: &mut BTreeMap<u64, u64>, first: u32, count: u32| {
        let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
        let free = taken.range(..end).next_back().is_none_or(|(_, last)| *last <= first);
        taken.insert(first, end);
        free && end <= u64::from(u32::MAX)
    };
    let mut all = !lines.is_empty() && lines.len() <= 340;
    for (container, host, count) in lines {
        all &= *count != 0;
        all &= fits(&mut inside, *container, *count);
        all &= fits(&mut outside, *host, *count);
    }
    all
}
