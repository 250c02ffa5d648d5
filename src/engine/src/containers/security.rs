//! `SecurityOpt` and `Runtime`: what is asked of confinement.

use casemate_spec::wire::PolicyName;
use serde_json::Value;

use super::HostConfig;
use crate::{Failure, Result};

/// What a runtime must be called to be ours.
const RUNTIME: &str = "casemate";

/// What was asked of confinement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Security {
    /// Set-user-ID programs give nothing, or expressly may.
    pub no_new_privileges: Option<bool>,
    /// The filter of system calls.
    pub seccomp: SeccompAsked,
    /// A policy by name.
    pub policy: Option<PolicyName>,
}

/// The filter of system calls, as asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum SeccompAsked {
    /// The policy's.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This profile, in Docker's form.
    Profile(Value),
}

/// Reads both options.
///
/// # Errors
/// One is not known, cannot be honoured here, or two ask for different policies.
pub fn read(host_config: &HostConfig) -> Result<Security> {
    let mut security = Security::default();
    for option in host_config.security_opt.iter().flatten() {
        one(&mut security, option)?;
    }
    if let Some(policy) = runtime(&host_config.runtime)? {
        if security.policy.as_ref().is_some_and(|other| *other != policy) {
            let message = format!("runtime {:?} and casemate.policy name two policies", host_config.runtime);
            return Err(Failure::invalid(message));
        }
        security.policy = Some(policy);
    }
    Ok(security)
}

fn one(security: &mut Security, option: &str) -> Result<()> {
    if option == "no-new-privileges" {
        security.no_new_privileges = Some(true);
        return Ok(());
    }
    // Docker took a colon once, and still does.
    let split = option.split_once('=').or_else(|| option.split_once(':'));
    let (key, value) =
        split.ok_or_else(|| Failure::invalid(format!("invalid --security-opt 1: {option:?}")))?;
    match (key, value) {
        ("no-new-privileges", "true") => security.no_new_privileges = Some(true),
        ("no-new-privileges", "false") => security.no_new_privileges = Some(false),
        ("no-new-privileges", _) => {
            return Err(Failure::invalid(format!("invalid --security-opt 2: {option:?}")));
        }
        ("seccomp", "unconfined") => security.seccomp = SeccompAsked::Unconfined,
        ("seccomp", "" | "builtin" | "default") => security.seccomp = SeccompAsked::Default,
        ("seccomp", profile) => {
            let read = serde_json::from_str(profile)
                .map_err(|error| Failure::invalid(format!("Decoding seccomp profile failed: {error}")))?;
            security.seccomp = SeccompAsked::Profile(read);
        }
        ("casemate.policy", name) => security.policy = Some(policy(name)?),
        // There is nothing to turn off: files and processes carry no labels, and the policy confines by other means.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        ("apparmor", name) => {
            return Err(unavailable(option, &format!("AppArmor profile {name:?} cannot be applied")));
        }
        ("label", _) => return Err(unavailable(option, "SELinux labels cannot be applied")),
        ("writable-cgroups", "false") => {}
        ("writable-cgroups", _) => {
            return Err(unavailable(option, "control groups are read-only in every container"));
        }
        _ => return Err(Failure::invalid(format!("invalid --security-opt 2: {option:?}"))),
    }
    Ok(())
}

fn unavailable(option: &str, why: &str) -> Failure {
    Failure::invalid(format!(
        "--security-opt {option}: {why}: use casemate.policy=NAME to choose how it is confined"
    ))
}

/// The policy that a runtime's name stands for.
fn runtime(name: &str) -> Result<Option<PolicyName>> {
    match name {
        "" | RUNTIME => Ok(None),
        other => policy(other.strip_prefix("casemate-").unwrap_or(other)).map(Some),
    }
}

fn policy(name: &str) -> Result<PolicyName> {
    name.parse().map_err(|_| Failure::invalid(format!("unknown or invalid policy name: {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &[&str], runtime: &str) -> Result<Security> {
        let security_opt = Some(options.iter().map(|option| (*option).to_owned()).collect());
        read(&HostConfig { security_opt, runtime: runtime.to_owned(), ..HostConfig::default() })
    }

    #[test]
    fn options_are_read_as_docker_reads_them() {
        let read = asked(&["no-new-privileges", "seccomp=unconfined", "label=disable"], "").expect("read");
        assert_eq!((read.no_new_privileges, read.seccomp), (Some(true), SeccompAsked::Unconfined));
        assert_eq!(asked(&["no-new-privileges:false"], "").expect("read").no_new_privileges, Some(false));
        let profile = asked(&["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"], "").expect("read").seccomp;
        assert!(matches!(profile, SeccompAsked::Profile(_)));
        for name in ["casemate-strict", "strict"] {
            let policy = asked(&[], name).expect("read").policy.expect("a policy");
            assert_eq!(policy.as_str(), "strict");
        }
        assert!(asked(&["casemate.policy=strict"], "casemate").expect("read").policy.is_some());
    }

    #[test]
    fn what_cannot_be_honoured_is_told() {
        for bad in [
            "x",
            "x=y",
            "no-new-privileges=maybe",
            "seccomp={",
            "apparmor=mine",
            "label=type:x",
            "casemate.policy=../x",
            "writable-cgroups=true",
            "",
        ] {
            assert!(asked(&[bad], "").is_err(), "{bad:?}");
        }
        assert!(asked(&["casemate.policy=baseline"], "strict").is_err());
        assert!(asked(&[], "../x").is_err());
    }
}
