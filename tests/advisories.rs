//! Past advisories of container runtimes, each as an attack on this one: those that no other file covers.
//! SECURITY.md holds the ledger.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use casemate_tests::{Bundle, ConsoleSocket, Runtime, each, json, ours};

/// What a process's status says of one field.
fn field(status: &str, name: &str) -> String {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

/// A directory of the host that an image would like to reach, with a file named `ptmx` in it, and one outside of it.
fn outside(bundle: &Bundle) -> PathBuf {
    let outside = bundle.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("ptmx"), "of the host").unwrap();
    outside
}

fn assert_untouched(outside: &PathBuf, output: &impl std::fmt::Display) {
    let names: Vec<_> = fs::read_dir(outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["ptmx"], "{output}");
    let file = outside.join("ptmx");
    assert_eq!(fs::read_to_string(&file).unwrap(), "of the host", "{output}");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "{output}");
}

/// An image without a fresh `/dev`: the mount of it is taken out of the configuration.
fn without_dev(rt: &Runtime, script: &str) -> Bundle {
    let mut bundle = Bundle::sh(rt, script);
    bundle.edit(|c| c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev"));
    bundle
}

/// CVE-2026-41579, CVE-2026-47766: `/dev` of the image is a link, and links and nodes are made in it.
#[test]
fn a_dev_that_is_a_link_leads_nowhere() {
    for inside_too in [false, true] {
        let bundle = without_dev(&ours(), "ls /dev/");
        let outside = outside(&bundle);
        let dev = bundle.rootfs().join("dev");
        if dev.exists() {
            fs::remove_dir_all(&dev).unwrap();
        }
        symlink(&outside, &dev).unwrap();
        if inside_too {
            // The same path in the root: what follows the link inside finds a place to work in.
            fs::create_dir_all(bundle.rootfs().join(outside.strip_prefix("/").unwrap())).unwrap();
        }
        let output = bundle.run();
        assert!(!output.stdout().contains("of the host"), "{output}");
        assert_untouched(&outside, &output);
        bundle.assert_clean();
    }
}

/// CVE-2026-88264: the image says where `/dev/console` is, and a terminal is bound there.
#[test]
fn a_console_that_is_a_link_leads_nowhere() {
    for target in ["absolute", "climbing"] {
        let mut bundle = without_dev(&ours(), "cat /dev/console </dev/null & exit 0");
        let outside = outside(&bundle);
        let link = match target {
            "absolute" => outside.join("ptmx"),
            _ => PathBuf::from("../../../../../../../../..")
                .join(outside.join("ptmx").strip_prefix("/").unwrap()),
        };
        fs::create_dir_all(bundle.rootfs().join("dev/pts")).unwrap();
        symlink(link, bundle.rootfs().join("dev/console")).unwrap();
        bundle.edit(|c| c["process"]["terminal"] = json!(true));
        bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
        let socket = ConsoleSocket::listen(&bundle.dir().join("console"));
        let path = socket.path().to_str().unwrap();
        let output = bundle.command(["create", "--console-socket", path, bundle.id()]).run();
        assert_untouched(&outside, &output);
        bundle.delete_force().ok();
        drop(socket);
        bundle.assert_clean();
    }
}

/// CVE-2025-52565: what is bound as the console, and handed over as the terminal, must be a terminal.
#[test]
fn a_false_multiplexer_is_no_terminal() {
    for fake in ["file", "link"] {
        let mut bundle = without_dev(&ours(), "true");
        let outside = outside(&bundle);
        let pts = bundle.dir().join("pts");
        fs::create_dir(&pts).unwrap();
        match fake {
            "file" => fs::write(pts.join("ptmx"), "").unwrap(),
            _ => symlink(outside.join("ptmx"), pts.join("ptmx")).unwrap(),
        }
        symlink(outside.join("ptmx"), pts.join("0")).unwrap();
        bundle.edit(|c| c["process"]["terminal"] = json!(true));
        bundle.mount("/dev/pts", "bind", pts.to_str().unwrap(), &["bind"]);
        let socket = ConsoleSocket::listen(&bundle.dir().join("console"));
        let path = socket.path().to_str().unwrap();
        let output = bundle.command(["create", "--console-socket", path, bundle.id()]).run().fails_with(1);
        assert_untouched(&outside, &output);
        drop(socket);
        bundle.assert_clean();
    }
}

/// CVE-2026-88265: `/dev/null` of the image is a link when standard streams are set up and given to the user.
#[test]
fn a_false_null_device_is_no_standard_stream() {
    let mut bundle = without_dev(&ours(), "readlink /proc/self/fd/0; cat; echo attacked >&2");
    let outside = outside(&bundle);
    fs::create_dir_all(bundle.rootfs().join("dev")).unwrap();
    symlink(outside.join("ptmx"), bundle.rootfs().join("dev/null")).unwrap();
    bundle.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let output = bundle.run();
    assert!(!output.stdout().contains("of the host"), "{output}");
    assert_untouched(&outside, &output);
    bundle.assert_clean();
}

/// CVE-2022-29162, CVE-2022-27650, CVE-2022-24769, CVE-2025-27612: capabilities must not be inheritable unasked,
/// since a program with inheritable file capabilities would be given them whoever runs it.
#[test]
fn capabilities_are_not_inheritable_unasked() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "cat /proc/self/status; sleep 1000");
        bundle.capabilities(&["CAP_CHOWN"]);
        bundle.run_detached().ok();
        for args in
            [&[][..], &["--cap", "CAP_KILL"], &["--user", "1000"], &["--user", "1000", "--cap", "CAP_KILL"]]
        {
            let call = bundle.command(["exec"]).args(args).args([bundle.id(), "cat", "/proc/self/status"]);
            let output = call.run().ok();
            assert_eq!(field(&output.stdout(), "CapInh:"), "0000000000000000", "{args:?}: {output}");
        }
    });
}

