//! What the bundle asks to be mounted: the host's files, its sockets, its disks, by every form that a mount may be
//! asked for in. Engines put such requests there for whoever may ask them.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_tests::{Bundle, json};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::attack::{Fate, NEVER, REFUSED, fate, permissive, script, table};

/// Something that only the host has.
const HOST: &str = "[ -e /host/etc/debian_version ] && echo won";

#[test]
fn the_hosts_root() {
    // Not the host's first process: it may hold a capability that this one lacks, and is then not to be looked into.
    let root_of_another = format!("/proc/{}/root", std::process::id());
    for (source, kind, options) in [
        ("/", "bind", &["rbind"][..]),
        ("/", "none", &["bind"]),
        ("/", "", &["rbind", "ro"]),
        ("/etc/..", "bind", &["rbind"]),
        ("//", "bind", &["bind"]),
        ("../../../../../../../..", "bind", &["rbind"]),
        (&root_of_another, "bind", &["rbind"]),
        ("/proc/self/root", "bind", &["rbind"]),
    ] {
        eprintln!("== {source} {kind} {options:?}");
        script(REFUSED, HOST, |bundle| {
            bundle.mount("/host", kind, source, options);
        });
    }
}

#[test]
fn the_hosts_root_by_a_link() {
    script(REFUSED, HOST, |bundle| {
        let link = bundle.dir().join("volume");
        symlink("/", &link).expect("make the link");
        bundle.mount("/host", "bind", link.to_str().expect("printable"), &["rbind"]);
    });
    script(REFUSED, HOST, |bundle| {
        let link = bundle.dir().join("volume");
        symlink("/etc", &link).expect("make the link");
        bundle.mount("/host/etc", "bind", link.to_str().expect("printable"), &["rbind"]);
    });
}

/// The container's own root is the host's: no mount is asked for at all.
#[test]
fn the_hosts_root_as_the_root() {
    for path in ["/", "/etc/..", "../../../../../../../.."] {
        script(REFUSED, "[ -e /etc/debian_version ] && echo won", |bundle| {
            bundle.edit(|c| {
                c["root"] = json!({"path": path, "readonly": true});
                // Mount points need to be there, and this root is not to be written to.
                c["mounts"].as_array_mut().expect("mounts").retain(|m| m["destination"] != "/dev/pts");
            });
        });
    }
}

/// An overlay reads its layers with the rights of whoever mounts it.
#[test]
fn the_hosts_root_as_a_layer() {
    for writable in [false, true] {
        table(REFUSED, |policy| {
            let mut bundle = permissive(&format!("{HOST}; echo tried"));
            // On a filesystem of their own: layers may not lie within each other.
            let base = Path::new("/dev/shm").join(bundle.id());
            let layer = |name: &str| {
                fs::create_dir_all(base.join(name)).expect("make a layer");
                base.join(name).display().to_string()
            };
            let (upper, work) = (layer("upper"), layer("work"));
            let options = match writable {
                true => vec!["lowerdir=/".into(), format!("upperdir={upper}"), format!("workdir={work}")],
                false => vec![format!("lowerdir={upper}:/"), "ro".into()],
            };
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            bundle.mount("/host", "overlay", "overlay", &options);
            let fate = fate(&bundle.policy(policy).run());
            fs::remove_dir_all(base).expect("take the layers away");
            fate
        });
    }
}

/// Whoever may talk to the engine may start a container that is confined by nothing.
#[test]
fn sockets_of_engines() {
    for by_link in [false, true] {
        table(REFUSED, |policy| {
            let mut bundle = permissive("[ -e /engine.sock ] && echo won; echo tried");
            let socket = "/run/docker.sock";
            // Where an engine runs it is there; else one is put there, and taken away again.
            let own =
                (!fs::exists(socket).expect("look")).then(|| UnixListener::bind(socket).expect("listen"));
            let link = bundle.dir().join("innocent.sock");
            symlink("/var/run/docker.sock", &link).expect("make the link");
            let source = if by_link { link.to_str().expect("printable") } else { "/var/run/docker.sock" };
            bundle.mount("/engine.sock", "bind", source, &["rbind", "rw"]);
            let output = bundle.policy(policy).run();
            if own.is_some() {
                fs::remove_file(socket).expect("take the socket away");
            }
            fate(&output)
        });
    }
}

#[test]
fn the_hosts_own_trees() {
    let mounted = |expected, source| {
        eprintln!("== {source}");
        script(expected, "[ -d /host/. ] && echo won", |bundle| {
            bundle.mount("/host", "bind", source, &["rbind"]);
        });
    };
    for source in ["/proc", "/dev", "/etc", "/run", "/var", "/var/lib"] {
        mounted(REFUSED, source);
    }
    // As with Docker, whose users show them to monitoring and build containers.
    for source in ["/boot", "/usr", "/home"] {
        mounted([Fate::Succeeds, Fate::Succeeds, Fate::Denied, Fate::Denied], source);
    }
}

/// What the host runs by itself, as its root: files keep their owners, so that the container's root may write them.
#[test]
fn jobs_and_services_of_the_host() {
    let plant = "touch /host/.escape && rm /host/.escape && echo won";
    for source in ["/etc/cron.d", "/etc/systemd", "/etc/pam.d", "/etc/profile.d"] {
        if fs::exists(source).expect("look") {
            eprintln!("== {source}");
            script([Fate::Succeeds, Fate::Stopped, Fate::Denied, Fate::Denied], plant, |bundle| {
                bundle.mount("/host", "bind", source, &["rbind", "rw"]);
            });
        }
    }
}

