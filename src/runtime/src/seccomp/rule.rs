//! A profile's rules, read once and checked, in the order in which they take effect.

use casemate_spec::{Error, Result};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::{emit::Compare, width::Width};

/// One entry of `linux.seccomp.syscalls`.
#[derive(Debug)]
pub struct Rule<'a> {
    /// The system calls it is about.
    pub names: &'a [String],
    /// What a filter returns for it: `SECCOMP_RET_*` and its data.
    pub action: u32,
    /// The rule takes effect where one of these holds, and each where all its conditions hold.
    pub alternatives: Vec<Vec<LinuxSeccompArg>>,
}

impl<'a> Rule<'a> {
    /// Reads entry `index` of the profile.
    pub fn read(index: usize, entry: &'a LinuxSyscall) -> Result<Self> {
        let at = |field: &str| format!("config.json: linux.seccomp.syscalls[{index}]{field}");
        if entry.names().iter().any(String::is_empty) {
            return Err(Error::new(at(".names"), "empty string is not a valid syscall"));
        }
        let action =
            action(entry.action(), entry.errno_ret()).map_err(|error| error.within(at(".errnoRet")))?;
        let arguments = entry.args().as_deref().unwrap_or_default();
        for (position, argument) in arguments.iter().enumerate() {
            if argument.index() > 5 {
                let why = format!("{} is out of range, a system call has arguments 0 to 5", argument.index());
                return Err(Error::new(at(&format!(".args[{position}].index")), why));
            }
        }
        Ok(Self { names: entry.names(), action, alternatives: alternatives(arguments) })
    }

    /// Whether it decides about its system calls whatever their arguments are.
    pub fn is_unconditional(&self) -> bool {
        self.alternatives.iter().any(Vec::is_empty)
    }

    /// Whether it hands system calls to the listener.
    pub fn notifies(&self) -> bool {
        self.action == NOTIFY
    }
}

/// What the filter answers where no rule takes effect.
pub fn default_action(profile: &LinuxSeccomp) -> Result<u32> {
    let action = action(profile.default_action(), profile.default_errno_ret())
        .map_err(|error| error.within("config.json: linux.seccomp.defaultErrnoRet"))?;
    if action == NOTIFY {
        let why = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::new("config.json: linux.seccomp.defaultAction", why));
    }
    Ok(action)
}

/// The place of `action` among actions, the most restrictive first: the kernel's order where several filters answer
/// (`seccomp(2)`).
pub fn permissiveness(action: u32) -> i32 {
    (action & 0xffff_0000).cast_signed()
}

const NOTIFY: u32 = 0x7fc0_0000;

/// `SECCOMP_RET_*` of `linux/seccomp.h`. Errno and trace carry 16 bits of data, EPERM unless the profile says else.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let data = errno.unwrap_or(1);
    let with_data = |action: u32| match u16::try_from(data) {
        Ok(data) => Ok(action | u32::from(data)),
        Err(_) => Err(Error::new("", format!("{data} does not fit 16 bits"))),
    };
    match action {
        LinuxSeccompAction::ScmpActKillProcess => Ok(0x8000_0000),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Ok(0),
        LinuxSeccompAction::ScmpActTrap => Ok(0x0003_0000),
        LinuxSeccompAction::ScmpActErrno => with_data(0x0005_0000),
        LinuxSeccompAction::ScmpActNotify => Ok(NOTIFY),
        LinuxSeccompAction::ScmpActTrace => with_data(0x7ff0_0000),
        LinuxSeccompAction::ScmpActLog => Ok(0x7ffc_0000),
        LinuxSeccompAction::ScmpActAllow => Ok(0x7fff_0000),
    }
}

/// Conditions of one entry must all hold, unless two are about the same argument: then each is a rule by itself.
/// Odd, but what profiles written for runc rely on.
fn alternatives(arguments: &[LinuxSeccompArg]) -> Vec<Vec<LinuxSeccompArg>> {
    let mut seen = [false; 6];
    let repeated =
        arguments.iter().any(|a| seen.get_mut(a.index()).is_some_and(|s| std::mem::replace(s, true)));
    let holds_always =
        |a: &LinuxSeccompArg| a.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && a.value() == 0;
    let conjunction =
        |all: &[LinuxSeccompArg]| all.iter().filter(|a| !holds_always(a)).copied().collect::<Vec<_>>();
    if repeated { arguments.chunks(1).map(conjunction).collect() } else { vec![conjunction(arguments)] }
}

/// A condition on an argument of known width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// True, or false, for every value the argument can have.
    Constant(bool),
    /// `argument & mask == value`.
    Masked { mask: u64, value: u64 },
    /// How the low `width` bits of the argument, as an unsigned number, compare with `value`; or the opposite.
    Compare { how: Compare, value: u64, width: Width, negated: bool },
}

impl Condition {
    /// What `argument` demands of a value of which the kernel reads `width`.
    pub fn new(argument: &LinuxSeccompArg, width: Width) -> Self {
        let max = width.max();
        if argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq {
            let wanted = width.narrowed(argument.value_two().unwrap_or(0) & argument.value());
            return match (argument.value() & max, wanted) {
                (_, value) if value > max => Self::Constant(false),
                (0, value) => Self::Constant(value == 0),
                (mask, value) => Self::Masked { mask, value: value & mask },
            };
        }
        let (how, negated) = match argument.op() {
            LinuxSeccompOperator::ScmpCmpNe => (Compare::Equal, true),
            LinuxSeccompOperator::ScmpCmpGe => (Compare::GreaterEqual, false),
            LinuxSeccompOperator::ScmpCmpLt => (Compare::GreaterEqual, true),
            LinuxSeccompOperator::ScmpCmpGt => (Compare::Greater, false),
            LinuxSeccompOperator::ScmpCmpLe => (Compare::Greater, true),
            LinuxSeccompOperator::ScmpCmpEq | LinuxSeccompOperator::ScmpCmpMaskedEq => {
                (Compare::Equal, false)
            }
        };
        let value = width.narrowed(argument.value());
        // No argument is equal to or above what it cannot hold.
        if value > max { Self::Constant(negated) } else { Self::Compare { how, value, width, negated } }
    }
}
