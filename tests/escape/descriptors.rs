//! Descriptors and directories of the host's that a container is left with: CVE-2024-21626, CVE-2016-9962.

use std::fs;

use casemate_tests::{Bundle, json};

use crate::attack::{FROM_BASELINE, Fate, NEVER, POLICIES, fate, permissive, table};

/// Something that only the host has, by every descriptor there may be.
const LOOK: &str = "for n in $(seq 3 63); do [ -e /proc/self/fd/$n/etc/debian_version ] && echo won && break; done; \
                    echo tried";

/// A careless way into a root: the descriptor that was open stays open.
#[test]
fn a_directory_left_open_is_a_way_out() {
    let bundle = permissive("");
    let root = bundle.rootfs();
    let script = format!("mount -t proc proc /proc; {LOOK}");
    let call = bundle.tool("unshare", &["-m", "-p", "-f", "chroot", root.to_str().expect("printable")]);
    let output = call.args(["/bin/sh", "-c", &script]).prepared("exec 7</").run();
    assert_eq!(fate(&output), Fate::Succeeds, "{output}");
}

#[test]
fn a_directory_that_the_caller_left_open() {
    table(NEVER, |policy| {
        let mut bundle = permissive(LOOK);
        bundle.policy(policy);
        let call = bundle.command(["run", bundle.id()]).prepared("exec 3</ 7</ 9</etc");
        fate(&call.run())
    });
}

#[test]
fn a_directory_that_the_caller_of_exec_left_open() {
    table(NEVER, |policy| {
        let mut bundle = permissive("");
        bundle.args(&["/bin/sleep", "1000"]).policy(policy);
        bundle.run_detached().ok();
        let call =
            bundle.command(["exec", bundle.id(), "/bin/sh", "-c", LOOK]).prepared("exec 3</ 7</ 9</etc");
        fate(&call.run())
    });
}

/// The operator hands one over, meaning to or not (`--preserve-fds`): Landlock lets nothing be opened beneath it.
#[test]
fn a_directory_that_was_handed_over() {
    let read = "cat /proc/self/fd/3/etc/debian_version >/dev/null 2>&1 && echo won; echo tried";
    table(FROM_BASELINE, |policy| {
        let mut bundle = permissive(read);
        bundle.policy(policy);
        let call = bundle.command(["run", "--preserve-fds", "1", bundle.id()]).prepared("exec 3</");
        fate(&call.run())
    });
}

/// The working directory by a descriptor of the runtime's own, which it has while it prepares the container.
#[test]
fn a_working_directory_by_descriptor() {
    for policy in POLICIES {
        let look =
            "[ -e etc/debian_version ] || [ -e ../../../../etc/debian_version ] && echo won; echo tried";
        let mut bundle = permissive(look);
        let running = sleeper(policy);
        bundle.policy(policy);
        for n in 3..32 {
            let dir = format!("/proc/self/fd/{n}");
            bundle.edit(|c| c["process"]["cwd"] = json!(dir));
            let output = bundle.command(["run", bundle.id()]).prepared("exec 7</").run();
            assert!(!output.success() || fate(&output) == Fate::Stopped, "{policy}: {dir}: {output}");
            let call = running.command(["exec", "--cwd", &dir, running.id(), "sh", "-c", look]);
            let output = call.prepared("exec 7</").run();
            assert!(!output.success() || fate(&output) == Fate::Stopped, "{policy}: {dir}: {output}");
        }
    }
}

fn sleeper(policy: &str) -> Bundle {
    let mut bundle = permissive("");
    bundle.args(&["/bin/sleep", "1000"]).policy(policy);
    bundle.run_detached().ok();
    bundle
}

/// A file of the host's as standard input, open for reading: opened again by its link in procfs, it is only readable,
/// and it is still its owner's.
#[test]
fn a_file_handed_over_for_reading() {
    for policy in POLICIES {
        let mut bundle =
            permissive("(echo changed >/proc/self/fd/0) 2>/dev/null; chmod 777 /proc/self/fd/0; echo tried");
        let file = bundle.file("input", "of the host");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("close the file");
        bundle.policy(policy);
        let call = bundle.command(["run", bundle.id()]).prepared(&format!("exec 0<{}", file.display()));
        let output = call.run();
        assert_eq!(fate(&output), Fate::Stopped, "{policy}: {output}");
        let meta = fs::metadata(&file).expect("the file");
        let changed = fs::read_to_string(&file).expect("read it") != "of the host"
            || std::os::unix::fs::MetadataExt::mode(&meta) & 0o777 != 0o600
            || std::os::unix::fs::MetadataExt::uid(&meta) != 0;
        // The host's root owns its files wherever it sees them: policy `oci` is no wall for it.
        assert_eq!(changed, policy == "oci", "{policy}: {output}");
    }
}
