//! A profile in Docker's form, as the runtime specification has it: conditions are settled here, for this host and for
//! the capabilities that are asked for.

use std::collections::BTreeSet;

use oci_spec::runtime::LinuxSeccomp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::shape::document;
use crate::{Failure, Result};

document! {
    camel /// The profile.
    Profile {
        /// For calls that no rule names.
        default_action: String,
        /// What they fail with.
        default_errno_ret: Option<u32>,
        /// Architectures to allow with their kin.
        arch_map: Vec<Architecture>,
        /// Architectures to allow, without kin.
        architectures: Vec<String>,
        /// seccomp(2)
        flags: Vec<String>,
        /// Somebody to ask.
        listener_path: String,
        /// The rules.
        syscalls: Vec<Rule>,
    }
}

document! {
    camel /// An architecture and its kin.
    Architecture {
        /// The host's.
        architecture: String,
        /// What runs there as well.
        sub_architectures: Vec<String>,
    }
}

document! {
    camel /// A rule.
    Rule {
        /// One system call; the old form.
        name: String,
        /// System calls.
        names: Vec<String>,
        /// What becomes of them.
        action: String,
        /// What they fail with.
        errno_ret: Option<u32>,
        /// Which arguments.
        args: Vec<Value>,
        /// Only where all of this is so.
        includes: Condition,
        /// Not where any of this is so.
        excludes: Condition,
    }
}

document! {
    camel /// A condition.
    Condition {
        /// Capabilities that are asked for.
        caps: Vec<String>,
        /// Go's names of architectures.
        arches: Vec<String>,
        /// `4.8`
        min_kernel: String,
    }
}

/// What conditions are settled by.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Capabilities that are asked for, as `CAP_X`.
    pub capabilities: &'a BTreeSet<String>,
    /// Go's name of the architecture.
    pub architecture: &'static str,
    /// The kernel's version.
    pub kernel: (u32, u32),
}

/// Go's name of this architecture, and the profile's.
pub const fn native() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("arm64", "SCMP_ARCH_AARCH64") } else { ("amd64", "SCMP_ARCH_X86_64") }
}

/// Major and minor version of a kernel's release.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Translates.
///
/// # Errors
/// It is no profile, in Docker's words where it has some.
pub fn translate(profile: &Value, around: Surroundings<'_>) -> Result<LinuxSeccomp> {
    let refuse = |why: String| Failure::invalid(format!("Decoding seccomp profile failed: {why}"));
    let profile = Profile::deserialize(profile).map_err(|error| refuse(error.to_string()))?;
    if !profile.listener_path.is_empty() {
        return Err(refuse("listenerPath: a socket of the host cannot be named".to_owned()));
    }
    let mut rules = Vec::new();
    for rule in &profile.syscalls {
        if around.applies(rule)? {
            rules.push(one(rule).map_err(refuse)?);
        }
    }
    let mut document = json!({
        "defaultAction": profile.default_action,
        "architectures": architectures(&profile).map_err(refuse)?,
        "flags": profile.flags,
        "syscalls": rules,
    });
    if let Some(errno) = profile.default_errno_ret {
        document["defaultErrnoRet"] = errno.into();
    }
    LinuxSeccomp::deserialize(document).map_err(|error| refuse(error.to_string()))
}

fn architectures(profile: &Profile) -> Result<Vec<String>, String> {
    if profile.arch_map.is_empty() {
        return Ok(profile.architectures.clone());
    }
    if !profile.architectures.is_empty() {
        return Err("both 'architectures' and 'archMap' are specified in the seccomp profile, \
                    use either 'architectures' or 'archMap'"
            .to_owned());
    }
    let ours = profile.arch_map.iter().filter(|entry| entry.architecture == native().1);
    Ok(ours
        .flat_map(|entry| std::iter::once(&entry.architecture).chain(&entry.sub_architectures))
        .cloned()
        .collect())
}

fn one(rule: &Rule) -> Result<Value, String> {
    let names = match (rule.name.is_empty(), rule.names.is_empty()) {
        (false, false) => {
            return Err("both 'name' and 'names' are specified in the seccomp profile, \
                        use either 'name' or 'names'"
                .to_owned());
        }
        (false, true) => vec![rule.name.clone()],
        (true, _) => rule.names.clone(),
    };
    let mut document = json!({ "names": names, "action": rule.action });
    if !rule.args.is_empty() {
        document["args"] = rule.args.iter().map(argument).collect();
    }
    if let Some(errno) = rule.errno_ret {
        document["errnoRet"] = errno.into();
    }
    Ok(document)
}

