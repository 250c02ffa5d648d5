//! The seccomp profiles of the policies in the kernel: every family of calls they refuse is first seen to reach the
//! kernel without them.

use casemate_policy::seccomp::{Arch, Context, Profile, resolve};
use casemate_runtime::seccomp::Native;
use casemate_tests::{Bundle, Value, install_probe, json, ours, skip};
use oci_spec::runtime::Capabilities;

const EPERM: &str = "errno 1";
const EAFNOSUPPORT: &str = "errno 97";
const EPROTONOSUPPORT: &str = "errno 93";
const ENOSYS: &str = "errno 38";

/// Calls that `hardened` and `strict` refuse, with arguments that do no harm where they are carried out.
const REFUSED: &[(&str, &str, &str)] = &[
    ("io_uring_setup", "1 0", EPERM),
    ("io_uring_enter", "-1 0 0 0", EPERM),
    ("io_uring_register", "-1 0 0 0", EPERM),
    ("keyctl", "0 -3 1", EPERM),
    ("add_key", "0 0 0 0 -3", EPERM),
    ("request_key", "0 0 0 -3", EPERM),
    ("userfaultfd", "0", EPERM),
    ("bpf", "0xffff 0 0", EPERM),
    ("perf_event_open", "0 0 -1 -1 0", EPERM),
    ("unshare", "0x10000000", EPERM),
    ("unshare", "0x4000000", EPERM),
    ("setns", "-1 0", EPERM),
    ("clone", "0x10000011 0 0 0 0", EPERM),
    ("clone", "0x100000040000011 0 0 0 0", EPERM),
    ("clone3", "0 0", ENOSYS),
    ("mount", "0 0 0 0 0", EPERM),
    ("umount2", "0 0", EPERM),
    ("pivot_root", "0 0", EPERM),
    ("open_tree", "-100 / 0", EPERM),
    ("move_mount", "-1 0 -1 0 0", EPERM),
    ("fsopen", "0 0", EPERM),
    ("fsmount", "-1 0 0", EPERM),
    ("fspick", "-100 0 0", EPERM),
    ("mount_setattr", "-100 / 0 0 0", EPERM),
    ("chroot", "0", EPERM),
    ("ptrace", "0 0 0 0", EPERM),
    ("process_vm_readv", "1 0 0 0 0 0", EPERM),
    ("process_vm_writev", "1 0 0 0 0 0", EPERM),
    ("kcmp", "1 1 1 0 0", EPERM),
    ("pidfd_getfd", "-1 0 0", EPERM),
    ("name_to_handle_at", "-100 / 0 0 0", EPERM),
    ("open_by_handle_at", "-1 0 0", EPERM),
    ("quotactl", "0x80000700 0 0 0", EPERM),
    ("init_module", "0 0 0", EPERM),
    ("finit_module", "-1 0 0", EPERM),
    ("kexec_load", "0 0 0 0xffff", EPERM),
    ("reboot", "0 0 0 0", EPERM),
    ("swapon", "0 0", EPERM),
    ("syslog", "10 0 0", EPERM),
    ("acct", "1", EPERM),
    ("settimeofday", "0 0", EPERM),
    ("personality", "0x40000", EPERM),
    ("personality", "0x100040000", EPERM),
    ("mknodat", "-100 /tmp/device 0x21b6 0x103", EPERM),
    ("ioctl", "0 0x5412 0", EPERM),
    ("ioctl", "0 0x541c 0", EPERM),
    ("ioctl", "0 0x5423 0", EPERM),
    ("ioctl", "0 0x100005412 0", EPERM),
    ("socket", "17 3 0", EAFNOSUPPORT),
    ("socket", "0x100000011 3 0", EAFNOSUPPORT),
    ("socket", "40 1 0", EAFNOSUPPORT),
    ("socket", "38 5 0", EAFNOSUPPORT),
    ("socket", "15 3 2", EAFNOSUPPORT),
    ("socket", "44 3 0", EAFNOSUPPORT),
    ("socket", "2 3 1", EPERM),
    ("socket", "2 10 3", EPERM),
    ("socket", "2 1 132", EPERM),
    ("socketpair", "30 1 0 0", EPERM),
];

