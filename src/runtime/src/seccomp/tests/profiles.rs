//! The profiles that policies come with: what they answer, and that each lets pass no more than the next.

use casemate_policy::seccomp::{Arch, Context, Profile, RUNTIME_NEEDS, resolve};
use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp};

use super::{
    ALLOW, Abi, EPERM, KILL_THREAD, Native, ask, calls, check, compile_for, docker,
    interpret::{SyscallData, answer},
    reading,
};

const NONE: [u64; 6] = [0; 6];
const EAFNOSUPPORT: u32 = 0x0005_0061;
const EPROTONOSUPPORT: u32 = 0x0005_005d;

fn resolved(native: Native, name: &str, capabilities: &Capabilities) -> LinuxSeccomp {
    let arch = if native == Native::X86_64 { Arch::X86_64 } else { Arch::Aarch64 };
    resolve(Profile::builtin(name).unwrap(), &Context { capabilities, arch, kernel: (6, 18) })
}

fn plain(name: &str) -> LinuxSeccomp {
    resolved(Native::X86_64, name, &Capabilities::new())
}

/// No capability, some that rules depend on, and all of them together.
fn holdings() -> [Capabilities; 4] {
    use Capability::{Mknod, NetAdmin, NetRaw, SysAdmin, SysChroot, SysNice, SysPtrace, SysTime};
    [
        Capabilities::new(),
        Capabilities::from([Mknod, NetRaw, SysChroot]),
        Capabilities::from([SysAdmin]),
        Capabilities::from([Mknod, NetAdmin, NetRaw, SysAdmin, SysChroot, SysNice, SysPtrace, SysTime]),
    ]
}

#[test]
fn they_answer_as_written() {
    for native in [Native::X86_64, Native::Aarch64] {
        for name in Profile::BUILTIN {
            let [none, .., all] = holdings();
            check(native, &resolved(native, name, &none));
            check(native, &resolved(native, name, &all));
        }
    }
}

