//! Whose files are whose: the container's root is not the host's, no two containers have ids in common, and what is
//! shared by a volume keeps the owners that it has.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use casemate_tests::Bundle;

use crate::attack::{FROM_BASELINE, FROM_STRICT, fate, permissive, table};

fn sleeper(policy: &str) -> Bundle {
    let mut bundle = permissive("");
    bundle.args(&["/bin/sleep", "1000"]).policy(policy);
    bundle.run_detached().ok();
    bundle
}

/// Outside, the ids that a container's processes have: the first, and how many.
fn range(bundle: &Bundle) -> (u32, u32) {
    let map = fs::read_to_string(format!("/proc/{}/uid_map", bundle.pid())).expect("the container's map");
    let numbers: Vec<u32> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers.len(), 3, "{map}");
    (numbers[1], numbers[2])
}

#[test]
fn ranges_are_disjoint_and_nobodys() {
    for policy in ["baseline", "hardened", "strict"] {
        let containers = [sleeper(policy), sleeper(policy), sleeper("hardened")];
        let ranges = containers.each_ref().map(range);
        for (i, (first, size)) in ranges.into_iter().enumerate() {
            assert_eq!(size, 65_536, "{policy}");
            assert!(first >= 65_536, "{policy}: ids of the host's users: {first}");
            for (other, more) in &ranges[i + 1..] {
                assert!(first + size <= *other || other + more <= first, "{policy}: {ranges:?}");
            }
        }
    }
}

/// On the host, the processes are nobody who owns anything.
#[test]
fn processes_are_not_the_hosts_root() {
    for policy in ["baseline", "hardened", "strict"] {
        let bundle = sleeper(policy);
        let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).expect("its status");
        for field in ["Uid:", "Gid:"] {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
            let ids: Vec<u32> = line.split_whitespace().map(|word| word.parse().expect("an id")).collect();
            assert!(ids.iter().all(|id| *id >= 65_536), "{policy}: {status}");
        }
    }
}

/// The image's files stay as they are: nothing is chowned, and what the container writes is its root's in the image.
#[test]
fn the_images_files_keep_their_owners() {
    for policy in ["oci", "baseline"] {
        let mut bundle =
            permissive("stat -c '%u:%g' /etc/passwd /home/user/own; touch /made; chown 1000:1000 /made");
        let own = bundle.rootfs().join("home/user/own");
        fs::write(&own, "").expect("write a user's file");
        chown(&own, Some(1000), Some(1000)).expect("give it to the user");
        let output = bundle.policy(policy).run().ok();
        assert_eq!(output.text(), "0:0\n1000:1000", "{policy}");
        for (name, owner) in [("etc/passwd", 0), ("home/user/own", 1000), ("made", 1000)] {
            let meta = fs::metadata(bundle.rootfs().join(name)).expect("the file");
            assert_eq!((meta.uid(), meta.gid()), (owner, owner), "{policy}: {name}");
        }
    }
}

/// The host's root, by a path that no mount of the container's leads to: opened by the runtime, never by the container.
#[test]
fn a_file_that_only_the_hosts_root_may_read() {
    // Through a descriptor, so that neither mounts nor Landlock's rules stand in between: ids alone do.
    table(FROM_BASELINE, |policy| {
        let mut bundle =
            permissive("cat /proc/self/fd/3/closed 2>/dev/null | grep -q secret && echo won; echo tried");
        let dir = bundle.dir().join("of-root");
        fs::create_dir(&dir).expect("make a directory");
        fs::write(dir.join("closed"), "secret").expect("write the secret");
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o600)).expect("close it");
        bundle.policy(policy);
        let call = bundle.command(["run", "--preserve-fds", "1", bundle.id()]);
        fate(&call.prepared(&format!("exec 3<{}", dir.display())).run())
    });
}

/// A volume keeps owners, so the container's root writes to it as root does. A program left there that makes whoever
/// runs it root is an attack on the host's users, by way of the host.
#[test]
fn a_setuid_program_left_on_a_volume() {
    table(FROM_STRICT, |policy| {
        let mut bundle = permissive("cp /bin/busybox /volume/shell; chmod 4755 /volume/shell; echo tried");
        let volume = bundle.dir().join("volume");
        fs::create_dir(&volume).expect("make the volume");
        bundle.mount("/volume", "bind", volume.to_str().expect("printable"), &["rbind", "rw"]);
        let output = bundle.policy(policy).run();
        let left = fs::metadata(volume.join("shell"));
        let armed = left.is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o4000 != 0);
        match fate(&output) {
            crate::attack::Fate::Stopped if armed => crate::attack::Fate::Succeeds,
            other => other,
        }
    });
}
