//! Capability names and numbers, linux/capability.h.

use std::collections::HashSet;

use casemate_core::plan::Capabilities;
use oci_spec::runtime::{Capability, LinuxCapabilities};

use crate::log;

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];

/// The sets as bit masks; none asked for is none given.
pub(super) fn sets(capabilities: Option<&LinuxCapabilities>) -> Capabilities {
    let Some(capabilities) = capabilities else { return Capabilities::default() };
    let permitted = mask(capabilities.permitted().as_ref());
    let inheritable = mask(capabilities.inheritable().as_ref());
    let ambient = mask(capabilities.ambient().as_ref());
    // The kernel raises only what is permitted and inheritable; engines list more, and runc passes over it.
    let possible = ambient & permitted & inheritable;
    if possible != ambient {
        log::debug(format_args!("ambient capabilities {:#x} are not inheritable and stay off", ambient & !possible));
    }
    Capabilities {
        bounding: mask(capabilities.bounding().as_ref()),
        effective: mask(capabilities.effective().as_ref()),
        permitted,
        inheritable,
        ambient: possible,
    }
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