#[test]
fn a_stricter_profile_lets_nothing_pass_that_the_next_does_not() {
    let mut compared = 0;
    for native in [Native::X86_64, Native::Aarch64] {
        for held in holdings() {
            let [strict, hardened, docker] = Profile::BUILTIN.map(|name| resolved(native, name, &held));
            for (inner, outer) in [(&strict, &hardened), (&hardened, &docker)] {
                let programs = [inner, outer].map(|profile| compile_for(native, profile).unwrap().program);
                for data in calls(native, inner).into_iter().chain(calls(native, outer)) {
                    let [inside, outside] =
                        programs.each_ref().map(|program| answer(program, &data).unwrap());
                    assert!(inside != ALLOW || outside == ALLOW, "{data:x?}: {inside:#x}, next {outside:#x}");
                    compared += usize::from(inside == ALLOW);
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn docker_s_is_read_as_docker_reads_it() {
    let names = docker::CAPABILITIES.iter().map(|name| name.trim_start_matches("CAP_").parse().unwrap());
    let held: Capabilities = names.collect();
    for native in [Native::X86_64, Native::Aarch64] {
        let ours = resolved(native, "docker", &held);
        let programs = [ours, docker::resolved(native, docker::CAPABILITIES)]
            .map(|profile| compile_for(native, &profile).unwrap().program);
        assert_eq!(programs[0], programs[1]);
    }
}

#[test]
fn families_of_sockets() {
    let first = |family| [family, 1, 0, 0, 0, 0];
    for (name, netlink) in [("hardened", ALLOW), ("strict", EAFNOSUPPORT)] {
        let profile = plain(name);
        let socket = |arguments| ask(&profile, Abi::X86_64, "socket", arguments);
        for family in 0..50 {
            let expected = match family {
                1 | 2 | 10 => ALLOW,
                16 => netlink,
                _ => EAFNOSUPPORT,
            };
            assert_eq!(socket(first(family)), expected, "{name}: {family}");
            // What the kernel does not read makes no difference.
            assert_eq!(socket(first(1 << 32 | family)), expected, "{name}: {family}");
        }
        // Flags beside the type, and protocols: SCTP, DCCP, raw, and packets in disguise.
        assert_eq!(socket([2, 0o2004001, 6, 0, 0, 0]), ALLOW, "{name}");
        assert_eq!(socket([10, 0o2000002, 17, 0, 0, 0]), ALLOW, "{name}");
        for refused in
            [[2, 1, 132], [2, 5, 132], [10, 6, 33], [2, 3, 1], [2, 10, 3], [2, 2, 136], [2, 1, 1 << 31]]
        {
            let [family, kind, protocol] = refused;
            assert_eq!(socket([family, kind, protocol, 0, 0, 0]), EPERM, "{name}: {refused:?}");
        }
        assert_eq!(ask(&profile, Abi::X86_64, "socketpair", first(1)), ALLOW);
        assert_eq!(ask(&profile, Abi::X86_64, "socketpair", first(30)), EPERM);
    }
    let hardened = plain("hardened");
    for protocol in [1, 9, 12, 16, 21, 1 << 31] {
        let answer = ask(&hardened, Abi::X86_64, "socket", [16, 3, protocol, 0, 0, 0]);
        assert_eq!(answer, EPROTONOSUPPORT, "{protocol}");
    }
    // i386 programs by the call's own number; through the multiplexer the family is out of sight.
    assert_eq!(ask(&hardened, Abi::X86, "socket", first(1)), ALLOW);
    assert_eq!(ask(&hardened, Abi::X86, "socket", first(40)), EAFNOSUPPORT);
    assert_ne!(ask(&hardened, Abi::X86, "socketcall", first(1)), ALLOW);
    assert_eq!(ask(&hardened, Abi::X86, "socketcall", [3, 0, 0, 0, 0, 0]), ALLOW);
    // A capability that is for a family opens it.
    let held = Capabilities::from([Capability::NetRaw, Capability::NetAdmin]);
    let held = resolved(Native::X86_64, "hardened", &held);
    for arguments in [[17, 3, 3, 0, 0, 0], [2, 3, 1, 0, 0, 0], [16, 3, 12, 0, 0, 0]] {
        assert_eq!(ask(&held, Abi::X86_64, "socket", arguments), ALLOW, "{arguments:?}");
    }
    assert_eq!(ask(&held, Abi::X86_64, "socket", first(40)), EAFNOSUPPORT);
}

#[test]
fn requests_to_terminals() {
    for name in ["hardened", "strict"] {
        let profile = plain(name);
        for request in (0x5400..0x5460).chain([0, 0x8910, 0xffff_ffff, 0xc020_6616]) {
            let expected = if [0x5412, 0x541c, 0x5423].contains(&request) { EPERM } else { ALLOW };
            for register in [request, 1 << 32 | request] {
                let answer = ask(&profile, Abi::X86_64, "ioctl", [0, register, 0, 0, 0, 0]);
                assert_eq!(answer, expected, "{name}: {register:#x}");
            }
        }
    }
}

#[test]
fn new_namespaces() {
    const NEW: [u64; 7] = [1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30];
    for name in ["hardened", "strict"] {
        let profile = plain(name);
        let clone = |flags| ask(&profile, Abi::X86_64, "clone", [flags, 0, 0, 0, 0, 0]);
        // pthread_create, fork, vfork.
        for flags in [0x003d_0f00, 0x0120_0011, 0x4111] {
            assert_eq!(clone(flags), ALLOW, "{name}: {flags:#x}");
            NEW.iter().for_each(|new| assert_eq!(clone(flags | new), EPERM, "{name}: {new:#x}"));
        }
        assert_eq!(ask(&profile, Abi::X86_64, "clone3", NONE), reading::ENOSYS, "{name}");
    }
}

#[test]
fn modes_of_files() {
    let strict = plain("strict");
    let plain_modes = [0, 0o644, 0o1777];
    for (name, position) in [("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2), ("creat", 1)] {
        let with = |mode| {
            let mut arguments = NONE;
            arguments[position] = mode;
            ask(&strict, Abi::X86_64, name, arguments)
        };
        plain_modes.iter().for_each(|mode| assert_eq!(with(*mode), ALLOW, "{name} {mode:o}"));
        for mode in [0o4755, 0o2755, 0o6000, 0o4755 | 1 << 16] {
            assert_eq!(with(mode), EPERM, "{name} {mode:o}");
        }
        assert!(name == "creat" || ask(&plain("hardened"), Abi::X86_64, name, [0o4755; 6]) == ALLOW);
    }
    let openat = |flags, mode| ask(&strict, Abi::X86_64, "openat", [0, 0, flags, mode, 0, 0]);
    assert_eq!(openat(0o101, 0o644), ALLOW);
    assert_eq!(openat(0o1, 0o4755), ALLOW);
    assert_eq!(openat(0o101, 0o4755), EPERM);
    assert_eq!(openat(0o20200002, 0o2755), EPERM);
    assert_eq!(ask(&strict, Abi::X86_64, "openat2", NONE), reading::ENOSYS);
    for (name, setuid_pipe) in [("hardened", ALLOW), ("strict", EPERM)] {
        let profile = plain(name);
        let mknod = |mode| ask(&profile, Abi::X86_64, "mknodat", [0, 0, mode, 0, 0, 0]);
        for kind in [0, 0o010000, 0o100000, 0o140000] {
            assert_eq!(mknod(kind | 0o644), ALLOW, "{name} {kind:o}");
        }
        for device in [0o020000, 0o060000] {
            assert_eq!(mknod(device | 0o644), EPERM, "{name} {device:o}");
        }
        assert_eq!(mknod(0o014755), setuid_pipe, "{name}");
    }
}

#[test]
fn files_in_memory() {
    let ask = |name, flags| ask(&plain(name), Abi::X86_64, "memfd_create", [0, flags, 0, 0, 0, 0]);
    assert_eq!((ask("hardened", 1), ask("hardened", 0x10)), (ALLOW, ALLOW));
    assert_eq!((ask("strict", 9), ask("strict", 1), ask("strict", 0x11)), (ALLOW, EPERM, EPERM));
}

#[test]
fn whole_calls() {
    const REFUSED: [&str; 39] = [
        "add_key",
        "keyctl",
        "request_key",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "unshare",
        "setns",
        "mount",
        "umount2",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "pivot_root",
        "chroot",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kcmp",
        "pidfd_getfd",
        "name_to_handle_at",
        "open_by_handle_at",
        "quotactl",
        "modify_ldt",
        "init_module",
        "finit_module",
        "kexec_load",
        "reboot",
        "swapon",
        "syslog",
        "acct",
        "settimeofday",
    ];
    for name in ["hardened", "strict"] {
        let profile = plain(name);
        REFUSED
            .iter()
            .for_each(|call| assert_eq!(ask(&profile, Abi::X86_64, call, NONE), EPERM, "{name}: {call}"));
        RUNTIME_NEEDS
            .iter()
            .for_each(|call| assert_eq!(ask(&profile, Abi::X86_64, call, NONE), ALLOW, "{call}"));
        assert_eq!(ask(&profile, Abi::X32, "read", NONE), KILL_THREAD, "{name}");
    }
    assert_eq!(ask(&plain("hardened"), Abi::X86, "read", NONE), ALLOW);
    assert_eq!(ask(&plain("hardened"), Abi::X86, "vm86", NONE), EPERM);
    assert_eq!(ask(&plain("strict"), Abi::X86, "read", NONE), KILL_THREAD);
}

#[test]
fn calls_to_come_do_not_exist() {
    for name in ["hardened", "strict"] {
        let filter = compile_for(Native::X86_64, &plain(name)).unwrap();
        for number in [467, 470, 500, 900] {
            let data = SyscallData { number, arch: Abi::X86_64.audit(), ..SyscallData::default() };
            assert_eq!(answer(&filter.program, &data), Some(reading::ENOSYS), "{name}: {number}");
        }
        // A name nobody knows would be a rule without effect.
        assert_eq!(filter.unknown, [""; 0], "{name}");
    }
}
