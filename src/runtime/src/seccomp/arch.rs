//! Architectures a filter tells apart, and the numbers their system calls have.

use oci_spec::runtime::Arch;

/// The architecture of the kernel that a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// x86-64, which also runs i386 and, where configured, x32 programs.
    X86_64,
    /// arm64, which also runs 32-bit ARM programs.
    Aarch64,
}

impl Native {
    /// The architecture this program was built for.
    pub const BUILD: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// The convention of this kernel's own programs.
    pub fn abi(self) -> Abi {
        match self {
            Self::X86_64 => Abi::X86_64,
            Self::Aarch64 => Abi::Aarch64,
        }
    }

    /// The convention a profile means by `arch`; none if such a program cannot run on this kernel.
    pub fn foreign(self, arch: Arch) -> Option<Abi> {
        match (self, arch) {
            (_, Arch::ScmpArchNative) => Some(self.abi()),
            (Self::X86_64, Arch::ScmpArchX86_64) => Some(Abi::X86_64),
            (Self::X86_64, Arch::ScmpArchX86) => Some(Abi::X86),
            (Self::X86_64, Arch::ScmpArchX32) => Some(Abi::X32),
            (Self::Aarch64, Arch::ScmpArchAarch64) => Some(Abi::Aarch64),
            (Self::Aarch64, Arch::ScmpArchArm) => Some(Abi::Arm),
            _ => None,
        }
    }
}

/// A system call convention: a numbering and a register width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// x86-64.
    X86_64,
    /// 32-bit pointers in x86-64 mode: x86-64's audit architecture, told apart by [`X32_BIT`] in the number.
    X32,
    /// i386.
    X86,
    /// arm64.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
}

/// Marks an x32 system call number (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// The `AUDIT_ARCH_*` token in `seccomp_data.arch` (`linux/audit.h`).
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether registers, as the kernel reads them for such a program, have 32 bits.
    pub fn is_32bit(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// The number of the system call `name`, as it stands in `seccomp_data.nr`.
    pub fn number(self, name: &str) -> Option<u32> {
        match self {
            Self::X86_64 => probe!(X86_64, syscalls::x86_64::Sysno, name),
            Self::X32 => match X32.find(name) {
                Some(own) => own,
                None => probe!(X86_64, syscalls::x86_64::Sysno, name),
            }
            .map(|number| number | X32_BIT),
            Self::X86 => probe!(X86, syscalls::x86::Sysno, name),
            Self::Aarch64 => match name {
                // The kernel's name; the table has the C library's.
                "newfstatat" => Some(79),
                _ => probe!(AARCH64, syscalls::aarch64::Sysno, name),
            },
            Self::Arm => probe!(ARM, syscalls::arm::Sysno, name).or_else(|| ARM_PRIVATE.find(name)),
        }
    }

    /// Whether `number` is outside the sequence in which new system calls are added.
    pub fn is_private(self, number: u32) -> bool {
        self == Self::Arm && number >= ARM_PRIVATE_BASE
    }

    /// The multiplexed form of `name`: i386 programs reach sockets and System V IPC also through one call each.
    pub fn multiplexed(self, name: &str) -> Option<Multiplexed> {
        if self != Self::X86 {
            return None;
        }
        let (number, call) = MULTIPLEXED.find(name)?;
        // ipc(2) carries a version in the upper half of its first argument, which the kernel strips.
        Some(Multiplexed { number, mask: if number == IPC { 0xffff } else { u32::MAX }, call })
    }
}

/// A system call that is reached as `number` with `argument 0 & mask == call`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multiplexed {
    /// The multiplexer: `socketcall` or `ipc`.
    pub number: u32,
    /// The bits of its first argument that select.
    pub mask: u32,
    /// Their value.
    pub call: u32,
}

