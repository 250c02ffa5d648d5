//! The product's own programs as containers: executed from a descriptor, and under policies of their own.
//!
//! Ours alone: the reference has neither.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use casemate_tests::{Bundle, Invocation, install_probe, json, ours, probe};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, getxattr, memfd_create};

/// `SYS_getpid` of x86_64 and others: what the probe is asked for where any answer will do.
const GETPID: &str = if cfg!(target_arch = "x86_64") { "39" } else { "172" };
const S: u32 = 1_073_676_288;

fn policy(program: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../policies/{program}.toml"));
    file.canonicalize().expect("the policy's file").display().to_string()
}

/// The probe in memory, sealed as the broker seals what it hands out.
fn in_memory() -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut memory = File::from(memfd_create("helper", flags).expect("a file in memory"));
    memory.write_all(&fs::read(probe()).expect("read the probe")).expect("copy the probe");
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).expect("seal it");
    memory.into()
}

/// Has the program of descriptor 4 be `memory`, and 3 a file that is written to.
fn with_descriptors(call: Invocation, bundle: &Bundle, memory: &OwnedFd) -> Invocation {
    let said = bundle.dir().join("said");
    let program = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    call.prepared(&format!("exec 3>{} 4<{program}", said.display()))
}

#[test]
fn a_program_in_memory_runs() {
    let memory = in_memory();
    for policy in ["hardened", "strict", &policy("layer")] {
        let mut bundle = Bundle::new(&ours());
        bundle.policy(policy).args(&["/proc/self/fd/4", "syscall", GETPID]);
        let call = bundle.command(["run", "--preserve-fds", "2", bundle.id()]);
        assert_eq!(with_descriptors(call, &bundle, &memory).run().ok().text(), "1", "{policy}");
    }
}

#[test]
fn a_program_in_memory_enters() {
    let memory = in_memory();
    for policy in ["hardened", "strict", "baseline"] {
        let mut bundle = Bundle::new(&ours());
        bundle.policy(policy).args(&["/bin/sleep", "1000"]);
        bundle.run_detached().ok();
        let exec = ["exec", "--preserve-fds", "2", bundle.id(), "/proc/self/fd/4", "syscall", GETPID];
        let output = with_descriptors(bundle.command(exec), &bundle, &memory).run().ok();
        assert!(output.text().parse::<u32>().is_ok_and(|pid| pid > 1), "{policy}: {output}");
        // As the helper is started: root of the container whoever its user is, with what the policy admits.
        let process = json!({
            "args": ["/proc/self/fd/4", "syscall", GETPID], "cwd": "/", "env": [],
            "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
        });
        let file = bundle.file("process.json", process.to_string()).display().to_string();
        let exec = ["exec", "--preserve-fds", "2", "--process", &file, bundle.id()];
        with_descriptors(bundle.command(exec), &bundle, &memory).run().ok();
        bundle.delete_force().ok();
    }
}

/// A container under a program's own policy, with a directory of the store's to write to.
fn own(program: &str, script: &str) -> (Bundle, std::path::PathBuf) {
    let mut bundle = Bundle::sh(&ours(), script);
    install_probe(&bundle);
    let target = bundle.dir().join("target");
    fs::create_dir(&target).expect("make the place to write to");
    fs::create_dir(bundle.rootfs().join("target")).expect("make where it is mounted");
    std::os::unix::fs::chown(&target, Some(S), Some(S)).expect("shift its owner");
    let source = target.display().to_string();
    bundle.policy(&policy(program)).mount("/target", "bind", &source, &["bind"]);
    bundle.capabilities(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_SETFCAP",
        "CAP_MKNOD",
        "CAP_SYS_ADMIN",
        "CAP_NET_ADMIN",
        "CAP_NET_BIND_SERVICE",
    ]);
    (bundle, target)
}

fn run(bundle: &Bundle) -> casemate_tests::Output {
    let document = json!({"ids": S, "binds": ["/target"]});
    let file = bundle.file("store.json", document.to_string()).display().to_string();
    bundle.command(["--store", &file, "run", bundle.id()]).run()
}

#[test]
fn the_helper_makes_what_layers_hold() {
    // A file capability of version 2 becomes the namespace's own, version 3.
    let script = "set -e; cd /target; mkdir d; touch d/f; chown -R 1000:1001 d; chmod 6755 d/f; mknod gone c 0 0; \
                  /probe xattr d user.overlay.opaque 79; cp /bin/busybox p; \
                  /probe xattr p security.capability 0100000200040000000000000000000000000000; \
                  ln -s /etc/passwd l; mkfifo pipe; ln d/f hard; stat -c '%a %u:%g' d/f";
    let (bundle, target) = own("layer", script);
    assert_eq!(run(&bundle).ok().text(), "6755 1000:1001");
    let at = |name: &str| fs::symlink_metadata(target.join(name)).expect("what was made");
    assert_eq!((at("d/f").uid(), at("d/f").gid(), at("d/f").mode() & 0o7777), (S + 1000, S + 1001, 0o6755));
    assert_eq!((at("gone").rdev(), at("gone").uid()), (0, S));
    let mut value = [0_u8; 64];
    let size = getxattr(target.join("d"), "user.overlay.opaque", &mut value[..]).expect("the attribute");
    assert_eq!(&value[..size], b"y");
    let size = getxattr(target.join("p"), "security.capability", &mut value[..]).expect("the capability");
    assert_eq!((size, &value[20..24]), (24, &S.to_le_bytes()[..]), "not bound to the store's ids: {value:?}");
}

