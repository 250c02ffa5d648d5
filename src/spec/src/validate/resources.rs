//! Devices, resources, and the rest of `linux` whose words become file names or kernel arguments.

use std::collections::HashSet;

use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemoryPolicy, LinuxResources,
    MemoryPolicyFlagType, MemoryPolicyModeType,
};

use super::{Findings, lists, shown};
use crate::Violation;

/// The largest numbers a device can have: 12 bits major, 20 bits minor (`MKDEV`).
const MOST_MAJOR: i64 = 0xfff;
const MOST_MINOR: i64 = 0xf_ffff;

pub(super) fn check(linux: &Linux, findings: &mut Findings) {
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        check_device(device, &format!("linux.devices[{index}]"), findings);
    }
    if let Some(resources) = linux.resources() {
        check_resources(resources, "linux.resources.", findings);
    }
    let flags = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref());
    if flags.is_some_and(|flags| !flags.is_empty()) {
        findings.add("oci/personality", "linux.personality.flags", "none: no flag is defined", "some");
    }
    let class = linux.intel_rdt().as_ref().and_then(|rdt| rdt.clos_id().as_ref());
    if let Some(class) = class.filter(|class| !lists::is_file_name(class)) {
        findings.add("oci/intelRdt", "linux.intelRdt.closID", "a file name", shown(class));
    }
    if let Some(policy) = linux.memory_policy() {
        check_memory_policy(policy, findings);
    }
}

/// All rules that resources for `update` break; fields are named as that document names them.
pub fn validate_resources(resources: &LinuxResources) -> Vec<Violation> {
    let mut findings = Findings::default();
    check_resources(resources, "", &mut findings);
    findings.0
}

fn check_device(device: &LinuxDevice, field: &str, findings: &mut Findings) {
    if device.path().as_os_str().is_empty() {
        findings.add("oci/devices", format!("{field}.path"), "a path", "an empty text");
    }
    if device.typ() == LinuxDeviceType::A {
        findings.add("oci/devices", format!("{field}.type"), "b, c, u or p", "a");
    }
    let numbered = device.typ() != LinuxDeviceType::P;
    for (name, number, most) in [("major", device.major(), MOST_MAJOR), ("minor", device.minor(), MOST_MINOR)]
    {
        if numbered && !(0..=most).contains(&number) {
            findings.add(
                "oci/devices",
                format!("{field}.{name}"),
                format!("0 to {most}"),
                number.to_string(),
            );
        }
    }
}

fn check_resources(resources: &LinuxResources, prefix: &str, findings: &mut Findings) {
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        check_device_rule(rule, &format!("{prefix}devices[{index}]"), findings);
    }
    if let Some(cpu) = resources.cpu() {
        for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
            if let Some(list) = list.as_ref().filter(|list| !lists::is_list(list)) {
                findings.add("oci/cpu", format!("{prefix}cpu.{name}"), "a list such as 0-3,7", shown(list));
            }
        }
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        if !is_page_size(limit.page_size()) {
            let field = format!("{prefix}hugepageLimits[{index}].pageSize");
            findings.add("oci/hugepages", field, "a size such as 2MB", shown(limit.page_size()));
        }
    }
    let priorities = resources.network().as_ref().and_then(|network| network.priorities().as_ref());
    for (index, priority) in priorities.into_iter().flatten().enumerate() {
        if !lists::is_interface_name(priority.name()) {
            let field = format!("{prefix}network.priorities[{index}].name");
            findings.add("oci/network", field, "the name of a network interface", shown(priority.name()));
        }
    }
    check_named(resources, prefix, findings);
}

/// Keys that are joined to a cgroup's directory, or written into one of its files.
fn check_named(resources: &LinuxResources, prefix: &str, findings: &mut Findings) {
    let mut unified: Vec<_> = resources.unified().iter().flatten().map(|(key, _)| key).collect();
    unified.sort();
    for key in unified.into_iter().filter(|key| !lists::is_file_name(key)) {
        findings.add("oci/unified", format!("{prefix}unified"), "names of cgroup files", shown(key));
    }
    let mut rdma: Vec<_> = resources.rdma().iter().flatten().map(|(key, _)| key).collect();
    rdma.sort();
    for key in rdma.into_iter().filter(|key| !lists::is_file_name(key) || key.contains(char::is_whitespace)) {
        findings.add("oci/rdma", format!("{prefix}rdma"), "names of RDMA devices", shown(key));
    }
}

fn check_device_rule(rule: &LinuxDeviceCgroup, field: &str, findings: &mut Findings) {
    if let Some(kind) = rule.typ().filter(|kind| matches!(kind, LinuxDeviceType::U | LinuxDeviceType::P)) {
        findings.add("oci/devices", format!("{field}.type"), "a, b or c", kind.as_str());
    }
    if let Some(access) = rule.access().as_ref().filter(|access| !access.bytes().all(|b| b"rwm".contains(&b)))
    {
        findings.add("oci/devices", format!("{field}.access"), "some of r, w and m", shown(access));
    }
    for (name, number, most) in [("major", rule.major(), MOST_MAJOR), ("minor", rule.minor(), MOST_MINOR)] {
        // Engines write -1 for "any", which the specification says by leaving the number out.
        if let Some(number) = number.filter(|number| !(-1..=most).contains(number)) {
            findings.add(
                "oci/devices",
                format!("{field}.{name}"),
                format!("0 to {most}"),
                number.to_string(),
            );
        }
    }
}

/// The form the kernel's file names have, and the schema: `^[1-9][0-9]*[KMG]B$`.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].into_iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or_default();
    !number.is_empty() && !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit())
}

/// `set_mempolicy(2)`.
fn check_memory_policy(policy: &LinuxMemoryPolicy, findings: &mut Findings) {
    use MemoryPolicyModeType::{MpolBind, MpolDefault, MpolLocal, MpolPreferred, MpolPreferredMany};
    let (field, rule) = ("linux.memoryPolicy.nodes", "oci/memoryPolicy");
    let nodes = policy.nodes().as_deref().unwrap_or_default();
    if !lists::is_list(nodes) {
        findings.add(rule, field, "a list of memory nodes such as 0-3,7", shown(nodes));
    }
    let mode = policy.mode();
    let without = matches!(mode, MpolDefault | MpolLocal);
    if without && !nodes.trim().is_empty() {
        findings.add(rule, field, format!("no nodes with {mode}"), shown(nodes));
    }
    if !without && mode != MpolPreferred && nodes.trim().is_empty() {
        findings.add(rule, field, format!("nodes for {mode}"), "none");
    }
    let flags: HashSet<String> = policy.flags().iter().flatten().map(ToString::to_string).collect();
    let has = |flag: MemoryPolicyFlagType| flags.contains(&flag.to_string());
    let field = "linux.memoryPolicy.flags";
    if has(MemoryPolicyFlagType::MpolFStaticNodes) && has(MemoryPolicyFlagType::MpolFRelativeNodes) {
        findings.add(rule, field, "MPOL_F_STATIC_NODES or MPOL_F_RELATIVE_NODES", "both");
    }
    if has(MemoryPolicyFlagType::MpolFNumaBalancing) && !matches!(mode, MpolBind | MpolPreferredMany) {
        let allowed = "MPOL_F_NUMA_BALANCING with MPOL_BIND or MPOL_PREFERRED_MANY";
        findings.add(rule, field, allowed, mode.to_string());
    }
}
