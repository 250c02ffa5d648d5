//! Attacks on the runtime from a bundle and from inside a container. The classes are those of past advisories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_tests::{Bundle, Runtime, each, install_probe, json, ours, wait_until};

/// What `ls` shows of its own descriptors; it opens one itself to look.
const LIST: &str = "ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> /\\1 /p'";

fn sleeper(rt: &Runtime) -> Bundle {
    let mut bundle = Bundle::new(rt);
    bundle.args(&["/bin/sleep", "1000"]);
    bundle
}

/// The numbers above 2, but for the one the listing itself has open.
fn extra(listing: &str) -> Vec<String> {
    let mut lines: Vec<_> = listing.lines().filter(|line| !line.contains("/proc/")).collect();
    lines.retain(|line| !["0 ", "1 ", "2 "].iter().any(|n| line.starts_with(n)));
    lines.into_iter().map(str::to_owned).collect()
}

#[test]
fn no_descriptor_of_the_caller_reaches_the_container() {
    each(|rt| {
        let bundle = Bundle::sh(rt, LIST);
        // Without close-on-exec, as a careless parent leaves them: low, high and beyond a bitmap's first word.
        let open = "exec 3</ 4</etc/passwd 9</; ulimit -n 4096; eval 'exec 200</etc'";
        let call =
            bundle.command(["run", bundle.id()]).via(["bash", "-c", &format!("{open}; exec \"$@\""), "bash"]);
        let output = call.run().ok();
        assert_eq!(extra(&output.stdout()), [""; 0], "{output}");

        let bundle = sleeper(rt);
        bundle.run_detached().ok();
        let call = bundle.command(["exec", bundle.id(), "sh", "-c", LIST]);
        let output = call.via(["bash", "-c", &format!("{open}; exec \"$@\""), "bash"]).run().ok();
        assert_eq!(extra(&output.stdout()), [""; 0], "{output}");
    });
}

#[test]
fn preserved_descriptors_and_no_others() {
    each(|rt| {
        let bundle = Bundle::sh(rt, &format!("cat <&3; {LIST}"));
        let word = bundle.file("word", "preserved\n");
        let open = format!("exec 3<{} 4</ 5</etc", word.display());
        let call = bundle.command(["run", "--preserve-fds", "1", bundle.id()]).prepared(&open);
        let output = call.run().ok();
        assert!(output.stdout().starts_with("preserved\n"), "{output}");
        let extra = extra(&output.stdout()[10..]);
        assert!(extra.len() == 1 && extra[0].starts_with("3 "), "{output}");
    });
}

#[test]
fn listen_fds_are_handed_on() {
    each(|rt| {
        let bundle = Bundle::sh(rt, "echo $LISTEN_FDS $LISTEN_PID; cat <&3");
        let word = bundle.file("word", "socket\n");
        let call = bundle.command(["run", bundle.id()]).env("LISTEN_FDS", "1");
        let call = call.prepared(&format!("exec 3<{}; export LISTEN_PID=$$", word.display()));
        assert_eq!(call.run().ok().text(), "1 1\nsocket");
    });
}

