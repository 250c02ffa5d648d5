//! The JSON form of a profile: Docker's, of which the OCI's is a part.

use std::borrow::Cow;

use casemate_spec::Error;
use oci_spec::runtime::{
    Arch as OciArch, Capability, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
};
use serde::{Deserialize, Serialize};

use super::{Arch, Argument, Family, Profile, RUNTIME_NEEDS, Rule, When};
use crate::document::MAX_BYTES;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    /// For people.
    #[serde(rename = "comment", default, skip_serializing)]
    _comment: Option<String>,
    default_action: LinuxSeccompAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<OciArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch_map: Option<Vec<Entry>>,
    #[serde(default)]
    syscalls: Vec<Syscall>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    architecture: OciArch,
    sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Syscall {
    names: Vec<String>,
    action: LinuxSeccompAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<LinuxSeccompArg>>,
    /// For people.
    #[serde(rename = "comment", default, skip_serializing)]
    _comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<Filter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excludes: Option<Filter>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    caps: Option<Vec<Capability>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arches: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_kernel: Option<String>,
}

pub(super) fn parse(text: &str, origin: &str) -> Result<Profile, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::new(origin, format!("more than {MAX_BYTES} bytes")));
    }
    let document: Document = serde_json::from_str(text).map_err(|error| malformed(&error, origin))?;
    let refused = |at: &str, why: &str| Error::new(format!("{origin}: {at}"), why);
    if passes(document.default_action) {
        let why = format!("{} lets pass what the profile does not name", document.default_action);
        return Err(refused("defaultAction", &why)
            .hint("a profile lists what is allowed; SCMP_ACT_ERRNO refuses the rest"));
    }
    check_errno(document.default_action, document.default_errno_ret)
        .map_err(|why| refused("defaultErrnoRet", why))?;
    if document.architectures.is_some() && document.arch_map.is_some() {
        return Err(refused("archMap", "architectures are given already"));
    }
    let rules = document.syscalls.iter().enumerate().map(|(index, entry)| {
        rule(entry).map_err(|(field, why)| refused(&format!("syscalls[{index}].{field}"), why))
    });
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = lacks(&rules) {
        let why = format!("{name} is not allowed, and the runtime calls it once the profile is loaded");
        return Err(refused("syscalls", &why));
    }
    Ok(Profile {
        name: Cow::Owned(origin.to_owned()),
        default_action: document.default_action,
        default_errno: document.default_errno_ret,
        flags: Cow::Owned(document.flags.unwrap_or_default()),
        families: Cow::Owned(families(document.architectures, document.arch_map)),
        rules: Cow::Owned(rules),
    })
}

fn malformed(error: &serde_json::Error, origin: &str) -> Error {
    let (line, column) = (error.line(), error.column());
    let why = error.to_string();
    // serde_json repeats the place at the end of its message.
    let why = why.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&why);
    // What it quotes is the file's, control characters included.
    let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Error::new(format!("{origin}:{line}:{column}"), why)
}

fn rule(entry: &Syscall) -> Result<Rule, (&'static str, &'static str)> {
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if entry.names.is_empty() || !entry.names.iter().all(is_name) {
        return Err(("names", "expected names of system calls"));
    }
    if matches!(entry.action, LinuxSeccompAction::ScmpActNotify | LinuxSeccompAction::ScmpActTrace) {
        return Err(("action", "nobody listens for a policy's profile"));
    }
    check_errno(entry.action, entry.errno_ret).map_err(|why| ("errnoRet", why))?;
    let arguments: Vec<Argument> = entry.args.iter().flatten().map(Argument::from).collect();
    if arguments.iter().any(|argument| argument.index > 5) {
        return Err(("args", "a system call has arguments 0 to 5"));
    }
    Ok(Rule {
        names: Cow::Owned(entry.names.join(" ")),
        action: entry.action,
        errno: entry.errno_ret,
        arguments: Cow::Owned(arguments),
        includes: when(entry.includes.as_ref()).map_err(|why| ("includes", why))?,
        excludes: when(entry.excludes.as_ref()).map_err(|why| ("excludes", why))?,
    })
}

