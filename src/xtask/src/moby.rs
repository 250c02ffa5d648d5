//! Moby's default seccomp profile, resolved to the OCI form the way dockerd does for a default container.

use std::fs;

use serde_json::{Value, json};

use crate::failure::{Doing as _, Failure, Outcome};
use crate::workspace;

/// What dockerd gives a container that was asked for no particular capabilities.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// `linux.seccomp` of an OCI configuration.
pub fn default_seccomp() -> Outcome<Value> {
    let file = workspace::root().join("profiles/docker-default.json");
    let text = fs::read_to_string(&file).doing(file.display())?;
    let profile: Value = serde_json::from_str(&text).doing(file.display())?;
    resolve(&profile).ok_or_else(|| Failure::new(file.display(), "not in the form of a Moby profile"))
}

fn resolve(profile: &Value) -> Option<Value> {
    let native = if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" };
    let family = profile["archMap"].as_array()?.iter().find(|entry| entry["architecture"] == native)?;
    let mut architectures = vec![json!(native)];
    architectures.extend(family["subArchitectures"].as_array()?.iter().cloned());

    let rules = profile["syscalls"].as_array()?;
    let syscalls: Vec<Value> = rules.iter().filter(|rule| applies(rule)).map(oci_rule).collect();
    Some(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": syscalls
    }))
}

/// `includes` must all hold; any one of `excludes` drops the rule.
fn applies(rule: &Value) -> bool {
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let has = |value: &Value, ours: &[&str]| value.as_str().is_some_and(|name| ours.contains(&name));
    let arch = [if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();

    let wanted_arches = list(&includes["arches"]);
    (wanted_arches.is_empty() || wanted_arches.iter().any(|name| has(name, &arch)))
        && list(&includes["caps"]).iter().all(|name| has(name, &CAPABILITIES))
        && includes["minKernel"].as_str().is_none_or(kernel_is_at_least)
        && !list(&excludes["arches"]).iter().any(|name| has(name, &arch))
        && !list(&excludes["caps"]).iter().any(|name| has(name, &CAPABILITIES))
        && !excludes["minKernel"].as_str().is_some_and(kernel_is_at_least)
}

fn oci_rule(rule: &Value) -> Value {
    let mut kept = json!({ "names": rule["names"], "action": rule["action"] });
    for field in ["errnoRet", "args"] {
        if !rule[field].is_null() {
            kept[field] = rule[field].clone();
        }
    }
    kept
}

fn kernel_is_at_least(wanted: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> {
        version.split(|c: char| !c.is_ascii_digit()).take(2).map_while(|part| part.parse().ok()).collect()
    };
    let running = rustix::system::uname();
    numbers(&running.release().to_string_lossy()) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::applies;

    #[test]
    fn rules_follow_capabilities_and_architecture() {
        assert!(applies(&json!({ "names": ["read"] })));
        assert!(applies(&json!({ "includes": { "caps": ["CAP_SYS_CHROOT"] } })));
        assert!(!applies(&json!({ "includes": { "caps": ["CAP_SYS_ADMIN"] } })));
        assert!(applies(&json!({ "excludes": { "caps": ["CAP_SYS_ADMIN"] } })));
        assert!(!applies(&json!({ "includes": { "arches": ["s390x"] } })));
        assert!(!applies(&json!({ "includes": { "minKernel": "99.0" } })));
    }
}