const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// `SYS_*` of `linux/net.h` and the calls of `linux/ipc.h`.
#[rustfmt::skip]
static MULTIPLEXED: Few<(u32, u32)> = Few::new(&[
    ("accept", (SOCKETCALL, 5)), ("accept4", (SOCKETCALL, 18)), ("bind", (SOCKETCALL, 2)),
    ("connect", (SOCKETCALL, 3)), ("getpeername", (SOCKETCALL, 7)), ("getsockname", (SOCKETCALL, 6)),
    ("getsockopt", (SOCKETCALL, 15)), ("listen", (SOCKETCALL, 4)), ("msgctl", (IPC, 14)),
    ("msgget", (IPC, 13)), ("msgrcv", (IPC, 12)), ("msgsnd", (IPC, 11)), ("recv", (SOCKETCALL, 10)),
    ("recvfrom", (SOCKETCALL, 12)), ("recvmmsg", (SOCKETCALL, 19)), ("recvmsg", (SOCKETCALL, 17)),
    ("semctl", (IPC, 3)), ("semget", (IPC, 2)), ("semop", (IPC, 1)), ("semtimedop", (IPC, 4)),
    ("send", (SOCKETCALL, 9)), ("sendmmsg", (SOCKETCALL, 20)), ("sendmsg", (SOCKETCALL, 16)),
    ("sendto", (SOCKETCALL, 11)), ("setsockopt", (SOCKETCALL, 14)), ("shmat", (IPC, 21)),
    ("shmctl", (IPC, 24)), ("shmdt", (IPC, 22)), ("shmget", (IPC, 23)), ("shutdown", (SOCKETCALL, 13)),
    ("socket", (SOCKETCALL, 1)), ("socketpair", (SOCKETCALL, 8)),
]);

/// Where x32 parts from x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`): a number of its own, or none.
#[rustfmt::skip]
static X32: Few<Option<u32>> = Few::new(&[
    ("_sysctl", None), ("create_module", None), ("epoll_ctl_old", None), ("epoll_wait_old", None),
    ("execve", Some(520)), ("execveat", Some(545)), ("get_kernel_syms", None),
    ("get_robust_list", Some(531)), ("get_thread_area", None), ("getsockopt", Some(542)),
    ("io_setup", Some(543)), ("io_submit", Some(544)), ("ioctl", Some(514)), ("kexec_load", Some(528)),
    ("map_shadow_stack", None), ("move_pages", Some(533)), ("mq_notify", Some(527)), ("nfsservctl", None),
    ("preadv", Some(534)), ("preadv2", Some(546)), ("process_vm_readv", Some(539)),
    ("process_vm_writev", Some(540)), ("ptrace", Some(521)), ("pwritev", Some(535)),
    ("pwritev2", Some(547)), ("query_module", None), ("readv", Some(515)), ("recvfrom", Some(517)),
    ("recvmmsg", Some(537)), ("recvmsg", Some(519)), ("rt_sigaction", Some(512)),
    ("rt_sigpending", Some(522)), ("rt_sigqueueinfo", Some(524)), ("rt_sigreturn", Some(513)),
    ("rt_sigtimedwait", Some(523)), ("rt_tgsigqueueinfo", Some(536)), ("sendmmsg", Some(538)),
    ("sendmsg", Some(518)), ("set_robust_list", Some(530)), ("set_thread_area", None),
    ("setsockopt", Some(541)), ("sigaltstack", Some(525)), ("timer_create", Some(526)), ("uprobe", None),
    ("uretprobe", None), ("uselib", None), ("vmsplice", Some(532)), ("vserver", None),
    ("waitid", Some(529)), ("writev", Some(516)),
]);

const ARM_PRIVATE_BASE: u32 = 0xf0000;

/// `__ARM_NR_*`.
static ARM_PRIVATE: Few<u32> = Few::new(&[
    ("breakpoint", ARM_PRIVATE_BASE + 1),
    ("cacheflush", ARM_PRIVATE_BASE + 2),
    ("get_tls", ARM_PRIVATE_BASE + 6),
    ("set_tls", ARM_PRIVATE_BASE + 5),
    ("usr26", ARM_PRIVATE_BASE + 3),
    ("usr32", ARM_PRIVATE_BASE + 4),
]);

// The `syscalls` crate finds a name by comparing it with every name it knows, which for a usual profile costs more
// than all the rest of its compilation. Hash tables made by the compiler find it at once.

const SLOTS: usize = 1024;
const LIMIT: usize = 512;

const fn slot(name: &str) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut rest = name.as_bytes();
    while let [first, more @ ..] = rest {
        hash = (hash ^ *first as u32).wrapping_mul(0x0100_0193);
        rest = more;
    }
    (hash ^ (hash >> 16)) as usize % SLOTS
}