#[test]
fn descriptors_of_hooks() {
    let bundle = &mut Bundle::sh(&ours(), "true");
    let out = bundle.dir().join("fds");
    let script = format!("ls -l /proc/self/fd >{}", out.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    bundle.edit(|c| c["hooks"] = json!({"createRuntime": hook}));
    bundle.command(["run", bundle.id()]).prepared("exec 7</").run().ok();
    let listing = fs::read_to_string(out).unwrap();
    let numbers: Vec<_> =
        listing.lines().filter_map(|l| l.split(" -> ").next()?.rsplit(' ').next()).collect();
    assert!(numbers.iter().filter(|n| n.parse::<u32>().is_ok_and(|n| n > 3)).count() == 0, "{listing}");
}

/// CVE-2024-21626: a working directory that is a leaked descriptor of the host. The reference here has that hole.
#[test]
fn the_working_directory_is_inside_the_root() {
    let rt = ours();
    let running = sleeper(&rt);
    running.run_detached().ok();
    // The host's bundle lies beside the root: whoever stands outside can see it.
    let look =
        "pwd -P; cat config.json ../config.json ../../config.json etc/shadow ../etc/shadow 2>/dev/null; true";
    // To stand in the container's own root by way of a descriptor is no escape.
    let harmless = |output: &casemate_tests::Output| {
        let said = output.stdout();
        !output.success()
            || (said.lines().count() == 1 && said.starts_with('/') && !said.contains("unreachable"))
    };
    let mut bundle = Bundle::sh(&rt, look);
    for n in 3..64 {
        for dir in [format!("/proc/self/fd/{n}"), format!("/proc/self/fd/{n}/../../../..")] {
            bundle.edit(|c| c["process"]["cwd"] = json!(dir));
            let output = bundle.command(["run", bundle.id()]).prepared("exec 7</").run();
            assert!(harmless(&output), "{dir}: {output}");
            let call = running.command(["exec", "--cwd", &dir, running.id(), "sh", "-c", look]);
            let output = call.prepared("exec 7</").run();
            assert!(harmless(&output), "{dir}: {output}");
        }
    }
}

/// The same hole by way of the program's path: a descriptor of the entering process as the way out.
#[test]
fn the_program_is_inside_the_root() {
    let rt = ours();
    let running = sleeper(&rt);
    running.run_detached().ok();
    let host_only = "usr/bin/env";
    assert!(Path::new("/").join(host_only).exists() && !running.rootfs().join(host_only).exists());
    let mut bundle = Bundle::new(&rt);
    for n in 3..64 {
        for climb in ["", "../../../../../../../"] {
            let program = format!("/proc/self/fd/{n}/{climb}{host_only}");
            bundle.args(&[&program]);
            let output = bundle.command(["run", bundle.id()]).prepared("exec 7</").run();
            assert!(!output.success(), "{program}: {output}");
            let output = running.command(["exec", running.id(), &program]).prepared("exec 7</").run();
            assert!(!output.success(), "{program}: {output}");
        }
    }
}

#[test]
fn a_link_to_the_working_directory_stays_inside() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "pwd -P; ls");
        symlink("../../../../../../../etc", bundle.rootfs().join("link")).unwrap();
        bundle.edit(|c| c["process"]["cwd"] = json!("/link"));
        assert_eq!(bundle.run().ok().text(), "/etc\ngroup\npasswd");
    });
}

/// The binary under test, in a copy: an attack that succeeds must not break the other tests.
fn copied(bundle: &Bundle) -> PathBuf {
    let copy = bundle.dir().join("runtime-copy");
    fs::copy(bundle.runtime().path(), &copy).unwrap();
    copy
}

/// CVE-2019-5736: what enters the container must not give it the host's binary. The attacker is root with ptrace,
/// and programs in the container lead back to `/proc/self/exe`.
#[test]
fn the_binary_cannot_be_overwritten_from_inside() {
    let rt = ours();
    let mut bundle = Bundle::new(&rt);
    install_probe(&bundle);
    bundle.args(&["/probe", "hunt", "60000"]);
    bundle.capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"]);
    let script = bundle.rootfs().join("evil");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    symlink("/proc/self/exe", bundle.rootfs().join("bin/self")).unwrap();
    let copy = copied(&bundle);
    let before = fs::read(&copy).unwrap();
    let call = |args: &[&str]| {
        let call = bundle.tool(copy.to_str().unwrap(), &["--root", bundle.state_dir().to_str().unwrap()]);
        call.args(args).cwd(&bundle.bundle_dir())
    };
    let output = call(&["run", "-d", bundle.id()]).run().ok();
    wait_until("it hunts", || output.stdout().contains("hunting"));
    for program in ["/evil", "/proc/self/exe", "self", "/bin/true"] {
        for _ in 0..8 {
            call(&["exec", bundle.id(), program]).run();
        }
    }
    assert!(fs::read(&copy).unwrap() == before, "overwritten: {}", output.stdout());
    let found = output.stdout();
    assert!(!found.contains("overwritten"), "{found}");
    // The image that runs may be seen by such an attacker, but not be the host's file.
    assert!(!found.contains(copy.to_str().unwrap()), "{found}");
}