/// What `hardened` refuses of netlink; `strict` refuses it whole.
const NETLINK: &[(&str, &str, &str)] = &[
    ("socket", "16 3 9", EPROTONOSUPPORT),
    ("socket", "16 3 12", EPROTONOSUPPORT),
    ("socket", "16 3 16", EPROTONOSUPPORT),
];

/// What `strict` refuses beyond.
const STRICT: &[(&str, &str, &str)] = &[
    ("socket", "16 3 0", EAFNOSUPPORT),
    ("fchmodat", "-100 /tmp 0x9ed", EPERM),
    ("fchmodat", "-100 /tmp 0x5ed", EPERM),
    ("openat", "-100 /tmp/owned 0x42 0x9ed", EPERM),
    ("openat2", "-100 /tmp 0 24", ENOSYS),
    ("memfd_create", "/ 1", EPERM),
    ("memfd_secret", "0", EPERM),
    ("adjtimex", "0", EPERM),
];

/// Calls that programs live on.
const ALLOWED: &[(&str, &str)] = &[
    ("socket", "1 1 0"),
    ("socket", "2 0x80801 6"),
    ("socket", "10 2 17"),
    ("ioctl", "0 0x541b 0"),
    ("memfd_create", "/ 9"),
    ("personality", "0xffffffff"),
    ("futex", "0 1 0 0 0 0"),
    ("mknodat", "-100 /tmp/pipe 0x11a4 0"),
    ("openat", "-100 /tmp/plain 0x42 0x1a4"),
    ("getpid", ""),
];

/// The last line of what each call comes to, under `profile`.
fn outcomes(profile: Option<Value>, calls: &[(&str, &str)]) -> Vec<String> {
    let mut script = String::new();
    for (name, arguments) in calls {
        let number = Native::BUILD.abi().number(name).expect("a system call");
        script += &format!("/probe syscall {number} {arguments} </dev/null | tail -n 1\n");
    }
    let mut bundle = Bundle::sh(&ours(), &script);
    install_probe(&bundle);
    // With every capability the kernel itself has nothing against the calls.
    bundle.capabilities(&[
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_SYS_CHROOT",
        "CAP_SYS_BOOT",
        "CAP_SYS_MODULE",
        "CAP_SYS_TIME",
        "CAP_SYS_PACCT",
        "CAP_SYSLOG",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_NET_ADMIN",
        "CAP_BPF",
        "CAP_PERFMON",
        "CAP_DAC_READ_SEARCH",
        "CAP_DAC_OVERRIDE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_RESOURCE",
        "CAP_AUDIT_READ",
    ]);
    bundle.edit(|config| {
        config["root"]["readonly"] = json!(false);
        if let Some(profile) = profile {
            config["linux"]["seccomp"] = profile;
        }
    });
    let said = bundle.run().ok().stdout();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), calls.len(), "{said}");
    lines
}

/// For a container without capabilities that would open anything.
fn profile(name: &str) -> Value {
    let held = Capabilities::new();
    let context = Context { capabilities: &held, arch: Arch::BUILD, kernel: (6, 18) };
    json!(resolve(Profile::builtin(name).expect("a profile"), &context))
}

fn refuses(name: &str, cases: &[(&str, &str, &str)]) {
    let calls: Vec<_> = cases.iter().map(|(name, arguments, _)| (*name, *arguments)).collect();
    let free = outcomes(None, &calls);
    let under = outcomes(Some(profile(name)), &calls);
    let mut reached = 0;
    for ((case, free), under) in cases.iter().zip(free).zip(under) {
        let (call, arguments, expected) = case;
        assert_eq!(&under, expected, "{name}: {call} {arguments}, without: {free}");
        // A kernel that is built without a feature says the same as the profile.
        if &free == expected && [EPERM, EPROTONOSUPPORT].contains(expected) {
            panic!("{call} {arguments}: refused without a profile");
        }
        reached += usize::from(&free != expected);
    }
    eprintln!("{name}: {reached} of {} reach the kernel without it", cases.len());
    assert!(reached * 10 > cases.len() * 9, "this kernel has too little to refuse");
}

#[test]
fn hardened_refuses_what_reaches_the_kernel_without_it() {
    refuses("hardened", REFUSED);
    refuses("hardened", NETLINK);
}

#[test]
fn strict_refuses_that_and_more() {
    refuses("strict", REFUSED);
    refuses("strict", STRICT);
}

