//! Profiles and system calls made of bytes, for every test that compares two readers of a profile.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::{Abi, Native, X32_BIT, interpret::SyscallData};

/// Calls with arguments of every width, of every architecture, with a number of their own on x32, multiplexed on
/// i386, missing here and there, and old and new ones.
pub const NAMES: &[&str] = &[
    "read",
    "write",
    "open",
    "close",
    "socket",
    "clone",
    "personality",
    "chmod",
    "setuid",
    "ioctl",
    "mmap",
    "semop",
    "shmat",
    "recvfrom",
    "ptrace",
    "execve",
    "preadv2",
    "futex_waitv",
    "openat2",
    "clone3",
    "setuid32",
    "uselib",
    "cacheflush",
    "newfstatat",
    "send",
    "socketcall",
    "ipc",
    "mknodat",
    "kcmp",
    "prctl",
    "no_such_call",
    "exit_group",
];

const VALUES: &[u64] = &[
    0,
    1,
    2,
    3,
    7,
    16,
    38,
    40,
    0xfffe,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    1 << 32,
    1 << 32 | 1,
    1 << 33,
    0x7fff_ffff_ffff_ffff,
    1 << 63,
    0xffff_ffff_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX - 1,
    u64::MAX,
    0x7e02_0000,
];

const ACTIONS: &[LinuxSeccompAction] = &[
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActAllow,
    LinuxSeccompAction::ScmpActKill,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActTrap,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActNotify,
];

const OPERATORS: &[LinuxSeccompOperator] = &[
    LinuxSeccompOperator::ScmpCmpNe,
    LinuxSeccompOperator::ScmpCmpLt,
    LinuxSeccompOperator::ScmpCmpLe,
    LinuxSeccompOperator::ScmpCmpEq,
    LinuxSeccompOperator::ScmpCmpGe,
    LinuxSeccompOperator::ScmpCmpGt,
    LinuxSeccompOperator::ScmpCmpMaskedEq,
];

const ARCHITECTURES: &[Arch] =
    &[Arch::ScmpArchX86, Arch::ScmpArchX32, Arch::ScmpArchX86_64, Arch::ScmpArchArm, Arch::ScmpArchAarch64];

/// Bytes to choose by; zeros when they have run out.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.byte() % of.len()]
    }

    fn value(&mut self) -> u64 {
        let value = self.one_of(VALUES);
        match self.byte() {
            byte @ 240.. => value.rotate_left(byte as u32 - 240),
            _ => value,
        }
    }

    fn errno(&mut self) -> Option<u32> {
        [None, Some(0), Some(1), Some(38), Some(13), Some(4094)][self.byte() % 6]
    }

    /// A profile that compiles.
    pub fn profile(&mut self) -> LinuxSeccomp {
        let default = self.one_of(&ACTIONS[..8]);
        let architectures = self.byte();
        let listed = ARCHITECTURES.iter().enumerate().filter(|(bit, _)| architectures >> bit & 1 == 1);
        let mut profile = LinuxSeccompBuilder::default()
            .default_action(default)
            .architectures(listed.map(|(_, arch)| *arch).collect::<Vec<_>>())
            .syscalls((0..self.byte() % 10).map(|_| self.entry()).collect::<Vec<_>>())
            .build()
            .unwrap();
        profile.set_default_errno_ret(self.errno());
        profile
    }

    fn entry(&mut self) -> LinuxSyscall {
        let mut entry = LinuxSyscallBuilder::default()
            .names((0..1 + self.byte() % 3).map(|_| self.one_of(NAMES).to_owned()).collect::<Vec<_>>())
            .action(self.one_of(ACTIONS))
            .args((0..(self.byte() % 6).saturating_sub(1)).map(|_| self.argument()).collect::<Vec<_>>())
            .build()
            .unwrap();
        entry.set_errno_ret(self.errno());
        entry
    }

    fn argument(&mut self) -> LinuxSeccompArg {
        LinuxSeccompArgBuilder::default()
            .index([0_usize, 0, 0, 1, 1, 2, 3, 4, 5][self.byte() % 9])
            .op(self.one_of(OPERATORS))
            .value(self.value())
            .value_two(self.value())
            .build()
            .unwrap()
    }
}

/// Calls that a filter for `profile` could answer wrongly: every number it names and its neighbours, with arguments
/// on both sides of every value it compares with, and with bits set that the kernel does not read.
pub fn calls(native: Native, profile: &LinuxSeccomp) -> Vec<SyscallData> {
    let abis = match native {
        Native::X86_64 => &[Abi::X86_64, Abi::X32, Abi::X86, Abi::Aarch64][..],
        Native::Aarch64 => &[Abi::Aarch64, Abi::Arm, Abi::X86_64][..],
    };
    let mut calls = Vec::new();
    for abi in abis {
        let arch = abi.audit();
        let odd = [0, 1, 102, 117, 500, 0xf0002, X32_BIT - 1, X32_BIT, X32_BIT | 600, u32::MAX - 1, u32::MAX];
        calls.extend(odd.map(|number| SyscallData { number, arch, ..SyscallData::default() }));
        for entry in profile.syscalls().iter().flatten() {
            for name in entry.names() {
                for number in
                    [abi.number(name), abi.multiplexed(name).map(|m| m.number)].into_iter().flatten()
                {
                    for number in [number.wrapping_sub(1), number, number + 1] {
                        let data = SyscallData { number, arch, ..SyscallData::default() };
                        calls.extend(
                            arguments(profile, name).map(|arguments| SyscallData { arguments, ..data }),
                        );
                    }
                }
            }
        }
    }
    calls.sort_unstable_by_key(|data| (data.arch, data.number, data.arguments));
    calls.dedup();
    calls
}

/// Argument registers near what the rules for `name` compare with.
fn arguments(profile: &LinuxSeccomp, name: &str) -> impl Iterator<Item = [u64; 6]> {
    let mut sets = vec![[0; 6], [u64::MAX; 6]];
    for entry in profile.syscalls().iter().flatten().filter(|entry| entry.names().iter().any(|n| n == name)) {
        let mut all = vec![[0; 6]; 12];
        for argument in entry.args().iter().flatten() {
            let near = near(argument);
            for (set, value) in all.iter_mut().zip(near) {
                set[argument.index()] = value;
            }
            // One condition off, the others met.
            let mut met = all[0];
            for value in near {
                met[argument.index()] = value;
                sets.push(met);
            }
        }
        sets.extend(all);
    }
    // A multiplexer's selector.
    sets.extend([[1, 0, 0, 0, 0, 0], [21, 0, 0, 0, 0, 0], [0x1_0001, 0, 0, 0, 0, 0], [9, 7, 0, 0, 0, 0]]);
    sets.into_iter()
}

fn near(argument: &LinuxSeccompArg) -> [u64; 12] {
    let value = match argument.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => argument.value_two().unwrap_or(0) & argument.value(),
        _ => argument.value(),
    };
    let low = value & 0xffff_ffff;
    [
        value,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        low,
        value ^ 1 << 32,
        value | 0xffff_ffff_0000_0000,
        value ^ 1 << 16,
        value & 0xffff,
        value ^ 1 << 63,
        (value | !argument.value()) & 0xffff_ffff,
        low.wrapping_sub(1),
        !value,
    ]
}