fn when(filter: Option<&Filter>) -> Result<When, &'static str> {
    let Some(filter) = filter else { return Ok(When::ALWAYS) };
    let arches = filter.arches.as_deref().unwrap_or_default();
    if arches.iter().any(|arch| arch.is_empty() || arch.contains(' ')) {
        return Err("expected names of architectures, as amd64 or arm64");
    }
    let kernel = filter.min_kernel.as_deref().map(|text| release(text).ok_or("expected a kernel as 5.10"));
    Ok(When {
        capabilities: Cow::Owned(filter.caps.clone().unwrap_or_default()),
        arches: Cow::Owned(arches.join(" ")),
        kernel: kernel.transpose()?,
    })
}

fn release(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The kernel's `MAX_ERRNO`: a larger number would reach the program as something else.
fn check_errno(action: LinuxSeccompAction, errno: Option<u32>) -> Result<(), &'static str> {
    match errno {
        Some(_) if action != LinuxSeccompAction::ScmpActErrno => Err("for SCMP_ACT_ERRNO alone"),
        Some(4096..) => Err("expected 0 to 4095"),
        _ => Ok(()),
    }
}

/// The first of [`RUNTIME_NEEDS`] that is not allowed in every container.
fn lacks(rules: &[Rule]) -> Option<&'static str> {
    let always = |rule: &&Rule| {
        rule.action == LinuxSeccompAction::ScmpActAllow
            && rule.arguments.is_empty()
            && rule.includes == When::ALWAYS
            && rule.excludes == When::ALWAYS
    };
    let mut allowed = rules.iter().filter(always).flat_map(|rule| rule.names.split(' ')).collect::<Vec<_>>();
    allowed.sort_unstable();
    RUNTIME_NEEDS.into_iter().find(|name| allowed.binary_search(name).is_err())
}

/// Only those of kernels that the runtime is built for; profiles name many more.
fn families(listed: Option<Vec<OciArch>>, map: Option<Vec<Entry>>) -> Vec<Family> {
    let family = |native: Arch| {
        let others = match (&listed, &map) {
            (Some(listed), _) => listed.iter().filter(|arch| **arch != native.oci()).copied().collect(),
            (None, map) => {
                let entry = map.iter().flatten().find(|entry| entry.architecture == native.oci())?;
                entry.sub_architectures.clone().unwrap_or_default()
            }
        };
        Some(Family { native, others: Cow::Owned(others) })
    };
    [Arch::X86_64, Arch::Aarch64].into_iter().filter_map(family).collect()
}

fn passes(action: LinuxSeccompAction) -> bool {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActLog, ScmpActNotify, ScmpActTrace};
    matches!(action, ScmpActAllow | ScmpActLog | ScmpActNotify | ScmpActTrace)
}

pub(super) fn write(profile: &Profile) -> String {
    let map = profile.families.iter().map(|family| Entry {
        architecture: family.native.oci(),
        sub_architectures: Some(family.others.to_vec()),
    });
    let document = Document {
        _comment: None,
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno,
        flags: (!profile.flags.is_empty()).then(|| profile.flags.to_vec()),
        architectures: None,
        arch_map: Some(map.collect()),
        syscalls: profile.rules.iter().map(Syscall::from).collect(),
    };
    // Strings, numbers and lists of them: nothing that JSON could not hold.
    serde_json::to_string(&document).unwrap_or_default()
}

impl From<&Rule> for Syscall {
    fn from(rule: &Rule) -> Self {
        let arguments: Vec<LinuxSeccompArg> = rule.arguments.iter().map(Argument::resolve).collect();
        Self {
            names: rule.names.split(' ').map(str::to_owned).collect(),
            action: rule.action,
            errno_ret: rule.errno,
            args: (!arguments.is_empty()).then_some(arguments),
            _comment: None,
            includes: filter(&rule.includes),
            excludes: filter(&rule.excludes),
        }
    }
}

fn filter(when: &When) -> Option<Filter> {
    let arches = when.arches.split(' ').filter(|name| !name.is_empty()).map(str::to_owned);
    let arches: Vec<String> = arches.collect();
    (*when != When::ALWAYS).then(|| Filter {
        caps: (!when.capabilities.is_empty()).then(|| when.capabilities.to_vec()),
        arches: (!arches.is_empty()).then_some(arches),
        min_kernel: when.kernel.map(|(major, minor)| format!("{major}.{minor}")),
    })
}
