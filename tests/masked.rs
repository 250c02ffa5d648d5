//! maskedPaths, readonlyPaths and sysctl.

use std::fs;
use std::os::unix::fs::symlink;

use casemate_tests::{Bundle, each, json};

#[test]
fn masked_files_and_directories_are_empty() {
    each(|rt| {
        let script = "cat /secret /proc/keys; ls -A /hidden; ls -A /proc/acpi 2>/dev/null; \
                      echo x >/secret; touch /hidden/new 2>/dev/null && echo wrote; cat /secret; cat /linked";
        let mut bundle = Bundle::sh(rt, script);
        fs::write(bundle.rootfs().join("secret"), "content").unwrap();
        fs::create_dir(bundle.rootfs().join("hidden")).unwrap();
        fs::write(bundle.rootfs().join("hidden/file"), "content").unwrap();
        fs::write(bundle.rootfs().join("target"), "content").unwrap();
        symlink("/target", bundle.rootfs().join("linked")).unwrap();
        bundle.edit(|c| {
            c["linux"]["maskedPaths"] = json!([
                "/secret",
                "/hidden",
                "/linked",
                "/proc/keys",
                "/proc/acpi",
                "/does/not/exist",
                "/proc/none"
            ]);
        });
        let output = bundle.run();
        assert_eq!(output.stdout(), "", "{output}");
        assert_eq!(fs::read_to_string(bundle.rootfs().join("secret")).unwrap(), "content");
        assert_eq!(fs::read_to_string(bundle.rootfs().join("target")).unwrap(), "content");
    });
}

#[test]
fn masks_cannot_be_taken_off_without_the_capability() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "umount /secret 2>/dev/null && echo off; cat /secret");
        fs::write(bundle.rootfs().join("secret"), "content").unwrap();
        bundle.edit(|c| c["linux"]["maskedPaths"] = json!(["/secret"]));
        assert_eq!(bundle.run().ok().stdout(), "");
    });
}

#[test]
fn read_only_paths() {
    each(|rt| {
        let script = "for f in /fixed/file /proc/sys/kernel/hostname /fixed/sub/deep; do \
                      (echo x >$f) 2>/dev/null && echo wrote $f; done; cat /fixed/file; \
                      echo y >/free && cat /free; grep ' /fixed ' /proc/self/mountinfo";
        let mut bundle = Bundle::sh(rt, script);
        fs::create_dir_all(bundle.rootfs().join("fixed/sub")).unwrap();
        fs::write(bundle.rootfs().join("fixed/file"), "kept\n").unwrap();
        fs::write(bundle.rootfs().join("fixed/sub/deep"), "kept\n").unwrap();
        bundle.capabilities(&["CAP_SYS_ADMIN"]);
        bundle.edit(|c| c["linux"]["readonlyPaths"] = json!(["/fixed", "/proc/sys", "/proc/none", "/none"]));
        let output = bundle.run().ok();
        assert!(!output.stdout().contains("wrote"), "{output}");
        assert!(output.stdout().starts_with("kept\ny\n"), "{output}");
        assert!(output.stdout().contains(" ro,"), "{output}");
    });
}

#[test]
fn read_only_keeps_the_flags_of_the_mount() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "grep ' /proc/sys ' /proc/self/mountinfo | cut -d' ' -f6");
        bundle.edit(|c| {
            c["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev"]);
            c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        });
        let options = bundle.run().ok().text();
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.split(',').any(|o| o == flag), "{flag}: {options}");
        }
    });
}

#[test]
fn namespaced_sysctls_are_set() {
    each(|rt| {
        let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max \
                      /proc/sys/kernel/shmmni /proc/sys/net/ipv4/conf/lo/forwarding";
        let mut bundle = Bundle::sh(rt, script);
        bundle.edit(|c| {
            c["linux"]["sysctl"] = json!({
                "net.ipv4.ip_forward": "1",
                "kernel.msgmax": "4444",
                "fs.mqueue.msg_max": "7",
                "kernel.shmmni": "321",
            });
        });
        let host = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
        assert_eq!(bundle.run().ok().text().lines().take(4).collect::<Vec<_>>(), ["1", "4444", "7", "321"]);
        assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), host);
        // A slash separates where a name holds a dot (sysctl(8)).
        bundle.edit(|c| c["linux"]["sysctl"] = json!({"net/ipv4/ip_forward": "1"}));
        assert!(bundle.run().ok().text().starts_with("1\n"));
    });
}

#[test]
fn sysctls_of_the_host_are_refused() {
    each(|rt| {
        let refused = |name: &str, without: Option<&str>| {
            let mut bundle = Bundle::new(rt);
            bundle.edit(|c| c["linux"]["sysctl"] = json!({name: "1"}));
            if let Some(kind) = without {
                bundle.without_namespace(kind);
            }
            let output = bundle.run().fails_with(1);
            assert!(output.stderr().contains(name), "{output}");
            bundle.assert_clean();
        };
        refused("vm.swappiness", None);
        refused("kernel.panic", None);
        refused("fs.file-max", None);
        refused("kernel.core_pattern", None);
        refused("net.ipv4.ip_forward", Some("network"));
        refused("kernel.msgmax", Some("ipc"));
        refused("kernel.hostname", None);
    });
}

#[test]
fn sysctl_names_that_climb_are_refused() {
    each(|rt| {
        let before = fs::read_to_string("/proc/sys/kernel/panic").unwrap();
        for name in [
            "net.././kernel.panic",
            "net/../kernel/panic",
            "net...kernel.panic",
            "kernel.msgmax/../panic",
            "net",
        ] {
            let mut bundle = Bundle::new(rt);
            bundle.edit(|c| c["linux"]["sysctl"] = json!({name: "77"}));
            let output = bundle.run();
            assert!(!output.success(), "{name}: {output}");
            bundle.assert_clean();
        }
        assert_eq!(fs::read_to_string("/proc/sys/kernel/panic").unwrap(), before);
    });
}
