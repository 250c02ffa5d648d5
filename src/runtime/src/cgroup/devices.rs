//! Which devices a container may use: the specification's rules in order, brought into one form for v1 and v2.

use std::ops::{BitAnd, Not};

use casemate_spec::{Error, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Cgroup, devices_v1, devices_v2};

/// Character devices every container may use (OCI runtime-spec, "Default Devices"): null, zero, full, random,
/// urandom, tty, ptmx, and the pseudo-terminals themselves.
const DEFAULT_DEVICES: [(u32, Option<u32>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// What a rule is about: mknod(2), reading, writing; the kernel's `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    pub(super) const MKNOD: Self = Self(1);
    pub(super) const READ: Self = Self(2);
    pub(super) const WRITE: Self = Self(4);
    pub(super) const ALL: Self = Self(7);
    pub(super) const NONE: Self = Self(0);

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As v1 writes it.
    pub(super) fn letters(self) -> String {
        let letters = [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')];
        letters.iter().filter(|(bit, _)| !(self & *bit).is_empty()).map(|(_, letter)| letter).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        text.chars().try_fold(Self::NONE, |access, letter| match letter {
            'r' => Ok(access.with(Self::READ)),
            'w' => Ok(access.with(Self::WRITE)),
            'm' => Ok(access.with(Self::MKNOD)),
            other => {
                Err(Error::new("linux.resources.devices.access", format!("{other:?} is none of r, w and m")))
            }
        })
    }
}

impl BitAnd for Access {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Access {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A block device.
    Block,
    /// A character device.
    Char,
}

/// The devices of a rule; none stands for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Devices {
    pub(super) kind: Kind,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

impl Devices {
    /// Whether every device of `other` is one of these.
    pub(super) fn cover(self, other: Self) -> bool {
        let covers = |mine: Option<u32>, theirs| mine.is_none() || mine == theirs;
        self.kind == other.kind && covers(self.major, other.major) && covers(self.minor, other.minor)
    }

    /// Whether some device is in both.
    pub(super) fn meet(self, other: Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

/// One rule; a later one goes before an earlier one, for each kind of access by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) devices: Devices,
    pub(super) access: Access,
}

/// A verdict for every device: the default, and the rules that depart from it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) allow_by_default: bool,
    pub(super) rules: Vec<Rule>,
}

impl Rules {
    /// `linux.resources.devices` in order, starting from "nothing is allowed", and the default devices after them.
    pub(super) fn new(asked: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut all = Self { allow_by_default: false, rules: Vec::new() };
        for (index, rule) in asked.iter().enumerate() {
            all.add(rule).map_err(|e| e.within(format!("linux.resources.devices[{index}]")))?;
        }
        if !all.allow_by_default || !all.rules.is_empty() {
            all.add_defaults();
        }
        Ok(all)
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<()> {
        let number = |field: &str, value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_range| Error::new(field, format!("{value} is no device number"))),
        };
        let (major, minor) = (number("major", rule.major())?, number("minor", rule.minor())?);
        let access =
            rule.access().as_deref().filter(|text| !text.is_empty()).map(Access::parse).transpose()?;
        let kinds: &[Kind] = match rule.typ() {
            Some(LinuxDeviceType::B) => &[Kind::Block],
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[Kind::Char],
            Some(LinuxDeviceType::P) => {
                return Err(Error::new("type", "a fifo is no device that can be ruled over"));
            }
            Some(LinuxDeviceType::A) | None => {
                if major.is_none() && minor.is_none() && access.is_none_or(|access| access == Access::ALL) {
                    *self = Self { allow_by_default: rule.allow(), rules: Vec::new() };
                    return Ok(());
                }
                &[Kind::Block, Kind::Char]
            }
        };
        // Without a word on access, everything is denied but nothing allowed.
        let access = access.unwrap_or(if rule.allow() { Access::NONE } else { Access::ALL });
        let rules = kinds.iter().map(|&kind| Rule {
            allow: rule.allow(),
            devices: Devices { kind, major, minor },
            access,
        });
        self.rules.extend(rules.filter(|rule| !rule.access.is_empty()));
        Ok(())
    }

    fn add_defaults(&mut self) {
        let allow = |kind, major, minor, access| Rule {
            allow: true,
            devices: Devices { kind, major, minor },
            access,
        };
        // Making a node is harmless: using it is what is ruled over.
        self.rules.push(allow(Kind::Char, None, None, Access::MKNOD));
        self.rules.push(allow(Kind::Block, None, None, Access::MKNOD));
        let defaults =
            DEFAULT_DEVICES.map(|(major, minor)| allow(Kind::Char, Some(major), minor, Access::ALL));
        self.rules.extend(defaults);
    }

    /// The verdict on one use of one device, as the kernel has to give it.
    #[cfg(test)]
    pub(super) fn verdict(&self, kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let device = Devices { kind, major: Some(major), minor: Some(minor) };
        [Access::MKNOD, Access::READ, Access::WRITE]
            .into_iter()
            .filter(|bit| !(*bit & access).is_empty())
            .all(|bit| {
                let last =
                    self.rules.iter().rev().find(|r| r.devices.cover(device) && !(r.access & bit).is_empty());
                last.map_or(self.allow_by_default, |rule| rule.allow)
            })
    }
}

/// Puts the rules in force for a new container, on whichever side this host has.
pub(super) fn confine(cgroup: &Cgroup, rules: &Rules) -> Result<()> {
    match (cgroup.v1_dir("devices"), &cgroup.unified) {
        (Some(dir), _) => devices_v1::confine(dir, rules),
        (None, Some(dir)) => devices_v2::confine(dir, rules),
        (None, None) => refuse(cgroup),
    }
}

fn refuse(cgroup: &Cgroup) -> Result<()> {
    let why = match &cgroup.denied {
        Some(denied) => denied.to_string(),
        None => "there is no cgroup to rule over devices".to_owned(),
    };
    Err(Error::new("linux.resources.devices", why))
}
