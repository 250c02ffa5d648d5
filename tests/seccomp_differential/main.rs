//! Our seccomp compiler against libseccomp, and both against the kernel.
//!
//! Each test gives the same profile to both and compares what the two filters answer to thousands of calls. Where
//! the answers are meant to differ, [`Deliberate`] says so, case by case; everything else has to be equal.

#[path = "../../src/runtime/src/seccomp/tests/docker.rs"]
mod docker;
mod peer;
#[path = "../../src/runtime/src/seccomp/tests/reading.rs"]
mod reading;
#[path = "../../src/runtime/src/seccomp/tests/sample.rs"]
mod sample;

/// The files shared with the unit tests look for these beside them.
use casemate_runtime::seccomp::{self, Abi, Multiplexed, Native, X32_BIT, compile_for, interpret, width};

use std::collections::BTreeMap;

use casemate_policy::seccomp::{Arch as PolicyArch, Context, Profile, resolve};
use interpret::{SyscallData, answer};
use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use peer::{Compiled, Outcome, Peer};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use reading::{Match, Reading, Way};
use width::Width;

/// Why a call may be answered differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deliberate {
    /// runc puts ENOSYS for calls newer than the profile before libseccomp's filter; ours is one filter.
    UnheardOf,
    /// A call of an architecture that the profile lists but this kernel cannot run; ours has no code for it.
    CannotRun,
    /// A call that the installed libseccomp has not heard of.
    Newer,
    /// Several conditions for one call, which libseccomp (2.5.4) merges into one tree and now and then gets wrong:
    /// a failed condition ends the search while another rule would hold. Only where it does, and ours then has to be
    /// what a plain reading gives.
    Merged,
    /// Rules with different actions hold at once. libseccomp's choice depends on how it sorts conditions; ours is
    /// the most restrictive.
    Contradiction,
    /// A condition's value does not fit the argument on this architecture. libseccomp cuts it off; for ours no
    /// argument reaches it.
    TooWide,
    /// x32 registers have 64 bits, of which libseccomp compares 32.
    X32Registers,
    /// ipc(2) with a version in its first argument, which the kernel strips before it chooses, and ours too.
    IpcVersion,
    /// A rule with conditions for a call that i386 also reaches through a multiplexer. libseccomp compares the
    /// multiplexer's registers, which hold something else.
    Multiplexed,
}

/// One profile, both filters.
struct Comparison<'a> {
    reading: Reading<'a>,
    ours: Vec<seccompiler::sock_filter>,
    theirs: Vec<seccompiler::sock_filter>,
    newer: Vec<&'a str>,
    /// How many calls were compared, and how many were not and why.
    counts: BTreeMap<Option<Deliberate>, usize>,
}

impl<'a> Comparison<'a> {
    /// None where libseccomp does not take the profile.
    fn new(peer: &Peer, profile: &'a LinuxSeccomp) -> Option<Self> {
        let Compiled { program: theirs, newer } = peer.compile(Native::X86_64, profile)?;
        let ours = compile_for(Native::X86_64, profile).unwrap().program;
        let reading = Reading::new(Native::X86_64, profile);
        Some(Self { reading, ours, theirs, newer, counts: BTreeMap::new() })
    }

    fn check(&mut self, data: &SyscallData) -> Result<(), String> {
        let why = self.deliberate(data);
        *self.counts.entry(why).or_default() += 1;
        if why.is_some() {
            return Ok(());
        }
        let ours = answer(&self.ours, data);
        // libseccomp compares what is in the register. It is asked about what the kernel would read there.
        let theirs = answer(&self.theirs, &self.as_read(data));
        if ours.is_some() && ours == theirs {
            return Ok(());
        }
        let abi = self.reading.abi(data).unwrap_or(Abi::X86_64);
        let ways = self.reading.ways(abi, data.number);
        let conditions = ways.iter().flat_map(|(entry, _)| entry.args().iter().flatten()).count();
        if conditions > 1 && ours == Some(self.reading.answer(data)) {
            *self.counts.entry(None).or_default() -= 1;
            *self.counts.entry(Some(Deliberate::Merged)).or_default() += 1;
            return Ok(());
        }
        let entries = ways.iter().map(|(entry, _)| entry).collect::<Vec<_>>();
        let profile = serde_json::to_string(&(self.reading.default(), entries)).unwrap();
        Err(format!("{data:x?}: ours {ours:x?}, libseccomp's {theirs:x?}, default and rules {profile}"))
    }