/// Settings and programs of the host's that are shown for good reasons, and that its root reads and runs.
#[test]
fn settings_and_programs_of_the_host() {
    let plant = "touch /host/.escape && rm /host/.escape && echo won";
    let kept = [Fate::Succeeds, Fate::Stopped, Fate::Stopped, Fate::Stopped];
    let settings = [Fate::Succeeds, Fate::Succeeds, Fate::Stopped, Fate::Stopped];
    for (source, fates) in [("/etc/default", settings), ("/usr/local/bin", kept), ("/usr/share", kept)] {
        if fs::exists(source).expect("look") {
            eprintln!("== {source}");
            script(fates, plant, |bundle| {
                bundle.mount("/host", "bind", source, &["rbind", "rw"]);
            });
        }
    }
}

/// Filesystems that show the host, or that parse what a disk says: mounted by the runtime, as the host's root.
#[test]
fn filesystems_of_the_kernels() {
    for kind in ["devtmpfs", "debugfs", "tracefs", "securityfs", "bpf", "configfs", "binfmt_misc"] {
        eprintln!("== {kind}");
        let known = fs::read_to_string("/proc/filesystems").expect("the kernel's filesystems");
        if !known.lines().any(|line| line.ends_with(&format!("\t{kind}"))) {
            continue;
        }
        script(REFUSED, "[ -d /host/. ] && echo won", |bundle| {
            bundle.mount("/host", kind, kind, &[]);
        });
    }
}

#[test]
fn a_disk_of_the_hosts() {
    let table_of_mounts = fs::read_to_string("/proc/self/mounts").expect("the mount table");
    let root =
        table_of_mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).expect("the root's mount");
    let mut fields = root.split(' ');
    let (device, kind) =
        (fields.next().expect("a source").to_owned(), fields.nth(1).expect("a type").to_owned());
    if !device.starts_with("/dev/") {
        return casemate_tests::skip("the host's root is on no disk");
    }
    script(REFUSED, HOST, |bundle| {
        bundle.mount("/host", &kind, &device, &[]);
    });
}

/// A mount made inside that shows up outside, over whatever the host has there.
#[test]
fn propagation_to_the_host() {
    // Mounts of a user namespace's own never go out; who asks for it is told so where it is not Docker's to decide.
    table([Fate::Succeeds, Fate::Stopped, Fate::Denied, Fate::Denied], |policy| {
        let mut bundle = permissive("mount -t tmpfs evil /shared/x && echo mounted; echo tried");
        let shared = bundle.dir().join("shared");
        fs::create_dir(&shared).expect("make the volume");
        let path = shared.to_str().expect("printable").to_owned();
        bundle.tool("mount", &["-t", "tmpfs", "shared", &path]).run().ok();
        bundle.tool("mount", &["--make-shared", &path]).run().ok();
        fs::create_dir(shared.join("x")).expect("make the mount point");
        bundle.mount("/shared", "bind", &path, &["rbind", "rshared"]);
        bundle.edit(|c| c["linux"]["rootfsPropagation"] = json!("shared"));
        let output = bundle.policy(policy).run();
        let outside = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        let escaped = outside.lines().any(|line| line.contains(&format!("{path}/x ")));
        bundle.tool("umount", &["-R", &path]).run().ok();
        match fate(&output) {
            Fate::Stopped if escaped => Fate::Succeeds,
            other => other,
        }
    });
}

/// Links in the image where a policy puts its own temporary filesystems: nothing is mounted or made outside.
#[test]
fn places_for_temporary_files_that_are_links() {
    table(NEVER, |policy| {
        let mut bundle = permissive("echo tried");
        let outside = bundle.dir().join("outside");
        fs::create_dir(&outside).expect("make a directory of the host");
        for name in ["tmp", "run", "var/tmp"] {
            let place = bundle.rootfs().join(name);
            fs::remove_dir_all(&place).expect("take the image's away");
            symlink(&outside, &place).expect("make the link");
        }
        let output = bundle.policy(policy).run();
        assert_eq!(
            fs::read_dir(&outside).expect("list it").count(),
            0,
            "{policy}: made on the host: {output}"
        );
        bundle.assert_clean();
        // To refuse such an image is as good.
        if output.success() { fate(&output) } else { Fate::Stopped }
    });
}

/// What is judged is a directory, and what is mounted a moment later is a link: whoever owns the place of a volume may
/// exchange the two as often as they like.
#[test]
fn a_source_that_is_exchanged_meanwhile() {
    let places = |bundle: &Bundle| (bundle.dir().join("volume"), bundle.dir().join("link"));
    table([Fate::Succeeds, Fate::Stopped, Fate::Stopped, Fate::Stopped], |policy| {
        let mut bundle = permissive(&format!("{HOST}; echo tried"));
        let (volume, link) = places(&bundle);
        fs::create_dir(&volume).expect("make the volume");
        symlink("/", &link).expect("make the link");
        bundle.mount("/host", "bind", volume.to_str().expect("printable"), &["rbind"]);
        bundle.policy(policy);
        let stop = AtomicBool::new(false);
        let fates = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, &volume, CWD, &link, RenameFlags::EXCHANGE)
                        .expect("exchange two names");
                }
            });
            let fates: Vec<_> = (0..40).map(|_| fate(&bundle.run())).collect();
            stop.store(true, Ordering::Relaxed);
            fates
        });
        // Denied when the link was seen; otherwise the directory has to be what is mounted.
        let tried = fates.iter().filter(|fate| **fate == Fate::Stopped).count();
        match fates.contains(&Fate::Succeeds) {
            true => Fate::Succeeds,
            false if tried > 0 => Fate::Stopped,
            false => Fate::Untried,
        }
    });
}