/// CVE-2016-8867: a user other than root keeps no capability through execve unless it is ambient.
#[test]
fn a_user_other_than_root_has_no_capability() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "cat /proc/self/status");
        bundle.capabilities(&["CAP_CHOWN", "CAP_NET_RAW"]);
        bundle.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        let output = bundle.run().ok();
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(&output.stdout(), name), "0000000000000000", "{name} {output}");
        }
    });
}

/// CVE-2026-30892, CVE-2024-40635, CVE-2016-3697: a number is that user, or refused; never root by mistake.
#[test]
fn a_number_is_that_user_or_refused() {
    let rt = ours();
    let mut bundle = Bundle::new(&rt);
    bundle.args(&["/bin/sleep", "1000"]);
    // Who trusts names finds root under a number here.
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::write(&passwd, "root:x:0:0::/:/bin/sh\n1:x:0:0::/:/bin/sh\n31337:x:0:0::/:/bin/sh\n").unwrap();
    bundle.run_detached().ok();
    let exec = |user: &str| {
        let call = bundle.command(["exec", "--user", user, bundle.id(), "cat", "/proc/self/status"]);
        call.run()
    };
    for (user, uid) in [("1", "1"), ("31337", "31337"), ("2147483648", "2147483648"), ("1:1", "1")] {
        let output = exec(user).ok();
        assert_eq!(field(&output.stdout(), "Uid:").split_whitespace().next(), Some(uid), "{output}");
    }
    for user in ["4294967295", "4294967296", "0x1", "1e3", " 1", "-1", "1:4294967296"] {
        let output = exec(user);
        assert!(!output.success() && output.stdout().is_empty(), "{user:?}: {output}");
    }
}

/// CVE-2021-43784: a namespace's path so long that a length field of 16 bits would wrap.
#[test]
fn a_path_of_any_length_is_only_a_path() {
    each(|rt| {
        for length in [4096, 65_535, 65_536 + 32, 1 << 20] {
            let mut bundle = Bundle::new(rt);
            bundle.namespace("network", Some(&format!("/{}", "x".repeat(length))));
            let output = bundle.run().fails_with(1);
            assert!(!output.stderr().contains("panic"), "{output}");
            bundle.assert_clean();
        }
    });
}

/// CVE-2025-54867, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: `/proc` or `/sys` of the image is a link.
#[test]
fn proc_and_sys_that_are_links_are_refused() {
    for name in ["proc", "sys"] {
        for inside in [false, true] {
            let mut bundle = Bundle::new(&ours());
            let outside = outside(&bundle);
            let place = bundle.rootfs().join(name);
            if place.exists() {
                fs::remove_dir(&place).unwrap();
            }
            if inside {
                fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
                symlink("elsewhere", &place).unwrap();
            } else {
                symlink(&outside, &place).unwrap();
            }
            bundle.edit(|c| c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/sys"));
            bundle.mount("/sys", "sysfs", "sysfs", &["ro"]);
            let output = bundle.run().fails_with(1);
            assert_untouched(&outside, &output);
            bundle.assert_clean();
        }
    }
}

/// No advisory, but runc's rule: a namespace of the host's joined by path is not the container's to configure. The
/// values are those the host has, so that nothing changes when the rule is broken.
#[test]
fn a_namespace_of_the_hosts_is_not_configured() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        let ttl = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
        bundle.namespace("network", Some("/proc/self/ns/net"));
        bundle.edit(|c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": ttl.trim()}));
        bundle.run().fails_with(1).fails_saying(&["net.ipv4.ip_default_ttl"]);
        bundle.assert_clean();
    });
    let mut bundle = Bundle::new(&ours());
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    bundle.namespace("uts", Some("/proc/self/ns/uts"));
    bundle.edit(|c| c["hostname"] = json!(name.trim()));
    bundle.run().fails_with(1).fails_saying(&["hostname"]);
    bundle.assert_clean();
}
