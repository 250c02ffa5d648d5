//! Device rules on cgroup v2: a BPF program that the kernel asks at every open and mknod of a device node.

use std::os::fd::AsFd;

use casemate_core::sys::bpf::{self, Instruction};
use casemate_spec::{Error, Result};
use rustix::io::Errno;

use super::devices::{Access, Kind, Rule, Rules};
use super::dir::{Dir, os};

/// Loads the program and attaches it, in place of those that are there.
pub(super) fn confine(dir: &Dir, rules: &Rules) -> Result<()> {
    let failed = |what: &'static str| {
        move |e: Errno| os(format!("{what} the device program of cgroup {}", dir.path().display()), e)
    };
    let program = bpf::load_device_program(&compile(rules)?).map_err(failed("load"))?;
    let old = bpf::device_programs(dir.as_fd()).map_err(failed("query"))?;
    if let [one] = old.as_slice() {
        match bpf::attach_device_program(dir.as_fd(), program.as_fd(), Some(one.as_fd())) {
            // Linux before 5.6 cannot replace: attach the new one and then take the old one off.
            Err(Errno::INVAL) => {}
            other => return other.map_err(failed("replace")),
        }
    }
    bpf::attach_device_program(dir.as_fd(), program.as_fd(), None).map_err(failed("attach"))?;
    old.iter()
        .try_for_each(|old| bpf::detach_device_program(dir.as_fd(), old.as_fd()).map_err(failed("detach")))
}

// `struct bpf_cgroup_dev_ctx` is at r1: u32 access_type (type in the low half, access in the high), major, minor.
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
/// The kinds of access that no rule has decided on yet.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;
const VERDICT: u8 = 0;

/// The program: from the last rule to the first, each deciding on the access it names; what is left gets the default.
pub(super) fn compile(rules: &Rules) -> Result<Vec<Instruction>> {
    let mut code = vec![
        load(TYPE, 0),
        mov(OPEN, TYPE),
        and(TYPE, 0xffff),
        shift_right(OPEN, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.rules.iter().rev() {
        code.extend(compile_rule(rule)?);
    }
    code.extend(decide(rules.allow_by_default));
    Ok(code)
}

/// One rule: past it when it is about another device, else its word on what is still open.
fn compile_rule(rule: &Rule) -> Result<Vec<Instruction>> {
    let kind = match rule.devices.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    let access = i32::from(rule.access.bits());
    let verdict = match (rule.allow, rule.access == Access::ALL) {
        (_, true) => decide(rule.allow).to_vec(),
        (true, false) => {
            let mut code = vec![and(OPEN, !access), jump_unless_equal(OPEN, 0, 2)];
            code.extend(decide(true));
            code
        }
        (false, false) => {
            let mut code = vec![mov(SCRATCH, OPEN), and(SCRATCH, access), jump_if_zero(SCRATCH, 2)];
            code.extend(decide(false));
            code
        }
    };
    let tests = [(TYPE, Some(kind)), (MAJOR, rule.devices.major), (MINOR, rule.devices.minor)];
    let tests: Vec<(u8, u32)> =
        tests.iter().filter_map(|(register, value)| value.map(|v| (*register, v))).collect();
    let mut code = Vec::with_capacity(tests.len() + verdict.len());
    for (done, (register, value)) in tests.iter().enumerate() {
        let past = tests.len() - done - 1 + verdict.len();
        let past = i16::try_from(past).map_err(|_long| Error::new("device program", "a rule is too long"))?;
        code.push(jump_unless_equal(*register, value.cast_signed(), past));
    }
    code.extend(verdict);
    Ok(code)
}

fn decide(allow: bool) -> [Instruction; 2] {
    [op(0xb7, VERDICT, 0, 0, i32::from(allow)), op(0x95, 0, 0, 0, 0)]
}

/// `BPF_LDX | BPF_MEM | BPF_W` from the context.
fn load(to: u8, offset: i16) -> Instruction {
    op(0x61, to, CONTEXT, offset, 0)
}

/// `BPF_ALU | BPF_MOV | BPF_X`
fn mov(to: u8, from: u8) -> Instruction {
    op(0xbc, to, from, 0, 0)
}

/// `BPF_ALU | BPF_AND | BPF_K`
fn and(register: u8, mask: i32) -> Instruction {
    op(0x54, register, 0, 0, mask)
}

/// `BPF_ALU | BPF_RSH | BPF_K`
fn shift_right(register: u8, bits: i32) -> Instruction {
    op(0x74, register, 0, 0, bits)
}

/// `BPF_JMP32 | BPF_JNE | BPF_K` (Linux 5.1): 64-bit comparison would extend the sign of a large number.
fn jump_unless_equal(register: u8, value: i32, past: i16) -> Instruction {
    op(0x56, register, 0, past, value)
}

/// `BPF_JMP32 | BPF_JEQ | BPF_K`
fn jump_if_zero(register: u8, past: i16) -> Instruction {
    op(0x16, register, 0, past, 0)
}

fn op(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    Instruction { code, registers: (from << 4) | to, offset, value }
}
