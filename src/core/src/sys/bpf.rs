//! bpf(2), as far as the device programs of cgroup v2 need it (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::answer;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of the cgroups above and below stay in force beside ours.
const ALLOW_MULTI: u32 = 2;
/// `BPF_F_REPLACE`, Linux 5.6.
const REPLACE: u32 = 4;
/// The kernel attaches at most this many programs to one cgroup (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: u32 = 64;

/// One eBPF instruction, `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low half, source in the high.
    pub registers: u8,
    /// Signed offset of a jump or a memory access.
    pub offset: i16,
    /// Immediate value.
    pub value: i32,
}

/// The head of `union bpf_attr`, as words of 32 bits; what a word means depends on the command (linux/bpf.h).
#[repr(C, align(8))]
struct Attr([u32; 12]);

/// Has the kernel verify a device program and take it in.
///
/// # Errors
/// bpf(2): `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`, `EINVAL`/`EACCES` for a program that the verifier refuses.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let license = c"Apache-2.0";
    let length = u32::try_from(program.len()).map_err(|_long| Errno::INVAL)?;
    let ([at_low, at_high], [license_low, license_high]) =
        (address(program.as_ptr()), address(license.as_ptr()));
    // Program type, length, instructions, licence; no log.
    let attr = attr([TYPE_CGROUP_DEVICE, length, at_low, at_high, license_low, license_high]);
    // Other loads in the system share the verifier's lock; EAGAIN says "try again" (bpf_prog_load in the kernel).
    let mut tries = 0;
    loop {
        // SAFETY: `attr` is laid out as the kernel's union for this command and outlives the call; the two addresses
        // in it are of `program` and of a static string, which the kernel only reads.
        let result = unsafe { bpf(PROG_LOAD, (&raw const attr).cast(), size_of::<Attr>()) };
        match result {
            Err(Errno::AGAIN) if tries < 5 => tries += 1,
            other => return adopt(other?),
        }
    }
}

/// Attaches a device program to a cgroup: beside those that are there, or in the place of `old`, with no moment in
/// between (Linux 5.6).
///
/// # Errors
/// bpf(2): `EPERM` when a program above was attached exclusively, `E2BIG` when there are too many; with `old`, `EINVAL`
/// on an older kernel, `ENOENT` when it is not attached.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let flags = ALLOW_MULTI | if old.is_some() { REPLACE } else { 0 };
    attach(PROG_ATTACH, cgroup, program, flags, old)
}

/// Takes a device program off a cgroup.
///
/// # Errors
/// bpf(2): `ENOENT` when it is not attached.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    attach(PROG_DETACH, cgroup, program, 0, None)
}

/// The device programs attached to this very cgroup.
///
/// # Errors
/// bpf(2): `EPERM` without `CAP_NET_ADMIN` or `CAP_SYS_ADMIN`, which getting at a program by its id asks for.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0_u32; MAX_PROGRAMS as usize];
    let [ids_low, ids_high] = address(ids.as_mut_ptr());
    // Cgroup, attach type, two words of flags, where the ids go, how many fit.
    let mut attr = attr([number(cgroup)?, ATTACH_CGROUP_DEVICE, 0, 0, ids_low, ids_high, MAX_PROGRAMS]);
    // SAFETY: `attr` and `ids`, whose address it holds, outlive the call and are ours alone to be written; the kernel
    // writes the counts and at most `count` ids.
    unsafe { bpf(PROG_QUERY, (&raw mut attr).cast(), size_of::<Attr>()) }?;
    let Attr([_, _, _, _, _, _, count, ..]) = attr;
    ids.iter().take(count as usize).map(|id| by_id(*id)).collect()
}

fn by_id(id: u32) -> Result<OwnedFd, Errno> {
    let attr = attr([id]);
    // SAFETY: `attr` is laid out as the kernel's union for this command and outlives the call.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, (&raw const attr).cast(), size_of::<Attr>()) }?;
    adopt(fd)
}

fn attach(
    command: libc::c_int,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    flags: u32,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let replaced = replaced.map_or(Ok(0), number)?;
    let attr = attr([number(cgroup)?, number(program)?, ATTACH_CGROUP_DEVICE, flags, replaced]);
    // SAFETY: `attr` is laid out as the kernel's union for this command and outlives the call; it holds no pointer.
    unsafe { bpf(command, (&raw const attr).cast(), size_of::<Attr>()) }.map(|_zero| ())
}

fn attr<const N: usize>(words: [u32; N]) -> Attr {
    let mut attr = Attr([0; 12]);
    attr.0.iter_mut().zip(words).for_each(|(to, from)| *to = from);
    attr
}

/// An address as two words, in the order of this machine.
fn address<T>(of: *const T) -> [u32; 2] {
    let address = of.expose_provenance() as u64;
    let (low, high) = (address as u32, (address >> 32) as u32);
    if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
}

fn number(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    u32::try_from(fd.as_raw_fd()).map_err(|_negative| Errno::BADF)
}

fn adopt(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(fd).map_err(|_huge| Errno::BADF)?;
    // SAFETY: the kernel has just opened this descriptor for the caller's command, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attr` points to `size` bytes laid out as `command` wants them, valid for what that command reads and writes.
unsafe fn bpf(command: libc::c_int, attr: *const libc::c_void, size: usize) -> Result<libc::c_long, Errno> {
    // SAFETY: the caller answers for `attr`; the kernel takes fields beyond `size` as zero.
    answer(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size) })
}
