//! Mounts: every type and option, and what hostile targets do not achieve.

use std::fs;
use std::os::unix::fs::symlink;

use casemate_tests::{Bundle, Output, Runtime, Value, each, json, ours, skip};

/// A container that prints its own mount table.
fn table(rt: &Runtime) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/cat", "/proc/self/mountinfo"]);
    bundle
}

/// The line of mountinfo for a mount point, split at its spaces.
fn line(output: &Output, point: &str) -> Vec<String> {
    let text = output.stdout();
    let found = text.lines().rfind(|l| l.split(' ').nth(4) == Some(point));
    found
        .unwrap_or_else(|| panic!("{point} is not mounted: {output}"))
        .split(' ')
        .map(str::to_owned)
        .collect()
}

/// The per-mount options of a mount point.
fn options(output: &Output, point: &str) -> Vec<String> {
    line(output, point)[5].split(',').map(str::to_owned).collect()
}

/// The propagation fields (`shared:N`, `master:N`, …) of a mount point.
fn propagation(output: &Output, point: &str) -> Vec<String> {
    line(output, point)[6..]
        .iter()
        .take_while(|f| *f != "-")
        .map(|f| f.split(':').next().unwrap().to_owned())
        .collect()
}

fn set(bundle: &mut Bundle, pointer: &str, value: Value) {
    bundle.edit(|c| c["linux"][pointer] = value);
}

#[test]
fn plain_types_with_their_options() {
    each(|rt| {
        let mut bundle = table(rt);
        bundle.mount("/t", "tmpfs", "mine", &["nosuid", "nodev", "noexec", "size=64k", "mode=1770", "ro"]);
        bundle.mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "gid=5"],
        );
        bundle.mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]);
        bundle.mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
        bundle.mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]);
        let output = bundle.run().ok();
        assert_eq!(options(&output, "/t"), ["ro", "nosuid", "nodev", "noexec", "relatime"]);
        let tail = line(&output, "/t").join(" ");
        assert!(
            tail.contains("- tmpfs mine ") && tail.contains("size=64k") && tail.contains("mode=1770"),
            "{tail}"
        );
        for (point, kind) in
            [("/dev/pts", "devpts"), ("/dev/mqueue", "mqueue"), ("/sys", "sysfs"), ("/proc", "proc")]
        {
            assert!(line(&output, point).contains(&kind.to_owned()), "{point}: {output}");
        }
        assert_eq!(options(&output, "/sys"), ["ro", "nosuid", "nodev", "noexec", "relatime"]);
        assert!(line(&output, "/dev/pts").join(" ").contains("gid=5"));
    });
}

#[test]
fn bind_mounts_of_directories_and_files() {
    each(|rt| {
        let mut bundle =
            Bundle::sh(rt, "cat /data/inner /file /data/below/deep; echo x >/data/new; echo y >/file");
        fs::create_dir_all(bundle.dir().join("source/below")).unwrap();
        fs::write(bundle.dir().join("source/inner"), "inner\n").unwrap();
        fs::write(bundle.dir().join("source/below/deep"), "deep\n").unwrap();
        let file = bundle.file("single", "single\n");
        let source = bundle.dir().join("source");
        bundle.mount("/data", "bind", source.to_str().unwrap(), &["rbind", "rw"]);
        // runc takes any type together with the option `bind`; `none` is what other tools write.
        bundle.mount("/file", "none", file.to_str().unwrap(), &["bind"]);
        assert_eq!(bundle.run().ok().stdout(), "inner\nsingle\ndeep\n");
        assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "x\n");
        assert_eq!(fs::read_to_string(file).unwrap(), "y\n");
        // The engine finds what was made for it in the bundle's root.
        assert!(bundle.rootfs().join("data").is_dir() && bundle.rootfs().join("file").is_file());
    });
}

#[test]
fn bind_sources_are_relative_to_the_bundle() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "cat /data/word");
        fs::create_dir(bundle.bundle_dir().join("beside")).unwrap();
        fs::write(bundle.bundle_dir().join("beside/word"), "relative").unwrap();
        bundle.mount("/data", "bind", "beside", &["bind"]);
        let call = bundle.command(["run", "-b", bundle.bundle_dir().to_str().unwrap(), bundle.id()]);
        assert_eq!(call.cwd("/".as_ref()).run().ok().text(), "relative");
    });
}

