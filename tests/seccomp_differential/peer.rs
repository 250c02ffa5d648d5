//! libseccomp and the kernel, through a small C program built for the occasion.

use std::{
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use casemate_runtime::seccomp::interpret::SyscallData;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use seccompiler::sock_filter;

use super::{
    reading::{alternatives, code},
    seccomp::{Abi, Native, width},
};

/// The built program.
pub struct Peer(PathBuf);

/// What libseccomp makes of a profile.
pub struct Compiled<'a> {
    pub program: Vec<sock_filter>,
    /// The names in the profile that it has not heard of.
    pub newer: Vec<&'a str>,
}

/// What the kernel did with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Killed,
    Returned(i64),
}

impl Peer {
    /// None where libseccomp or a C compiler is not installed.
    pub fn build(test: &str) -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp_differential/peer.c");
        let program = std::env::temp_dir().join(format!("casemate-peer-{test}-{}", std::process::id()));
        let compiled =
            Command::new("cc").args(["-O1", "-o"]).arg(&program).args([source, "-lseccomp"]).output();
        if compiled.is_ok_and(|output| output.status.success()) {
            return Some(Self(program));
        }
        casemate_tests::skip("needs libseccomp-dev and a C compiler");
        None
    }

    /// The filter that libseccomp makes of `profile` when it is told the rules as runc tells them, and values as the
    /// native architecture's argument widths have them.
    ///
    /// None if it refuses a rule because another contradicts it, does not come to an end, or fails: see
    /// [`loses_a_load`].
    pub fn compile<'a>(&self, native: Native, profile: &'a LinuxSeccomp) -> Option<Compiled<'a>> {
        let default = code(profile.default_action(), profile.default_errno_ret());
        let names: Vec<_> =
            profile.syscalls().iter().flatten().flat_map(LinuxSyscall::names).map(String::as_str).collect();
        let mut text = names.iter().map(|name| format!("N {name}\n")).collect::<String>();
        text += &format!("D {default}\n");
        for arch in profile.architectures().iter().flatten() {
            text += &format!("A {}\n", *arch as u32);
        }
        for entry in profile.syscalls().iter().flatten() {
            let action = code(entry.action(), entry.errno_ret());
            if action != default {
                entry.names().iter().for_each(|name| text += &rules(native.abi(), name, action, entry));
            }
        }
        text += "X\n";
        let answer = self.ask(&text)?;
        let mut lines = answer.lines();
        let newer = names.into_iter().filter(|_| lines.next() == Some("0")).collect();
        if let Some(errno) = lines.next().unwrap().strip_prefix("F ") {
            assert_eq!(errno, "17", "libseccomp refuses what it should take");
            return None;
        }
        let program: Vec<_> = lines.map(instruction).collect();
        (!loses_a_load(&program)).then_some(Compiled { program, newer })
    }

    /// Makes each call under `program`, in a process of its own.
    pub fn call(&self, program: &[sock_filter], calls: &[SyscallData]) -> Vec<Outcome> {
        let mut text = format!("P {}\n", program.len());
        for instruction in program {
            let sock_filter { code, jt, jf, k } = instruction;
            text += &format!("{code} {jt} {jf} {k}\n");
        }
        for data in calls {
            let bits = if data.arch == Abi::X86.audit() { 32 } else { 64 };
            let arguments = data.arguments.map(|argument| argument.to_string()).join(" ");
            text += &format!("C {bits} {} {arguments}\n", data.number);
        }
        let answer = self.ask(&text).expect("the kernel takes its time");
        let outcome = |line| match line {
            "killed" => Outcome::Killed,
            result => Outcome::Returned(result.parse().unwrap()),
        };
        answer.lines().map(outcome).collect()
    }

    /// None if it ran into its limit of processor time.
    fn ask(&self, text: &str) -> Option<String> {
        let mut command = Command::new(&self.0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // Both pipes can fill. Where the peer ends early, its status below says more than this write.
            scope.spawn(move || input.write_all(text.as_bytes()).ok());
            child.wait_with_output().unwrap()
        });
        if output.status.signal().is_some() {
            return None;
        }
        assert!(output.status.success(), "the peer failed");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// The rules of one entry for one name.
fn rules(abi: Abi, name: &str, action: u32, entry: &LinuxSyscall) -> String {
    let mut text = String::new();
    for conjunction in alternatives(entry) {
        text += &format!("R {name} {action} {}", conjunction.len());
        conjunction.iter().for_each(|argument| text += &condition(abi, name, argument));
        text += "\n";
    }
    text
}

fn condition(abi: Abi, name: &str, argument: &LinuxSeccompArg) -> String {
    let width = width::of(abi, name, argument.index());
    let (a, b) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (argument.value(), width.narrowed(argument.value() & argument.value_two().unwrap_or(0)))
        }
        _ => (width.narrowed(argument.value()), 0),
    };
    format!(" {} {} {a} {b}", argument.index(), argument.op() as u32)
}

fn instruction(line: &str) -> sock_filter {
    let mut fields = line.split(' ').map(|field| field.parse::<u32>().unwrap());
    let mut next = || fields.next().unwrap();
    sock_filter { code: next() as u16, jt: next() as u8, jf: next() as u8, k: next() }
}

/// Whether `program` somewhere compares the architecture with what is none.
///
/// libseccomp shares equal instructions between architectures, and at times (2.5.4) also drops the load of the number
/// that one of them needs. What follows compares the architecture with system call numbers.
fn loses_a_load(program: &[sock_filter]) -> bool {
    let known = [Abi::X86_64, Abi::X86, Abi::Aarch64, Abi::Arm].map(Abi::audit);
    let mut holds_arch = vec![false; program.len() + 1];
    for (at, instruction) in program.iter().enumerate() {
        let (jt, jf) = (usize::from(instruction.jt), usize::from(instruction.jf));
        let after = match instruction.code {
            0x20 => instruction.k == 4,
            _ => holds_arch[at],
        };
        match instruction.code {
            0x15 | 0x25 | 0x35 | 0x45 if after && !known.contains(&instruction.k) => return true,
            0x15 | 0x25 | 0x35 | 0x45 => {
                holds_arch[at + 1 + jt] |= after;
                holds_arch[at + 1 + jf] |= after;
            }
            0x05 => holds_arch[at + 1 + instruction.k as usize] |= after,
            0x06 => {}
            _ => holds_arch[at + 1] |= after,
        }
    }
    false
}