#[test]
fn what_programs_live_on_stays() {
    let free = outcomes(None, ALLOWED);
    for name in ["hardened", "strict"] {
        for (((call, arguments), free), under) in
            ALLOWED.iter().zip(&free).zip(outcomes(Some(profile(name)), ALLOWED))
        {
            let same = *free == under || free.parse::<i64>().is_ok() && under.parse::<i64>().is_ok();
            assert!(same, "{name}: {call} {arguments}: {under}, without a profile {free}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_entries_to_the_kernel() {
    // getpid of i386 and of x32, and i386's socketcall and vm86, which take no harm from arguments of zero.
    let script =
        "/probe i386 20; echo $?; /probe syscall 0x40000027; echo $?; /probe i386 102; /probe i386 113";
    let run = |profile: Option<Value>| {
        let mut bundle = Bundle::sh(&ours(), script);
        install_probe(&bundle);
        if let Some(profile) = profile {
            bundle.edit(|config| config["linux"]["seccomp"] = profile);
        }
        bundle.run().text()
    };
    let free = run(None);
    if free.starts_with("errno") || free.starts_with("139") {
        return skip("needs a kernel that runs i386 programs");
    }
    let hardened = run(Some(profile("hardened")));
    let lines: Vec<_> = hardened.lines().collect();
    assert!(lines[0].parse::<u32>().is_ok() && lines[1] == "0", "i386 runs: {hardened}");
    assert_eq!(lines[2..], ["159", "errno 1", "errno 1"], "x32 is killed, the rest refused: {hardened}");
    let strict = run(Some(profile("strict")));
    let lines: Vec<_> = strict.lines().collect();
    assert_eq!(lines[..2], ["159", "159"], "neither i386 nor x32: {strict}");
}

/// Asks for the session keyring, for a namespace, and makes a directory; then tells how many filters there are.
const QUESTIONS: &str = "/probe syscall 250 0 -3 1; /probe syscall 272 0x10000000; /probe syscall 83 /tmp/a 511; rm -rf /tmp/a; \
                         grep Seccomp_filters /proc/self/status";

/// What a container of the policy `policy` answers, `own` being the bundle's filter.
#[cfg(target_arch = "x86_64")]
fn asked(policy: &str, own: Option<Value>) -> Bundle {
    let mut bundle = Bundle::sh(&ours(), QUESTIONS);
    install_probe(&bundle);
    bundle.policy(policy).edit(|config| {
        if let Some(own) = own {
            config["linux"]["seccomp"] = own;
        }
    });
    bundle
}

#[cfg(target_arch = "x86_64")]
#[test]
fn policies_put_their_profile_over_every_process() {
    for policy in ["strict", "hardened", "baseline"] {
        let mut bundle = asked(policy, None);
        let said = bundle.run().ok().stdout();
        assert_eq!(said.lines().collect::<Vec<_>>(), [EPERM, EPERM, "0", "Seccomp_filters:\t1"], "{policy}");
        bundle.args(&["/bin/sleep", "1000"]).run_detached().ok();
        let said = bundle.exec(&["/bin/sh", "-c", QUESTIONS]).ok().stdout();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [EPERM, EPERM, "0", "Seccomp_filters:\t1"],
            "{policy}: exec"
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_stricter_of_two_filters_answers() {
    let own = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]
    });
    let said = asked("hardened", Some(own)).run().ok().stdout();
    assert_eq!(said.lines().collect::<Vec<_>>(), [EPERM, EPERM, "errno 99", "Seccomp_filters:\t2"]);
    // The very profile that the policy asks for is loaded once.
    let said = asked("hardened", Some(profile("hardened"))).run().ok().stdout();
    assert_eq!(said.lines().collect::<Vec<_>>(), [EPERM, EPERM, "0", "Seccomp_filters:\t1"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn one_line_of_policy_opens_one_call() {
    let mut bundle = asked("hardened", None);
    let file = bundle.file("keys.toml", "extends = \"hardened\"\nseccomp.allow = [\"keyctl\"]\n");
    bundle.policy(file.to_str().expect("a path in UTF-8"));
    let said = bundle.run().ok().stdout();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].parse::<i32>().is_ok(), "{said}");
    assert_eq!(lines[1..3], [EPERM, "0"], "{said}");
}