#[test]
fn the_helper_can_do_nothing_else() {
    let script = "grep CapBnd /proc/self/status; ls /sys/class/net 2>/dev/null; cat /proc/net/dev | wc -l; \
                  mknod /target/null c 1 3 || echo no device; mknod /target/disk b 8 0 || echo no disk; \
                  mount -t tmpfs tmpfs /target || echo no mount; touch /x || echo no root; \
                  cp /bin/busybox /target/b && /target/b true || echo not run; \
                  ulimit -n; chroot / true || echo no chroot; unshare -U true || echo no namespace";
    let (mut bundle, target) = own("layer", script);
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 9999, "soft": 9999}]);
    });
    let output = run(&bundle).ok();
    let said = output.stdout();
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP.
    assert!(said.contains("CapBnd:\t000000008800001b"), "{output}");
    for word in
        ["no device", "no disk", "no mount", "no root", "not run", "4096", "no chroot", "no namespace"]
    {
        assert!(said.contains(word), "{word}: {output}");
    }
    assert!(said.contains("\n3\n"), "more than a loopback device: {output}");
    assert!(!target.join("null").exists() && !target.join("disk").exists());
    let mut sharing = own("layer", "true").0;
    sharing.without_namespace("network");
    run(&sharing).fails_saying(&["policy layer denies this container", "network"]);
}

#[test]
fn the_daemon_has_the_hosts_network_and_no_rights() {
    let script = "readlink /proc/self/ns/net; grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status; \
                  touch /target/mine && echo written; touch /x || echo no root; touch /dev/x || echo no dev; \
                  cp /bin/busybox /target/b && /target/b true || echo not run; \
                  timeout 2 nc -l -p 34567 || echo no port; cat /proc/self/cgroup | head -1";
    let (mut bundle, target) = own("casemated", script);
    bundle
        .without_namespace("network")
        .edit(|config| config["process"]["user"] = json!({"uid": 65532, "gid": 65532}));
    std::os::unix::fs::chown(&target, Some(S + 65532), Some(S + 65532)).expect("shift its owner");
    let output = run(&bundle).ok();
    let said = output.stdout();
    let network = fs::read_link("/proc/self/ns/net").expect("our network").display().to_string();
    for word in [
        network.as_str(),
        "CapBnd:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "written",
        "no root",
        "no dev",
        "not run",
        "no port",
    ] {
        assert!(said.contains(word), "{word}: {output}");
    }
    assert_eq!(fs::metadata(target.join("mine")).expect("what it wrote").uid(), S + 65532);
}

/// Bounds are there though the bundle asks for none.
#[test]
fn both_are_bounded() {
    for (program, memory, pids) in [("layer", "536870912", "64"), ("casemated", "536870912", "512")] {
        let mut bundle = Bundle::new(&ours());
        bundle.policy(&policy(program)).args(&["/bin/sleep", "1000"]);
        if program == "casemated" {
            bundle.edit(|config| config["process"]["user"] = json!({"uid": 65532, "gid": 65532}));
        }
        bundle.run_detached().ok();
        let groups = bundle.cgroups();
        let file = if groups.is_v1("memory") { "memory.limit_in_bytes" } else { "memory.max" };
        assert_eq!(groups.read("memory", file), memory, "{program}");
        assert_eq!(groups.read("pids", "pids.max"), pids, "{program}");
    }
}

/// Neither has a name, so that an annotation cannot ask for it.
#[test]
fn no_request_can_choose_them() {
    for program in ["casemated", "layer"] {
        let mut bundle = Bundle::new(&ours());
        bundle
            .policy("hardened")
            .edit(|config| config["annotations"] = json!({"io.casemate.policy": program}));
        bundle.run().fails_saying(&["io.casemate.policy", "there is no such policy"]);
        bundle.policy(program);
        bundle.run().fails_saying(&["there is no such policy"]);
    }
}

/// The broker tells its own callers what went wrong, and must not read words for it.
#[test]
fn causes_have_exit_codes() {
    let mut bundle = Bundle::new(&ours());
    bundle.policy("hardened");
    fs::write(bundle.rootfs().join("etc/data"), "no program").expect("write a file");
    let ways: [&[&str]; 4] = [&["run"], &["run", "-d"], &["create"], &["exec"]];
    let programs = [
        ("nothing", 127, "executable file not found in $PATH"),
        ("/no/such", 127, "no such file or directory (ENOENT)"),
        ("/etc/passwd/x", 127, "(ENOTDIR)"),
        ("/etc/passwd", 126, "permission denied (EACCES)"),
        ("/etc", 126, "permission denied (EACCES)"),
    ];
    let running = bundle.other_id("running");
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.command(["run", "-d", &running]).run().ok();
    for way in ways {
        for (program, code, words) in programs {
            bundle.args(&[program]);
            let exec = way == ["exec"];
            let target = if exec { vec![running.as_str(), program] } else { vec![bundle.id()] };
            let call = |flag: &[&str]| bundle.command([flag, way, &target].concat()).run();
            call(&["--exit-by-cause"]).fails_with(code).fails_saying(&[words]);
            call(&[]).fails_with(if exec { 255 } else { 1 }).fails_saying(&[words]);
        }
    }
    bundle.args(&["/bin/true"]).mount("/x", "bind", "/etc/shadow", &["bind"]);
    let denied = "policy hardened denies this container";
    bundle.command(["--exit-by-cause", "run", bundle.id()]).run().fails_with(3).fails_saying(&[denied]);
    bundle.run().fails_with(1).fails_saying(&[denied]);
    // Whatever else goes wrong is 1 either way.
    bundle.raw_config(b"{");
    bundle.command(["--exit-by-cause", "run", bundle.id()]).run().fails_with(1);
    bundle.command(["delete", "--force", &running]).run().ok();
}