/// A few names and what is particular about them, found by their hash. Most names that are asked for are none of them.
struct Few<T: 'static> {
    rows: &'static [(&'static str, T)],
    /// `row + 1` by the hash of its name, 0 where free.
    slots: [u8; FEW],
}

const FEW: usize = 256;

impl<T: Copy> Few<T> {
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: out of bounds would not build")]
    const fn new(rows: &'static [(&'static str, T)]) -> Self {
        assert!(rows.len() < FEW / 2);
        let mut slots = [0; FEW];
        let mut row = 0;
        while row < rows.len() {
            let mut at = slot(rows[row].0) % FEW;
            while slots[at] != 0 {
                at = (at + 1) % FEW;
            }
            row += 1;
            slots[at] = row as u8;
        }
        Self { rows, slots }
    }

    fn find(&self, name: &str) -> Option<T> {
        let (before, from) = self.slots.split_at_checked(slot(name) % FEW)?;
        let taken = from.iter().chain(before).take_while(|entry| **entry != 0);
        let rows = taken.filter_map(|entry| self.rows.get(usize::from(*entry) - 1));
        rows.into_iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// A table of `number + 1` by the hash of the name, 0 where free.
macro_rules! table {
    ($name:ident, $Sysno:ty) => {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler: out of bounds would not build"
        )]
        static $name: [u16; SLOTS] = {
            assert!((<$Sysno>::last().id() as usize) < LIMIT);
            let mut slots = [0; SLOTS];
            let mut number = 0;
            while number < LIMIT {
                if let Some(call) = <$Sysno>::new(number) {
                    let mut at = slot(call.name());
                    while slots[at] != 0 {
                        at = (at + 1) % SLOTS;
                    }
                    slots[at] = number as u16 + 1;
                }
                number += 1;
            }
            slots
        };
    };
}

macro_rules! probe {
    ($table:ident, $Sysno:ty, $name:expr) => {{
        let name: &str = $name;
        let (before, from) = $table.split_at_checked(slot(name)).unwrap_or((&[], &$table));
        let taken = from.iter().chain(before).take_while(|entry| **entry != 0);
        taken
            .map(|entry| u32::from(*entry) - 1)
            .find(|number| <$Sysno>::new(*number as usize).is_some_and(|call| call.name() == name))
    }};
}
use probe;

table!(X86_64, syscalls::x86_64::Sysno);
table!(X86, syscalls::x86::Sysno);
table!(AARCH64, syscalls::aarch64::Sysno);
table!(ARM, syscalls::arm::Sysno);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for call in syscalls::x86_64::Sysno::iter() {
            assert_eq!(Abi::X86_64.number(call.name()), Some(call.id() as u32));
        }
        for call in syscalls::x86::Sysno::iter() {
            assert_eq!(Abi::X86.number(call.name()), Some(call.id() as u32));
        }
        for call in syscalls::aarch64::Sysno::iter() {
            assert_eq!(Abi::Aarch64.number(call.name()), Some(call.id() as u32));
        }
        for call in syscalls::arm::Sysno::iter() {
            assert_eq!(Abi::Arm.number(call.name()), Some(call.id() as u32));
        }
        assert_eq!(Abi::X86_64.number("no_such_call"), None);
        assert_eq!(Abi::X86_64.number(""), None);
    }

    #[test]
    fn every_row_is_found() {
        X32.rows.iter().for_each(|(name, number)| assert_eq!(X32.find(name), Some(*number)));
        MULTIPLEXED.rows.iter().for_each(|(name, call)| assert_eq!(MULTIPLEXED.find(name), Some(*call)));
        ARM_PRIVATE.rows.iter().for_each(|(name, number)| assert_eq!(ARM_PRIVATE.find(name), Some(*number)));
        assert_eq!((X32.find("read"), X32.find("")), (None, None));
    }

    #[test]
    fn x32_has_its_own_numbers() {
        assert_eq!(Abi::X32.number("execve"), Some(X32_BIT | 520));
        assert_eq!(Abi::X32.number("read"), Some(X32_BIT));
        assert_eq!(Abi::X32.number("uselib"), None);
    }
}