/// Without ptrace a process that enters is a closed book: its program, root and descriptors.
#[test]
fn what_enters_cannot_be_inspected_from_inside() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        install_probe(&bundle);
        bundle.args(&["/probe", "hunt", "60000"]);
        let output = bundle.run_detached().ok();
        wait_until("it hunts", || output.stdout().contains("hunting"));
        for _ in 0..25 {
            bundle.exec(&["/bin/true"]);
        }
        bundle.kill("KILL").ok();
        assert_eq!(output.text(), "hunting");
    });
}

/// The init of a second container that joins the first one's pid namespace is watched too.
#[test]
fn a_joining_container_cannot_be_inspected_from_inside() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        install_probe(&bundle);
        bundle.args(&["/probe", "hunt", "60000"]);
        let output = bundle.run_detached().ok();
        wait_until("it hunts", || output.stdout().contains("hunting"));
        let path = format!("/proc/{}/ns/pid", bundle.pid());
        for _ in 0..8 {
            let mut second = Bundle::new(rt);
            // The same root, so that the programs in it are the ones the hunter knows.
            second.namespace("pid", Some(&path)).edit(|c| c["root"]["path"] = json!(bundle.rootfs()));
            second.run().ok();
        }
        bundle.kill("KILL").ok();
        assert_eq!(output.text(), "hunting");
    });
}

/// CVE-2021-30465, CVE-2019-19921: a directory of the root that becomes a link while mounts are made.
#[test]
fn a_mount_target_swapped_for_a_link_leads_nowhere() {
    let rt = ours();
    let mut bundle = Bundle::new(&rt);
    let outside = bundle.dir().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    let (dir, link) = (bundle.rootfs().join("a"), bundle.rootfs().join("b"));
    fs::create_dir_all(dir.join("sub")).unwrap();
    symlink(&outside, &link).unwrap();
    bundle.mount("/a/sub/deeper", "tmpfs", "tmpfs", &[]);
    bundle.mount("/a/sub", "tmpfs", "evil", &[]);
    bundle.mount("/a/file", "bind", "/etc/hostname", &["bind"]);
    bundle.edit(|c| {
        c["linux"]["devices"] = json!([{"path": "/a/device", "type": "c", "major": 1, "minor": 3}]);
        c["linux"]["maskedPaths"] = json!(["/a/sub"]);
        c["linux"]["readonlyPaths"] = json!(["/a"]);
    });
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                exchange(&dir, &link);
            }
        });
        for _ in 0..60 {
            bundle.run();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let made: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(made, ["sub"], "made outside the root");
    assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 0, "made outside the root");
    bundle.assert_clean();
}

fn exchange(a: &Path, b: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).expect("exchange two names");
}

/// CVE-2025-31133: masks are made by binding `/dev/null`, which may be a link to something else by then.
#[test]
fn a_false_dev_null_masks_nothing_with_a_file_of_the_host() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "cat /secret; echo attacked >/secret");
        let host = bundle.file("host-file", "of the host");
        fs::write(bundle.rootfs().join("secret"), "hidden").unwrap();
        let dev = bundle.dir().join("dev");
        fs::create_dir(&dev).unwrap();
        symlink(&host, dev.join("null")).unwrap();
        bundle.edit(|c| {
            c["mounts"].as_array_mut().unwrap().remove(1);
            c["linux"]["maskedPaths"] = json!(["/secret"]);
        });
        bundle.mount("/dev", "bind", dev.to_str().unwrap(), &["bind"]);
        let output = bundle.run();
        assert!(!output.stdout().contains("of the host") && !output.stdout().contains("hidden"), "{output}");
        assert_eq!(fs::read_to_string(&host).unwrap(), "of the host");
        bundle.assert_clean();
    });
}