    fn deliberate(&self, data: &SyscallData) -> Option<Deliberate> {
        let listed = |arch: &Arch| *arch as u32 == data.arch;
        let Some(abi) = self.reading.abi(data) else {
            let x86 = data.arch == Abi::X86_64.audit() || data.arch == Abi::X86.audit();
            let listed = self.reading.profile.architectures().iter().flatten().any(listed);
            return (!x86 && listed).then_some(Deliberate::CannotRun);
        };
        let rules = self.reading.rules(abi, data);
        if rules.is_empty() && self.reading.unheard_of(abi, data.number) {
            return Some(Deliberate::UnheardOf);
        }
        let ways = self.reading.ways(abi, data.number);
        if ways.iter().any(|(_, way)| matches!(way, Way::Call(name) if self.newer.contains(name))) {
            return Some(Deliberate::Newer);
        }
        if abi != Abi::X86_64
            && ways.iter().any(|(entry, _)| entry.args().iter().flatten().any(is_cut_to_nothing))
        {
            return Some(Deliberate::TooWide);
        }
        if rules.iter().any(|(_, matching)| *matching == Match::Unconditional) {
            return None;
        }
        if ways.iter().any(|(_, way)| is_ipc(*way)) && data.arguments[0] > 0xffff {
            return Some(Deliberate::IpcVersion);
        }
        let holding =
            rules.iter().filter(|(_, matching)| *matching == Match::Holds).map(|(action, _)| action);
        if holding.clone().min() != holding.max() {
            return Some(Deliberate::Contradiction);
        }
        ways.iter().find_map(|(entry, way)| deliberate_in(abi, entry, *way, data))
    }

    /// `data` with the bits taken away that the kernel does not read of arguments that a rule is about.
    fn as_read(&self, data: &SyscallData) -> SyscallData {
        let Some(abi) = self.reading.abi(data) else { return *data };
        let mut read = *data;
        for (entry, way) in self.reading.ways(abi, data.number) {
            let Way::Call(name) = way else { continue };
            for argument in entry.args().iter().flatten() {
                read.arguments[argument.index()] &= width::of(abi, name, argument.index()).max();
            }
        }
        read
    }
}

/// Whether 32 bits of a mask are none, which makes a condition hold always, and its rule one without conditions.
fn is_cut_to_nothing(argument: &LinuxSeccompArg) -> bool {
    argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq
        && argument.value() != 0
        && argument.value() & u64::from(u32::MAX) == 0
}

fn is_ipc(way: Way<'_>) -> bool {
    matches!(way, Way::Multiplexed(Multiplexed { mask: 0xffff, .. }))
}

fn deliberate_in(abi: Abi, entry: &LinuxSyscall, way: Way<'_>, data: &SyscallData) -> Option<Deliberate> {
    let arguments: &[LinuxSeccompArg] = entry.args().as_deref().unwrap_or_default();
    let name = match way {
        Way::Multiplexed(_) if !arguments.is_empty() => return Some(Deliberate::Multiplexed),
        Way::Multiplexed(_) => return None,
        Way::Call(name) => name,
    };
    for argument in arguments {
        let width = width::of(abi, name, argument.index());
        if abi == Abi::X32 && width == Width::Bits64 && data.arguments[argument.index()] > u64::from(u32::MAX)
        {
            return Some(Deliberate::X32Registers);
        }
        let told = width::of(Abi::X86_64, name, argument.index());
        let value = match argument.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => argument.value() & argument.value_two().unwrap_or(0),
            _ => argument.value(),
        };
        let cut_off = abi != Abi::X86_64 && told.narrowed(value) > u64::from(u32::MAX);
        if cut_off || told.narrowed(value) != width.narrowed(value) {
            return Some(Deliberate::TooWide);
        }
    }
    None
}

fn compare(peer: &Peer, profile: &LinuxSeccomp) -> Result<BTreeMap<Option<Deliberate>, usize>, String> {
    let Some(mut comparison) = Comparison::new(peer, profile) else { return Ok(BTreeMap::new()) };
    for data in sample::calls(Native::X86_64, profile) {
        comparison.check(&data)?;
    }
    Ok(comparison.counts)
}