/// Docker writes null and 0 where nothing is meant.
fn argument(asked: &Value) -> Value {
    let mut argument = asked.clone();
    if let Some(members) = argument.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    argument
}

impl Surroundings<'_> {
    fn applies(&self, rule: &Rule) -> Result<bool> {
        let (only, but) = (&rule.includes, &rule.excludes);
        let here = |arches: &[String]| arches.iter().any(|arch| arch == self.architecture);
        let granted = |cap: &String| self.capabilities.contains(cap);
        let excluded =
            here(&but.arches) || but.caps.iter().any(granted) || self.at_least(&but.min_kernel, false)?;
        let included = (only.arches.is_empty() || here(&only.arches))
            && only.caps.iter().all(granted)
            && self.at_least(&only.min_kernel, true)?;
        Ok(included && !excluded)
    }

    fn at_least(&self, wanted: &str, unnamed: bool) -> Result<bool> {
        if wanted.is_empty() {
            return Ok(unnamed);
        }
        let refuse =
            || Failure::invalid(format!("Decoding seccomp profile failed: invalid kernel version: {wanted}"));
        Ok(self.kernel >= version(wanted).ok_or_else(refuse)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(profile: Value, capabilities: &[&str]) -> Result<Value> {
        let capabilities = capabilities.iter().map(|cap| (*cap).to_owned()).collect();
        let around = Surroundings { capabilities: &capabilities, architecture: native().0, kernel: (5, 10) };
        translate(&profile, around).map(|read| serde_json::to_value(read).expect("JSON"))
    }

    fn names(profile: Value, capabilities: &[&str]) -> Vec<String> {
        let read = translated(profile, capabilities).expect("a profile");
        let rules = read["syscalls"].as_array().expect("rules").clone();
        rules.iter().filter_map(|rule| rule["names"][0].as_str().map(str::to_owned)).collect()
    }

    #[test]
    fn conditions_are_settled() {
        let rule = |name: &str, includes: Value, excludes: Value| {
            json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "",
                    "includes": includes, "excludes": excludes })
        };
        let other = if native().0 == "arm64" { "s390x" } else { "arm64" };
        let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": [
            rule("always", json!({}), json!({})),
            rule("with-cap", json!({ "caps": ["CAP_SYS_ADMIN"] }), json!({})),
            rule("without-cap", json!({}), json!({ "caps": ["CAP_SYS_ADMIN"] })),
            rule("here", json!({ "arches": [native().0] }), json!({})),
            rule("elsewhere", json!({ "arches": [other] }), json!({})),
            rule("not-here", json!({}), json!({ "arches": [native().0] })),
            rule("new", json!({ "minKernel": "5.10" }), json!({})),
            rule("newer", json!({ "minKernel": "6.0" }), json!({})),
            rule("old", json!({}), json!({ "minKernel": "4.8" })),
        ]});
        assert_eq!(names(profile.clone(), &[]), ["always", "without-cap", "here", "new"]);
        assert_eq!(names(profile, &["CAP_SYS_ADMIN"]), ["always", "with-cap", "here", "new"]);
    }

    #[test]
    fn the_map_of_architectures_is_for_this_one() {
        let profile = json!({ "defaultAction": "SCMP_ACT_KILL", "archMap": [
            { "architecture": native().1, "subArchitectures": ["SCMP_ARCH_X86"] },
            { "architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"] },
        ]});
        let read = translated(profile.clone(), &[]).expect("a profile");
        assert_eq!(read["architectures"], json!([native().1, "SCMP_ARCH_X86"]));
        let mut both = profile;
        both["architectures"] = json!(["SCMP_ARCH_X86"]);
        assert!(translated(both, &[]).expect_err("both").message.contains("use either"));
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for bad in [
            json!([]),
            json!("x"),
            json!({}),
            json!({ "defaultAction": "ALLOW" }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["a"], "action": "no" }] }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x.sock" }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW" }] }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "x" } }] }),
        ] {
            assert!(translated(bad.clone(), &[]).is_err(), "{bad}");
        }
        let args = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["personality"],
            "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ" }] }] });
        assert_eq!(translated(args, &[]).expect("read")["syscalls"][0]["args"][0]["value"], 8);
    }
}