/// CVE-2025-52881 and older: a false procfs must not receive what is meant for the kernel, nor redirect it.
#[test]
fn writes_meant_for_procfs_do_not_land_elsewhere() {
    let rt = ours();
    for linked in [false, true] {
        let mut bundle = Bundle::sh(&rt, "true");
        let fake = bundle.dir().join("fake");
        fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
        fs::create_dir_all(fake.join("self/attr")).unwrap();
        let victim = bundle.file("victim", "untouched");
        let target = fake.join("sys/net/ipv4/ip_forward");
        match linked {
            true => symlink(&victim, &target).unwrap(),
            false => fs::write(&target, "untouched").unwrap(),
        }
        bundle.edit(|c| {
            c["mounts"][0] =
                json!({"destination": "/proc", "type": "bind", "source": fake, "options": ["bind"]});
            c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            c["linux"]["maskedPaths"] = json!(["/proc/sys"]);
        });
        bundle.run();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
        bundle.assert_clean();
    }
}

#[test]
fn a_proc_that_the_container_covered_does_not_stop_or_mislead_exec() {
    each(|rt| {
        let script = "mount -t tmpfs none /proc && mkdir -p /proc/self/attr /proc/self/fd /proc/sys && \
                      echo ready; sleep 1000";
        let mut bundle = Bundle::sh(rt, script);
        bundle.capabilities(&["CAP_SYS_ADMIN"]);
        let output = bundle.run_detached().ok();
        wait_until("it is ready", || output.stdout().contains("ready"));
        let exec = bundle.exec(&["/bin/echo", "entered"]);
        // Refusing is as good as entering unharmed.
        assert!(exec.text() == "entered" || !exec.success(), "{exec}");
        assert!(exec.success() || !rt.is_ours(), "{exec}");
    });
}

/// A passwd nobody can finish reading must not hang whoever looks for a home directory.
#[test]
fn a_passwd_without_end() {
    let rt = ours();
    let limit = Duration::from_secs(5);
    for make in ["mkfifo $0", "ln -s /dev/zero $0", "truncate -s 8G $0", "ln -s passwd $0", "mkdir $0"] {
        let bundle = Bundle::sh(&rt, "echo ran in $HOME");
        let passwd = bundle.rootfs().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        bundle.tool("sh", &["-c", make, passwd.to_str().unwrap()]).run().ok();
        let output = bundle.command(["run", bundle.id()]).timeout(limit).run();
        assert!(!output.success() || output.text().starts_with("ran in /"), "{make}: {output}");
        bundle.assert_clean();
    }
}

#[test]
fn a_root_that_is_a_link_or_not_there() {
    each(|rt| {
        for (path, make) in [("link", Some("/")), ("missing", None), ("file", None)] {
            let mut bundle = Bundle::new(rt);
            match make {
                Some(target) => symlink(target, bundle.bundle_dir().join(path)).unwrap(),
                None if path == "file" => fs::write(bundle.bundle_dir().join(path), "").unwrap(),
                None => (),
            }
            bundle.edit(|c| c["root"]["path"] = json!(path));
            bundle.run().fails_with(1);
            bundle.assert_clean();
        }
    });
}

#[test]
fn the_state_is_for_its_owner_alone() {
    each(|rt| {
        let bundle = sleeper(rt);
        let root = bundle.dir().join("fresh");
        let call = |args: &[&str]| {
            bundle
                .tool(rt.path().to_str().unwrap(), &["--root", root.to_str().unwrap()])
                .args(args)
                .cwd(&bundle.bundle_dir())
        };
        call(&["run", "-d", bundle.id()]).run().ok();
        let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o7777;
        assert_eq!(mode(&root) & 0o022, 0);
        let open: Vec<_> =
            fs::read_dir(root.join(bundle.id())).unwrap().flatten().map(|e| e.path()).collect();
        for path in &open {
            assert_eq!(mode(path) & 0o022, 0, "{}", path.display());
        }
        assert!(!rt.is_ours() || mode(&root.join(bundle.id())) & 0o077 == 0);
        call(&["delete", "--force", bundle.id()]).run().ok();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    });
}