#[test]
fn random_profiles_are_answered_alike() {
    let Some(peer) = Peer::build("random") else { return };
    let mut compared = 0;
    let mut excused = BTreeMap::new();
    let mut runner = TestRunner::new(Config {
        cases: 300,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let totals = std::cell::RefCell::new((&mut compared, &mut excused));
    runner
        .run(&vec(any::<u8>(), 0..400), |bytes| {
            let profile = sample::Choices(&bytes).profile();
            let counts = compare(&peer, &profile).map_err(TestCaseError::fail)?;
            let (compared, excused) = &mut *totals.borrow_mut();
            for (why, count) in counts {
                match why {
                    None => **compared += count,
                    Some(why) => *excused.entry(why).or_insert(0) += count,
                }
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{compared} calls compared; not compared: {excused:?}");
    // The exceptions must stay exceptions.
    let merged = excused.get(&Deliberate::Merged).copied().unwrap_or_default();
    assert!(merged * 200 < compared, "{merged} of {compared} calls");
    assert!(excused.values().sum::<usize>() < compared, "{compared} compared, {excused:?} not");
}

#[test]
fn dockers_profile_is_answered_alike() {
    let Some(peer) = Peer::build("docker") else { return };
    for capabilities in [docker::CAPABILITIES, &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_MODULE"]] {
        let profile = docker::resolved(Native::X86_64, capabilities);
        let counts = compare(&peer, &profile).unwrap_or_else(|difference| panic!("{difference}"));
        eprintln!("{counts:?}");
        assert!(
            counts.keys().all(|why| matches!(why, None | Some(Deliberate::UnheardOf | Deliberate::Newer))),
            "{counts:?}"
        );
    }
}

#[test]
fn profiles_of_policies_are_answered_alike() {
    let Some(peer) = Peer::build("policies") else { return };
    for name in ["strict", "hardened"] {
        for held in [Capabilities::new(), Capabilities::from([Capability::NetRaw, Capability::SysAdmin])] {
            let context = Context { capabilities: &held, arch: PolicyArch::X86_64, kernel: (6, 18) };
            let mut profile = resolve(Profile::builtin(name).unwrap(), &context);
            // With i386 beside it, libseccomp 2.5.4 loses a load (see `Peer::compile`).
            profile.set_architectures(Some(vec![Arch::ScmpArchX86_64]));
            let counts = compare(&peer, &profile).unwrap_or_else(|difference| panic!("{difference}"));
            eprintln!("{name}: {counts:?}");
            assert!(counts.get(&None).is_some_and(|compared| *compared > 1000), "{counts:?}");
            run_both(&peer, &profile).unwrap();
        }
    }
}

/// Calls that do no harm with any arguments, and end at once.
const HARMLESS: &[&str] = &[
    "personality",
    "setuid",
    "setuid32",
    "socket",
    "chmod",
    "kcmp",
    "close",
    "openat2",
    "mknodat",
    "uselib",
    "newfstatat",
    "futex_waitv",
    "socketcall",
];

#[test]
fn the_kernel_does_what_both_filters_say() {
    let Some(peer) = Peer::build("kernel") else { return };
    let mut runner = TestRunner::new(Config {
        cases: 24,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&vec(any::<u8>(), 200..400), |bytes| {
            let profile = sample::Choices(&bytes).profile();
            run_both(&peer, &profile).map_err(TestCaseError::fail)
        })
        .unwrap_or_else(|error| panic!("{error}"));
    run_both(&peer, &docker::resolved(Native::X86_64, docker::CAPABILITIES)).unwrap();
}

/// Makes calls under no filter, ours and libseccomp's.
fn run_both(peer: &Peer, profile: &LinuxSeccomp) -> Result<(), String> {
    let Some(comparison) = Comparison::new(peer, profile) else { return Ok(()) };
    let harmless = |data: &SyscallData| {
        [Abi::X86_64, Abi::X32, Abi::X86].iter().any(|abi| {
            abi.audit() == data.arch && HARMLESS.iter().any(|name| abi.number(name) == Some(data.number))
        })
    };
    let calls: Vec<_> = sample::calls(Native::X86_64, profile).into_iter().filter(harmless).collect();
    let calls: Vec<_> = calls.iter().step_by(calls.len() / 40 + 1).copied().collect();
    let free = peer.call(&[seccompiler::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }], &calls);
    let ours = peer.call(&comparison.ours, &calls);
    let theirs = peer.call(&comparison.theirs, &calls);
    for (((data, free), ours), theirs) in calls.iter().zip(free).zip(ours).zip(theirs) {
        let expected = |program| outcome(answer(program, data).unwrap(), free);
        if ours != expected(&comparison.ours) || theirs != expected(&comparison.theirs) {
            return Err(format!("{data:x?}: ours {ours:?}, libseccomp's {theirs:?}, without {free:?}"));
        }
    }
    Ok(())
}

/// What a call comes to that the filter answers with `action`, and that without a filter is `free`.
fn outcome(action: u32, free: Outcome) -> Outcome {
    match action & 0xffff_0000 {
        0x7fff_0000 | 0x7ffc_0000 => free,
        0x0005_0000 => Outcome::Returned(-i64::from(action & 0xffff)),
        // Nobody traces and nobody listens.
        0x7ff0_0000 | 0x7fc0_0000 => Outcome::Returned(-38),
        _ => Outcome::Killed,
    }
}
