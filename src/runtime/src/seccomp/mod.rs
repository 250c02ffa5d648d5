//! OCI seccomp profiles compiled to BPF, without a C library.
//!
//! A filter answers every system call of every architecture the profile lists, by binary search over ranges of
//! numbers with the same answer. What it answers, for one call:
//!
//! 1. A call of an architecture that is neither the kernel's own nor listed kills the thread.
//! 2. A call newer than the newest one the profile names gets ENOSYS, unless the default is to let calls pass: its
//!    author could not know it, and programs fall back on ENOSYS where they give up on EPERM.
//! 3. The first rule for the call that has no conditions decides, wherever in the profile it stands.
//! 4. Without one, of the rules whose conditions hold the most restrictive decides (the kernel's own order between
//!    filters), the first of several alike.
//! 5. The default action.
//!
//! Rules that repeat the default action are ignored, as are names of unknown system calls, which are listed in
//! [`Filter::unknown`]. Points 1 to 3 and this are runc's and libseccomp's ways, which profiles rely on. Arguments
//! are compared on the bits that the kernel reads (see [`width`]).

mod answer;
mod arch;
mod emit;
pub mod interpret;
mod program;
mod rule;
#[cfg(test)]
mod tests;
pub mod width;

use casemate_spec::{Error, Result};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};
use seccompiler::sock_filter;

use answer::Numbered;
pub use arch::{Abi, Multiplexed, Native, X32_BIT};
use emit::{MAX_INSTRUCTIONS, TooLong};
use rule::{Rule, default_action};

/// A filter ready for `seccomp(SECCOMP_SET_MODE_FILTER)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*` of `linux/seccomp.h`, with `NEW_LISTENER` where [`Filter::notify`] is set.
    pub flags: u32,
    /// Whether some call is handed to the listener, so that loading the filter returns its descriptor.
    pub notify: bool,
    /// Names in the profile that are no system call of any architecture the filter is for.
    pub unknown: Vec<String>,
}

/// Compiles `profile` for the architecture this program was built for.
///
/// # Errors
///
/// The profile uses `SCMP_ACT_NOTIFY` as default or for `sendmsg`, has an argument index above 5, an errno that does
/// not fit 16 bits or an empty name, or needs more than 4096 instructions.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    compile_for(Native::BUILD, profile)
}

/// Compiles `profile` for a kernel of the architecture `native`. Errors as [`compile`].
pub fn compile_for(native: Native, profile: &LinuxSeccomp) -> Result<Filter> {
    let default = default_action(profile)?;
    let entries = profile.syscalls().as_deref().unwrap_or_default();
    let mut rules = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let rule = Rule::read(index, entry)?;
        if rule.notifies() && rule.names.iter().any(|name| name == "sendmsg") {
            let why = "SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall, which hands over the listener";
            return Err(Error::new(format!("config.json: linux.seccomp.syscalls[{index}]"), why));
        }
        rules.push(rule);
    }
    let names = rules.iter().map(|rule| rule.names.len()).sum();
    let mut conventions: Vec<_> =
        abis(native, profile).into_iter().map(|abi| Numbered::new(abi, names)).collect();
    let mut unknown = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for name in rule.names {
            let mut known = false;
            for convention in &mut conventions {
                known |= convention.add(index, rule, name, default);
            }
            if !known {
                unknown.push(name.clone());
            }
        }
    }
    conventions.iter_mut().for_each(Numbered::sort);
    let program = program::emit(&conventions, &rules, default).map_err(|TooLong| {
        Error::new(
            "config.json: linux.seccomp",
            format!("the filter needs more than {MAX_INSTRUCTIONS} instructions"),
        )
        .hint("the kernel takes no longer filter; use fewer rules with arguments or fewer architectures")
    })?;
    let notify = rules.iter().any(Rule::notifies);
    Ok(Filter { program, flags: flags(profile, notify), notify, unknown })
}

/// The conventions to filter, the kernel's own always among them. Architectures whose programs cannot run on this
/// kernel need no code.
fn abis(native: Native, profile: &LinuxSeccomp) -> Vec<Abi> {
    let mut abis = vec![native.abi()];
    for arch in profile.architectures().as_deref().unwrap_or_default() {
        if let Some(abi) = native.foreign(*arch)
            && !abis.contains(&abi)
        {
            abis.push(abi);
        }
    }
    abis
}

// linux/seccomp.h
const FLAG_TSYNC: u32 = 1;
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_NEW_LISTENER: u32 = 1 << 3;
const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

fn flags(profile: &LinuxSeccomp, notify: bool) -> u32 {
    let mut flags = if notify { FLAG_NEW_LISTENER } else { 0 };
    for flag in profile.flags().as_deref().unwrap_or_default() {
        flags |= match flag {
            // Beside a listener the kernel takes TSYNC only together with TSYNC_ESRCH (5.7).
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync if notify => FLAG_TSYNC | FLAG_TSYNC_ESRCH,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FLAG_TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notify => FLAG_WAIT_KILLABLE_RECV,
            // The kernel (5.19) refuses it without a listener, where it has no meaning.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    flags
}