#[test]
fn flags_of_bind_mounts() {
    each(|rt| {
        let mut bundle = table(rt);
        let source = bundle.dir().join("source");
        fs::create_dir(&source).unwrap();
        let source = source.to_str().unwrap();
        bundle.mount("/a", "bind", source, &["bind", "ro", "nosuid", "nodev", "noexec"]);
        bundle.mount("/b", "bind", source, &["bind", "noatime", "nodiratime"]);
        bundle.mount("/c", "bind", source, &["rbind", "strictatime"]);
        let output = bundle.run().ok();
        let a = options(&output, "/a");
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(a.iter().any(|o| o == flag), "{flag}: {a:?}");
        }
        let b = options(&output, "/b");
        assert!(b.contains(&"rw".to_owned()) && b.contains(&"noatime".to_owned()), "{b:?}");
        assert!(!options(&output, "/c").contains(&"relatime".to_owned()));
    });
}

#[test]
fn a_missing_source_is_an_error() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.mount("/data", "bind", "/nonexistent/source", &["rbind"]);
        bundle.run().fails_with(1).fails_saying(&["/nonexistent/source", "no such file or directory"]);
        bundle.assert_clean();
    });
}

#[test]
fn propagation_of_single_mounts() {
    each(|rt| {
        let mut bundle = table(rt);
        for mode in ["private", "shared", "slave", "unbindable"] {
            bundle.mount(&format!("/{mode}"), "tmpfs", "tmpfs", &[mode]);
            bundle.mount(&format!("/r{mode}"), "tmpfs", "tmpfs", &[&format!("r{mode}")]);
        }
        let output = bundle.run().ok();
        for prefix in ["/", "/r"] {
            let of = |mode: &str| propagation(&output, &format!("{prefix}{mode}"));
            assert_eq!(of("private"), [""; 0]);
            assert!(of("shared").contains(&"shared".to_owned()));
            assert_eq!(of("unbindable"), ["unbindable"]);
        }
    });
}

#[test]
fn propagation_of_the_root() {
    each(|rt| {
        for (mode, expected) in
            [("private", vec![]), ("rprivate", vec![]), ("slave", vec![]), ("shared", vec!["shared"])]
        {
            let mut bundle = table(rt);
            set(&mut bundle, "rootfsPropagation", json!(mode));
            let output = bundle.run().ok();
            if rt.is_ours() || mode != "shared" {
                assert_eq!(propagation(&output, "/"), expected, "{mode}");
            }
        }
        let mut bundle = Bundle::new(rt);
        set(&mut bundle, "rootfsPropagation", json!("sideways"));
        bundle.run().fails_with(1);
        bundle.assert_clean();
    });
}

#[test]
fn mounts_of_the_container_do_not_reach_the_host() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "mount -t tmpfs none /tmp && sleep 1000");
        bundle.capabilities(&["CAP_SYS_ADMIN"]);
        bundle.run_detached().ok();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(bundle.id()), "{table}");
    });
}

#[test]
fn a_read_only_root() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "touch /new && echo wrote; echo ok >/tmp/new && cat /tmp/new");
        bundle.edit(|c| c["root"]["readonly"] = json!(true));
        bundle.mount("/tmp", "tmpfs", "tmpfs", &[]);
        let output = bundle.run().ok();
        assert_eq!(output.text(), "ok");
        assert!(output.stderr().contains("Read-only file system"), "{output}");
    });
}

#[test]
fn tmpcopyup() {
    each(|rt| {
        let mut bundle = Bundle::sh(
            rt,
            "cat /copied/file; stat -c %a /copied/file; readlink /copied/link; touch /copied/new",
        );
        let dir = bundle.rootfs().join("copied");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "content\n").unwrap();
        fs::set_permissions(dir.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        symlink("file", dir.join("link")).unwrap();
        bundle.mount("/copied", "tmpfs", "tmpfs", &["rw", "tmpcopyup"]);
        assert_eq!(bundle.run().ok().text(), "content\n640\nfile");
        assert!(!dir.join("new").exists(), "the copy is written to, not the original");
    });
}

#[test]
fn recursive_attributes() {
    each(|rt| {
        let mut bundle = table(rt);
        let source = bundle.dir().join("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        let sub = source.join("sub");
        bundle.tool("mount", &["-t", "tmpfs", "below", sub.to_str().unwrap()]).run().ok();
        let source = source.to_str().unwrap();
        bundle.mount("/top", "bind", source, &["rbind", "ro"]);
        bundle.mount("/all", "bind", source, &["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"]);
        let output = bundle.run();
        let unmounted = bundle.tool("umount", &[sub.to_str().unwrap()]).run();
        let output = output.ok();
        unmounted.ok();
        assert!(options(&output, "/top").contains(&"ro".to_owned()));
        assert!(options(&output, "/top/sub").contains(&"rw".to_owned()), "ro is for the top alone");
        for point in ["/all", "/all/sub"] {
            let have = options(&output, point);
            for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
                assert!(have.iter().any(|o| o == flag), "{point} {flag}: {have:?}");
            }
        }
    });
}

