//! Capability names and numbers, linux/capability.h.

use std::collections::HashSet;

use casemate_core::plan::Capabilities;
use oci_spec::runtime::{Capability, LinuxCapabilities};

use crate::log;

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The sets as bit masks, as far as the kernel will give them; none asked for is none given.
///
/// What cannot be granted is warned of and left out ("the runtime SHOULD NOT fail", config.md, "Linux Process"). With
/// `limited`, what this process may itself is the limit; a user namespace brings every capability over itself.
pub(super) fn sets(capabilities: Option<&LinuxCapabilities>, limited: bool) -> Capabilities {
    let Some(capabilities) = capabilities else { return Capabilities::default() };
    let own = if limited { own_permitted() } else { u64::MAX };
    let granted = |set: &str, asked: Option<&HashSet<Capability>>| {
        let asked = mask(asked);
        if asked & !own != 0 {
            log::warn(format_args!("{set} capabilities {} are not ours to give", names(asked & !own)));
        }
        asked & own
    };
    let permitted = granted("permitted", capabilities.permitted().as_ref());
    let inheritable = granted("inheritable", capabilities.inheritable().as_ref());
    let ambient = mask(capabilities.ambient().as_ref());
    // The kernel raises only what is permitted and inheritable; engines list more, and runc passes over it.
    let possible = ambient & permitted & inheritable;
    if possible != ambient {
        log::debug(format_args!(
            "ambient capabilities {} are not inheritable and stay off",
            names(ambient & !possible)
        ));
    }
    Capabilities {
        bounding: mask(capabilities.bounding().as_ref()),
        effective: mask(capabilities.effective().as_ref()) & permitted,
        permitted,
        inheritable,
        ambient: possible,
    }
}

/// A kernel that does not tell will refuse what it does not give.
fn own_permitted() -> u64 {
    rustix::thread::capabilities(None).map_or(u64::MAX, |sets| sets.permitted.bits())
}

fn names(mask: u64) -> String {
    let in_mask = NAMES.iter().enumerate().filter(|(number, _)| mask & (1 << number) != 0);
    in_mask.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn mask(set: Option<&HashSet<Capability>>) -> u64 {
    set.into_iter().flatten().map(bit).fold(0, |mask, bit| mask | bit)
}

/// A name that the table lacks is no capability of Linux, and gives none.
fn bit(capability: &Capability) -> u64 {
    let name = capability.to_string();
    NAMES.iter().position(|known| *known == name).map_or(0, |number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_of_the_types_has_its_number() {
        for (name, number) in [("CHOWN", 0), ("SYS_ADMIN", 21), ("CHECKPOINT_RESTORE", 40)] {
            assert_eq!(NAMES.get(number), Some(&name));
        }
        for name in NAMES {
            let capability: Capability = serde_json::from_value(format!("CAP_{name}").into()).expect(name);
            assert_ne!(bit(&capability), 0, "{name}");
        }
    }
}
