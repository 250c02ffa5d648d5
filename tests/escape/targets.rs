//! Places in the image that lead elsewhere: mount targets, masked paths and procfs files that are links, or become
//! links while the runtime works (CVE-2021-30465, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_tests::{Bundle, json};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::attack::{POLICIES, permissive};

/// A directory of the host's, and what is in it.
fn outside(bundle: &Bundle) -> PathBuf {
    let outside = bundle.dir().join("outside");
    fs::create_dir(&outside).expect("make a directory of the host");
    fs::write(outside.join("file"), "of the host").expect("write a file of the host");
    outside
}

#[track_caller]
fn assert_untouched(outside: &Path, policy: &str, output: &casemate_tests::Output) {
    let names: Vec<_> =
        fs::read_dir(outside).expect("list it").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["file"], "{policy}: {output}");
    assert_eq!(
        fs::read_to_string(outside.join("file")).expect("read it"),
        "of the host",
        "{policy}: {output}"
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    assert!(!mounts.contains(outside.to_str().expect("printable")), "{policy}: mounted on the host");
}

/// What a careless runtime does: the path of the target is followed wherever the image says.
#[test]
fn a_path_in_the_image_leads_out() {
    let bundle = permissive("");
    let outside = outside(&bundle);
    symlink(&outside, bundle.rootfs().join("data")).expect("make the link");
    let script = format!(
        "mount -t tmpfs evil {root}/data && touch {root}/data/made && [ -e {outside}/made ] && echo won",
        root = bundle.rootfs().display(),
        outside = outside.display()
    );
    let output = bundle.tool("unshare", &["-m", "sh", "-c", &script]).run().ok();
    assert_eq!(output.text(), "won");
}

#[test]
fn mount_targets_that_are_links() {
    for policy in POLICIES {
        for climbing in [false, true] {
            let mut bundle = permissive("touch /data/made /data/sub/made; echo attacked >/one");
            let outside = outside(&bundle);
            let away = match climbing {
                false => outside.clone(),
                true => {
                    Path::new("../../../../../../../../..").join(outside.strip_prefix("/").expect("absolute"))
                }
            };
            symlink(&away, bundle.rootfs().join("data")).expect("make the link");
            symlink(away.join("file"), bundle.rootfs().join("one")).expect("make the link");
            bundle.mount("/data", "tmpfs", "tmpfs", &[]);
            bundle.mount("/data/sub", "tmpfs", "tmpfs", &[]);
            bundle.mount("/one", "bind", "/etc/hostname", &["bind", "ro"]);
            let output = bundle.policy(policy).run();
            assert_untouched(&outside, policy, &output);
            bundle.assert_clean();
        }
    }
}

/// Masked and read-only paths, and the links by which they are reached.
#[test]
fn masked_paths_that_are_links() {
    for policy in POLICIES {
        let mut bundle =
            permissive("cat /masked /fixed/file; echo attacked >/masked; echo attacked >/fixed/file");
        let outside = outside(&bundle);
        symlink(outside.join("file"), bundle.rootfs().join("masked")).expect("make the link");
        symlink(&outside, bundle.rootfs().join("fixed")).expect("make the link");
        bundle.edit(|c| {
            c["linux"]["maskedPaths"] = json!(["/masked"]);
            c["linux"]["readonlyPaths"] = json!(["/fixed"]);
        });
        let output = bundle.policy(policy).run();
        assert!(!output.stdout().contains("of the host"), "{policy}: {output}");
        assert_untouched(&outside, policy, &output);
        bundle.assert_clean();
    }
}

/// CVE-2025-31133: what a mask is made of is the image's own `/dev/null`, which is something else.
#[test]
fn a_false_null_device_under_a_mask() {
    for policy in POLICIES {
        let mut bundle = permissive("cat /secret; echo attacked >/secret");
        let outside = outside(&bundle);
        fs::write(bundle.rootfs().join("secret"), "of the host, hidden").expect("write the secret");
        fs::create_dir_all(bundle.rootfs().join("dev")).expect("make /dev");
        symlink(outside.join("file"), bundle.rootfs().join("dev/null")).expect("make the link");
        bundle.edit(|c| {
            c["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] != "/dev");
            c["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] != "/dev/pts");
            c["linux"]["maskedPaths"] = json!(["/secret"]);
        });
        let output = bundle.policy(policy).run();
        assert!(!output.stdout().contains("of the host"), "{policy}: {output}");
        assert_untouched(&outside, policy, &output);
        bundle.assert_clean();
    }
}

/// CVE-2025-52881: what is meant for the kernel is written to a file of the bundle's, or to another of the kernel's.
#[test]
fn a_false_procfs() {
    for policy in POLICIES {
        let mut bundle = permissive("true");
        let outside = outside(&bundle);
        let fake = bundle.dir().join("fake");
        fs::create_dir_all(fake.join("sys/net/ipv4")).expect("make a false procfs");
        fs::create_dir_all(fake.join("self/attr")).expect("make a false procfs");
        for name in ["sys/net/ipv4/ip_forward", "self/attr/exec", "self/uid_map", "self/oom_score_adj"] {
            symlink(outside.join("file"), fake.join(name)).expect("make the link");
        }
        bundle.edit(|c| {
            c["mounts"][0] =
                json!({"destination": "/proc", "type": "bind", "source": fake, "options": ["bind"]});
            c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            c["process"]["oomScoreAdj"] = json!(100);
        });
        let output = bundle.policy(policy).run();
        assert_untouched(&outside, policy, &output);
        bundle.assert_clean();
    }
}

/// The image's `/proc`, `/sys` and `/dev` are links out of it.
#[test]
fn places_of_the_kernels_that_are_links() {
    for policy in POLICIES {
        for name in ["proc", "sys", "dev"] {
            let mut bundle = permissive("true");
            let outside = outside(&bundle);
            let place = bundle.rootfs().join(name);
            fs::remove_dir_all(&place).expect("take the image's away");
            symlink(&outside, &place).expect("make the link");
            let output = bundle.policy(policy).run();
            assert_untouched(&outside, policy, &output);
            bundle.assert_clean();
        }
    }
}

/// CVE-2021-30465, CVE-2024-45310: another container on the same volume exchanges a directory for a link, again and
/// again, while the runtime works.
#[test]
fn a_target_that_is_exchanged_meanwhile() {
    for policy in POLICIES {
        let mut bundle = permissive("true");
        let outside = outside(&bundle);
        let (dir, link) = (bundle.rootfs().join("a"), bundle.rootfs().join("b"));
        fs::create_dir_all(dir.join("sub")).expect("make the target");
        symlink(&outside, &link).expect("make the link");
        bundle.mount("/a/sub/deeper", "tmpfs", "tmpfs", &[]);
        bundle.mount("/a/sub", "tmpfs", "evil", &[]);
        bundle.mount("/a/one", "bind", "/etc/hostname", &["bind", "ro"]);
        bundle.edit(|c| {
            c["linux"]["maskedPaths"] = json!(["/a/sub"]);
            c["linux"]["readonlyPaths"] = json!(["/a"]);
        });
        bundle.policy(policy);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).expect("exchange two names");
                }
            });
            for _ in 0..25 {
                let output = bundle.run();
                assert!(!output.stderr().contains("panic"), "{policy}: {output}");
            }
            stop.store(true, Ordering::Relaxed);
        });
        let output = bundle.run();
        assert_untouched(&outside, policy, &output);
        bundle.assert_clean();
    }
}