#[test]
fn cgroup_mount_shows_the_containers_own_groups() {
    each(|rt| {
        let script =
            "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; cat /proc/self/mountinfo";
        let mut bundle = Bundle::sh(rt, script);
        bundle.edit(|c| c["linux"]["resources"] = json!({"pids": {"limit": 123}}));
        bundle.mount("/sys", "sysfs", "sysfs", &["ro"]);
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
        for own_namespace in [false, true] {
            if own_namespace {
                bundle.namespace("cgroup", None);
            }
            let output = bundle.run().ok();
            assert!(output.stdout().starts_with("123\n"), "{output}");
            let said = output.stdout();
            let groups: Vec<_> = said.lines().filter(|l| l.contains(" - cgroup")).collect();
            assert!(!groups.is_empty(), "{output}");
            assert!(
                groups.iter().all(|l| l.split(' ').nth(5).unwrap().starts_with("ro,")),
                "writable: {output}"
            );
            if own_namespace {
                assert!(
                    !said.contains(bundle.id()) || groups.iter().all(|l| !l.contains(bundle.id())),
                    "{output}"
                );
            }
        }
    });
}

#[test]
fn sysfs_falls_back_to_a_bind_when_the_network_is_the_hosts() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "test -d /sys/class && echo there; touch /sys/x 2>&1");
        bundle.without_namespace("network");
        bundle.edit(|c| {
            c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
            c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        });
        bundle.namespace("user", None);
        bundle.hand_over(100_000, 100_000);
        // Mounting a new sysfs is refused to one who does not own the network namespace: engines then ask for a
        // bind, runc needs to be asked, ours falls back by itself.
        match rt.is_ours() {
            true => bundle.mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            false => bundle.mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        };
        let output = bundle.run();
        assert!(output.stdout().contains("there\n"), "{output}");
    });
}

#[test]
fn targets_through_symlinks_stay_in_the_root() {
    each(|rt| {
        let mut bundle = table(rt);
        let outside = bundle.dir().join("outside");
        fs::create_dir(&outside).unwrap();
        let root = bundle.rootfs();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../../../../../../../../..", root.join("up")).unwrap();
        bundle.mount("/absolute/a", "tmpfs", "evil", &[]);
        bundle.mount("/up/b", "tmpfs", "evil", &[]);
        bundle.mount("/../../c", "tmpfs", "evil", &[]);
        let output = bundle.run().ok();
        assert!(fs::read_dir(&outside).unwrap().next().is_none(), "something was made outside");
        line(&output, &format!("{}/a", outside.display()));
        line(&output, "/b");
        line(&output, "/c");
    });
}

#[test]
fn nothing_may_be_mounted_over_proc_entries() {
    each(|rt| {
        for target in ["/proc/sys", "/proc/self/attr", "/proc/1"] {
            let mut bundle = Bundle::new(rt);
            bundle.mount(target, "bind", "/tmp", &["rbind"]);
            bundle.run().fails_with(1).fails_saying(&["inside /proc"]);
            bundle.assert_clean();
        }
        // proc itself must be a directory of the root, not a link to elsewhere.
        let mut bundle = Bundle::new(rt);
        fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
        symlink("/tmp", bundle.rootfs().join("proc")).unwrap();
        bundle.args(&["/bin/true"]);
        let output = bundle.run();
        assert!(!output.success(), "{output}");
        bundle.assert_clean();
    });
}

#[test]
fn bad_mounts_are_refused() {
    each(|rt| {
        let refused = |destination: &str, kind: &str, options: &[&str]| {
            let mut bundle = Bundle::new(rt);
            bundle.mount(destination, kind, "none", options);
            bundle.run().fails_with(1);
            bundle.assert_clean();
        };
        refused("/x", "nosuchfs", &[]);
        refused("/x", "tmpfs", &["nosuchoption=1"]);
        if rt.is_ours() {
            refused("/x", "tmpfs", &["idmap", "rro", "mode=nonsense"]);
        }
    });
}

#[test]
fn id_mapped_mounts() {
    let uid_mappings = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let mut bundle = Bundle::sh(&ours(), "stat -c %u:%g /mapped/file; touch /mapped/new");
    let source = bundle.dir().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    bundle.edit(|c| {
        let mount = json!({"destination": "/mapped", "type": "bind", "source": source, "options": ["rbind", "idmap"],
                           "uidMappings": uid_mappings, "gidMappings": uid_mappings});
        c["mounts"].as_array_mut().unwrap().push(mount);
    });
    let output = bundle.run();
    if output.stderr().contains("mount_setattr") && output.stderr().contains("EINVAL") {
        return skip("the file system of the temporary directory cannot be id-mapped");
    }
    assert_eq!(output.text(), "100000:100000", "{output}");
}
