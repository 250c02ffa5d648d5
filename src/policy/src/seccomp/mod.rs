//! Seccomp profiles: what a policy lets a process ask of the kernel, whatever the bundle asks for.
//!
//! A profile is written in the form Docker gave it: a list of what is allowed, with rules that hold for some
//! architectures, capabilities or kernels only. [`resolve`] makes of it, for one container, a filter in the OCI
//! form, which the runtime compiles and loads before the bundle's own. The kernel takes the stricter answer of the
//! two, so no rule here can widen what a bundle brings.

mod compare;
mod document;
mod tables;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use casemate_spec::Error;
use oci_spec::runtime::{
    Arch as OciArch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

pub use compare::admits_no_more;

/// What the runtime itself calls between loading a profile and the start of the program: hand over a listener and
/// load the bundle's filter, drop the capabilities it was kept for, execute, or report why not. A profile that
/// refuses one of these starts nothing.
pub const RUNTIME_NEEDS: [&str; 10] =
    ["capget", "capset", "close", "execve", "exit_group", "prctl", "seccomp", "sendmsg", "sendto", "write"];

/// A list of what may be asked of the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    name: Cow<'static, str>,
    default_action: LinuxSeccompAction,
    default_errno: Option<u32>,
    flags: Cow<'static, [LinuxSeccompFilterFlag]>,
    families: Cow<'static, [Family]>,
    rules: Cow<'static, [Rule]>,
}

/// The architectures whose programs run on one kernel.
#[derive(Debug, Clone, PartialEq)]
struct Family {
    native: Arch,
    others: Cow<'static, [OciArch]>,
}

/// One entry of `syscalls`.
#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// Separated by spaces: one string in the program's image, where a list would be a page of pointers.
    names: Cow<'static, str>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    arguments: Cow<'static, [Argument]>,
    includes: When,
    excludes: When,
}

/// A comparison; the OCI type's own fields can only be filled at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Argument {
    index: usize,
    value: u64,
    value_two: Option<u64>,
    op: LinuxSeccompOperator,
}

/// What a rule depends on.
#[derive(Debug, Clone, PartialEq)]
struct When {
    capabilities: Cow<'static, [Capability]>,
    /// By Go's names for them, separated by spaces.
    arches: Cow<'static, str>,
    kernel: Option<(u32, u32)>,
}

impl When {
    const ALWAYS: Self = Self { capabilities: Cow::Borrowed(&[]), arches: Cow::Borrowed(""), kernel: None };
}

/// The architecture of a kernel that the runtime is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// arm64.
    Aarch64,
}

impl Arch {
    /// The architecture this program was built for.
    pub const BUILD: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    fn oci(self) -> OciArch {
        match self {
            Self::X86_64 => OciArch::ScmpArchX86_64,
            Self::Aarch64 => OciArch::ScmpArchAarch64,
        }
    }

    /// The name Docker's profiles use.
    fn go(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

/// What the rules of a profile depend on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The most the container can come to have: its bounding set, as admitted.
    pub capabilities: &'a Capabilities,
    /// The kernel's architecture.
    pub arch: Arch,
    /// The kernel's release: (6, 18).
    pub kernel: (u32, u32),
}

impl Profile {
    /// The names of the profiles compiled in, the strictest first; each lets pass what those before it do.
    pub const BUILTIN: [&'static str; 3] = ["strict", "hardened", "docker"];

    /// The profile compiled in under `name`.
    pub fn builtin(name: &str) -> Option<&'static Self> {
        [&tables::STRICT, &tables::HARDENED, &tables::DOCKER].into_iter().find(|profile| profile.name == name)
    }

    /// Reads a profile in Docker's JSON form, or the OCI's. `origin` names the file in errors, and the profile.
    ///
    /// # Errors
    /// Malformed JSON and unknown keys, as `ORIGIN:LINE:COLUMN: what`; a default that lets calls pass; an action
    /// for which somebody would have to listen; a profile that lacks one of [`RUNTIME_NEEDS`].
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        document::parse(text, origin)
    }

    /// The profile in Docker's JSON form; [`Profile::parse`] makes the same profile of it.
    pub fn to_json(&self) -> String {
        document::write(self)
    }

