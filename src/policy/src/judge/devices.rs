//! Devices of the host: nodes, the control group's list, and network interfaces.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Case, adding, some_of};
use crate::schema::{Device, Word};

const RULE: &str = "devices";

pub(super) fn apply(case: &mut Case<'_>) {
    network(case);
    if case.rules.devices.allow.list().is_none() {
        return;
    }
    let nodes = foreign_nodes(case);
    let rules = group_rules(case);
    report(case, nodes, rules);
}

fn network(case: &mut Case<'_>) {
    let asked = case.linux().and_then(|linux| linux.net_devices().as_ref());
    let mut names: Vec<String> = asked.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    if case.rules.devices.network || names.is_empty() {
        return;
    }
    names.sort();
    case.deny(
        RULE,
        "linux.netDevices",
        format!("the host's {}", some_of(&names)),
        "no network interface of the host",
        "devices.network = true",
    );
}

/// What stands in the configuration and is no device of the policy's list.
#[derive(Default)]
struct Foreign {
    shown: Vec<String>,
    devices: Vec<Device>,
    /// It cannot be said by number.
    any: bool,
}

impl Foreign {
    fn add(&mut self, shown: String, device: Option<Device>) {
        self.shown.push(shown);
        match device {
            Some(device) if self.devices.contains(&device) => {}
            Some(device) => self.devices.push(device),
            None => self.any = true,
        }
    }
}

fn allowed(case: &Case<'_>, device: &Device) -> bool {
    case.rules.devices.allow.admits(|known| known.holds(device))
}

fn foreign_nodes(case: &Case<'_>) -> Foreign {
    let mut foreign = Foreign::default();
    let listed = case.linux().and_then(|linux| linux.devices().as_ref());
    for node in listed.into_iter().flatten().filter(|node| node.typ() != LinuxDeviceType::P) {
        let device = Device::of(node.typ(), Some(node.major()), Some(node.minor()));
        if !device.is_some_and(|device| allowed(case, &device)) {
            foreign.add(node.path().display().to_string(), device);
        }
    }
    foreign
}

/// Goes through the control group's rules: what lets everything be used is foreign, unless the list says nothing, in
/// which case everything is refused first. What only lets nodes be made goes.
fn group_rules(case: &mut Case<'_>) -> Foreign {
    let mut foreign = Foreign::default();
    let asked = case.linux().and_then(|linux| linux.resources().as_ref());
    let asked = asked.and_then(|resources| resources.devices().clone()).unwrap_or_default();
    let mut kept = Vec::with_capacity(asked.len() + 1);
    let (mut closed, mut open, mut dropped) = (false, None, Vec::new());
    for (index, rule) in asked.into_iter().enumerate() {
        match Verdict::of(case, &rule) {
            Verdict::CloseAll => (closed, open) = (true, None),
            Verdict::OpenAll => open = Some(format!("linux.resources.devices[{index}]")),
            Verdict::Keep => {}
            Verdict::Drop => {
                dropped.push(rule.to_string());
                continue;
            }
            Verdict::Foreign(device) => foreign.add(rule.to_string(), device),
        }
        kept.push(rule);
    }
    if open.is_some() {
        foreign.add("all devices".to_owned(), None);
    } else if !closed {
        let mut first = LinuxDeviceCgroup::default();
        first.set_allow(false).set_access(Some("rwm".to_owned()));
        kept.insert(0, first);
        let field = "linux.resources.devices";
        case.change(RULE, field, "no rule that closes the list", "every other device refused");
    }
    if !dropped.is_empty() {
        let field = "linux.resources.devices";
        case.change(RULE, field, format!("making nodes of {}", some_of(&dropped)), "refused");
    }
    case.resources_mut().set_devices(Some(kept));
    foreign
}

enum Verdict {
    CloseAll,
    OpenAll,
    Keep,
    Drop,
    Foreign(Option<Device>),
}

impl Verdict {
    fn of(case: &Case<'_>, rule: &LinuxDeviceCgroup) -> Self {
        let wild = |number: Option<i64>| number.is_none_or(|number| number < 0);
        let kind = rule.typ().unwrap_or(LinuxDeviceType::A);
        let access = rule.access().as_deref().unwrap_or("rwm");
        let all = kind == LinuxDeviceType::A && wild(rule.major()) && wild(rule.minor());
        let whole = ['r', 'w', 'm'].iter().all(|letter| access.contains(*letter));
        match rule.allow() {
            false if all && whole => return Self::CloseAll,
            false => return Self::Keep,
            true if all && whole => return Self::OpenAll,
            true => {}
        }
        let device = Device::of(kind, rule.major().filter(|major| *major >= 0), rule.minor());
        match device {
            Some(device) if allowed(case, &device) => Self::Keep,
            // A node that cannot be opened is of no use, and making it takes a capability.
            _ if access == "m" => Self::Drop,
            device => Self::Foreign(device),
        }
    }
}

/// One violation for all of them: with `--privileged` there are hundreds, and one line admits each.
fn report(case: &mut Case<'_>, nodes: Foreign, rules: Foreign) {
    let (field, mut foreign) = match nodes.shown.is_empty() {
        true => ("linux.resources.devices", rules),
        false => {
            let mut all = nodes;
            // The nodes' own rules say nothing new.
            for device in rules.devices {
                if !all.devices.contains(&device) {
                    all.add(device.text(), Some(device));
                }
            }
            all.any |= rules.any;
            ("linux.devices", all)
        }
    };
    if foreign.shown.is_empty() {
        return;
    }
    foreign.shown.dedup();
    let known = case.rules.devices.allow.list().unwrap_or_default();
    let known: Vec<String> = known.iter().map(Word::text).collect();
    let remedy = match foreign.any {
        true => "devices.allow = [\"*\"]".to_owned(),
        false => adding("devices.allow", &foreign.devices),
    };
    let shown = some_of(&foreign.shown);
    case.deny(RULE, field, shown, format!("none but {}", known.join(", ")), remedy);
}
