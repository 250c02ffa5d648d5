//! A profile read rule by rule for one system call: what the compiled filter has to answer, found the slow way.

use std::collections::HashMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::{Abi, Multiplexed, Native, X32_BIT, interpret::SyscallData, width};

pub const ENOSYS: u32 = 0x0005_0026;

/// A profile with its names looked up.
pub struct Reading<'a> {
    pub native: Native,
    pub profile: &'a LinuxSeccomp,
    /// What calls have a number, by convention and number: entries in order, and how they come to have it.
    ways: HashMap<(u32, u32), Vec<(&'a LinuxSyscall, Way<'a>)>>,
}

#[derive(Clone, Copy)]
pub enum Way<'a> {
    Call(&'a str),
    Multiplexed(Multiplexed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Unconditional,
    Holds,
    Fails,
}

impl<'a> Reading<'a> {
    pub fn new(native: Native, profile: &'a LinuxSeccomp) -> Self {
        let mut ways: HashMap<_, Vec<_>> = HashMap::new();
        for abi in [Abi::X86_64, Abi::X32, Abi::X86, Abi::Aarch64, Abi::Arm] {
            for entry in profile.syscalls().iter().flatten() {
                for name in entry.names() {
                    if let Some(number) = abi.number(name) {
                        ways.entry((abi.audit(), number))
                            .or_default()
                            .push((entry, Way::Call(name.as_str())));
                    }
                    if let Some(multiplexed) = abi.multiplexed(name) {
                        let at = (abi.audit(), multiplexed.number);
                        ways.entry(at).or_default().push((entry, Way::Multiplexed(multiplexed)));
                    }
                }
            }
        }
        // x86-64's and x32's numbers do not overlap, so the audit architecture tells enough.
        Self { native, profile, ways }
    }

    /// The filter's answer, by the rules in the module's documentation.
    pub fn answer(&self, data: &SyscallData) -> u32 {
        let Some(abi) = self.abi(data) else {
            let native = data.arch == self.native.abi().audit();
            return if native && data.number == u32::MAX { self.default() } else { 0 };
        };
        let rules = self.rules(abi, data);
        if rules.is_empty() {
            return if self.unheard_of(abi, data.number) { ENOSYS } else { self.default() };
        }
        if let Some((action, _)) = rules.iter().find(|(_, matching)| *matching == Match::Unconditional) {
            return *action;
        }
        let holding =
            rules.iter().filter(|(_, matching)| *matching == Match::Holds).map(|(action, _)| *action);
        holding.min_by_key(|action| permissiveness(*action)).unwrap_or(self.default())
    }

    /// The convention that `data` is a call of, if the profile filters it.
    pub fn abi(&self, data: &SyscallData) -> Option<Abi> {
        let abi = match self.native {
            Native::X86_64 if data.arch == Abi::X86.audit() => (Abi::X86, Arch::ScmpArchX86),
            Native::X86_64 if data.arch == Abi::X86_64.audit() && data.number >= X32_BIT => {
                (Abi::X32, Arch::ScmpArchX32)
            }
            Native::X86_64 if data.arch == Abi::X86_64.audit() => return Some(Abi::X86_64),
            Native::Aarch64 if data.arch == Abi::Aarch64.audit() => return Some(Abi::Aarch64),
            Native::Aarch64 if data.arch == Abi::Arm.audit() => (Abi::Arm, Arch::ScmpArchArm),
            _ => return None,
        };
        self.profile.architectures().iter().flatten().any(|listed| *listed == abi.1).then_some(abi.0)
    }

    /// Whether a call without a rule is newer than all that the profile names, and answered as unknown.
    pub fn unheard_of(&self, abi: Abi, number: u32) -> bool {
        let passes = matches!(
            self.profile.default_action(),
            LinuxSeccompAction::ScmpActAllow
                | LinuxSeccompAction::ScmpActLog
                | LinuxSeccompAction::ScmpActTrace
        );
        let names = self.profile.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
        let numbers = names.filter_map(|name| abi.number(name)).filter(|number| !abi.is_private(*number));
        !passes && numbers.max().is_some_and(|newest| number > newest)
    }

    /// The action of every rule about the call that differs from the default, and whether it holds.
    pub fn rules(&self, abi: Abi, data: &SyscallData) -> Vec<(u32, Match)> {
        let rules = self.ways(abi, data.number).iter().filter_map(|(entry, way)| {
            let action = code(entry.action(), entry.errno_ret());
            Some((action, self.matching(abi, entry, *way, data)?))
        });
        rules.filter(|(action, _)| *action != self.default()).collect()
    }

    /// None where the rule does not reach the call.
    fn matching(&self, abi: Abi, entry: &LinuxSyscall, way: Way<'_>, data: &SyscallData) -> Option<Match> {
        let alternatives = alternatives(entry);
        let unconditional = alternatives.iter().any(Vec::is_empty);
        let restricts =
            permissiveness(code(entry.action(), entry.errno_ret())) < permissiveness(self.default());
        let holds = match way {
            Way::Call(_) if unconditional => return Some(Match::Unconditional),
            Way::Call(name) => {
                alternatives.iter().any(|all| all.iter().all(|argument| holds(abi, name, argument, data)))
            }
            Way::Multiplexed(Multiplexed { mask, call, .. }) if unconditional || restricts => {
                data.arguments[0] & u64::from(mask) == u64::from(call)
            }
            Way::Multiplexed(_) => return None,
        };
        Some(if holds { Match::Holds } else { Match::Fails })
    }

    /// The calls that have `number`.
    pub fn ways(&self, abi: Abi, number: u32) -> &[(&'a LinuxSyscall, Way<'a>)] {
        self.ways.get(&(abi.audit(), number)).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn default(&self) -> u32 {
        code(self.profile.default_action(), self.profile.default_errno_ret())
    }
}

/// Whether one condition holds: the bits that the kernel reads, compared as an unsigned number.
fn holds(abi: Abi, name: &str, argument: &LinuxSeccompArg, data: &SyscallData) -> bool {
    let width = width::of(abi, name, argument.index());
    let seen = data.arguments[argument.index()] & width.max();
    let value = width.narrowed(argument.value());
    match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => seen != value,
        LinuxSeccompOperator::ScmpCmpLt => seen < value,
        LinuxSeccompOperator::ScmpCmpLe => seen <= value,
        LinuxSeccompOperator::ScmpCmpEq => seen == value,
        LinuxSeccompOperator::ScmpCmpGe => seen >= value,
        LinuxSeccompOperator::ScmpCmpGt => seen > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let wanted = argument.value_two().unwrap_or(0) & argument.value();
            seen & argument.value() == width.narrowed(wanted)
        }
    }
}

/// Conditions that must all hold, or where an argument is repeated, conditions of which one must.
pub fn alternatives(entry: &LinuxSyscall) -> Vec<Vec<LinuxSeccompArg>> {
    let arguments = entry.args().clone().unwrap_or_default();
    let repeated = (0..6).any(|index| arguments.iter().filter(|a| a.index() == index).count() > 1);
    let mut alternatives = match repeated {
        true => arguments.into_iter().map(|argument| vec![argument]).collect(),
        false => vec![arguments],
    };
    for conjunction in &mut alternatives {
        conjunction.retain(|a| !(a.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && a.value() == 0));
    }
    alternatives
}

pub fn permissiveness(action: u32) -> i32 {
    (action & 0xffff_0000).cast_signed()
}

pub fn code(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    action.as_u32(Some(errno.unwrap_or(1)))
}