    /// The name of a profile compiled in, or the file it was read from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same profile, and beyond it the system calls `names`, with any arguments.
    #[must_use]
    pub fn allowing<S: AsRef<str>>(&self, names: &[S]) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let rule = Rule {
            names: Cow::Owned(names.join(" ")),
            action: LinuxSeccompAction::ScmpActAllow,
            errno: None,
            arguments: Cow::Borrowed(&[]),
            includes: When::ALWAYS,
            excludes: When::ALWAYS,
        };
        // Of several rules without conditions the first decides.
        let rules = std::iter::once(rule).chain(self.rules.iter().cloned()).collect();
        Self { rules: Cow::Owned(rules), ..self.clone() }
    }
}

/// Whether `name` is a system call of any architecture a filter can be for.
pub fn is_system_call(name: &str) -> bool {
    // In no table of numbers: reached through socketcall alone, ARM's private calls, and second names of calls.
    const OTHERS: [&str; 11] = [
        "recv",
        "send",
        "breakpoint",
        "cacheflush",
        "set_tls",
        "get_tls",
        "newfstatat",
        "fstatat64",
        "arm_fadvise64_64",
        "arm_sync_file_range",
        "sync_file_range2",
    ];
    // Asked for few names: their parser would be 60 KB of comparisons in the program.
    OTHERS.contains(&name)
        || syscalls::x86_64::Sysno::iter().any(|call| call.name() == name)
        || syscalls::x86::Sysno::iter().any(|call| call.name() == name)
        || syscalls::aarch64::Sysno::iter().any(|call| call.name() == name)
        || syscalls::arm::Sysno::iter().any(|call| call.name() == name)
}

/// What `profile` comes to for one container.
pub fn resolve(profile: &Profile, context: &Context<'_>) -> LinuxSeccomp {
    let mut filter = LinuxSeccomp::default();
    filter.set_default_action(profile.default_action);
    filter.set_default_errno_ret(profile.default_errno);
    let family = profile.families.iter().find(|family| family.native == context.arch);
    let others = family.map(|family| family.others.iter().copied()).into_iter().flatten();
    filter.set_architectures(Some(std::iter::once(context.arch.oci()).chain(others).collect()));
    if !profile.flags.is_empty() {
        filter.set_flags(Some(profile.flags.to_vec()));
    }
    let rules = profile.rules.iter().filter(|rule| rule.applies(context)).map(Rule::resolve);
    filter.set_syscalls(Some(rules.collect()));
    filter
}

impl Rule {
    /// Docker's reading: everything included has to be there, and nothing excluded.
    fn applies(&self, context: &Context<'_>) -> bool {
        let (includes, excludes) = (&self.includes, &self.excludes);
        let held = |capability: &Capability| context.capabilities.contains(capability);
        let here = |arches: &str| arches.split(' ').any(|name| name == context.arch.go());
        let reached = |kernel: (u32, u32)| context.kernel >= kernel;
        includes.capabilities.iter().all(held)
            && (includes.arches.is_empty() || here(&includes.arches))
            && includes.kernel.is_none_or(reached)
            && !excludes.capabilities.iter().any(held)
            && !here(&excludes.arches)
            && !excludes.kernel.is_some_and(reached)
    }

    fn resolve(&self) -> LinuxSyscall {
        let mut entry = LinuxSyscall::default();
        entry.set_names(self.names.split(' ').map(str::to_owned).collect());
        entry.set_action(self.action);
        entry.set_errno_ret(self.errno);
        if !self.arguments.is_empty() {
            entry.set_args(Some(self.arguments.iter().map(Argument::resolve).collect()));
        }
        entry
    }
}

impl Argument {
    fn resolve(&self) -> LinuxSeccompArg {
        let mut built = LinuxSeccompArgBuilder::default().index(self.index).value(self.value).op(self.op);
        if let Some(value_two) = self.value_two {
            built = built.value_two(value_two);
        }
        // Every field has a value, which is all that building asks for.
        built.build().unwrap_or_default()
    }
}

impl From<&LinuxSeccompArg> for Argument {
    fn from(argument: &LinuxSeccompArg) -> Self {
        Self {
            index: argument.index(),
            value: argument.value(),
            value_two: argument.value_two(),
            op: argument.op(),
        }
    }
}
