//! Code that the image does not have: written and run, and files that give whoever runs them more than they had.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use casemate_tests::{Bundle, json};
use rustix::fs::{XattrFlags, setxattr};

use crate::attack::{FROM_HARDENED, FROM_STRICT, Fate, operations, operations_in, script};
use crate::survey::install_survey;

/// A dropper: what was downloaded is made executable and run.
#[test]
fn written_and_run() {
    let places = ["/tmp", "/var/tmp", "/run", "/"].map(|place| format!("code:write and run in {place}"));
    operations(FROM_HARDENED, &places.each_ref().map(String::as_str));
}

/// Where an operator mounts a volume to write to, programs can be put; `strict` lets none of them run.
#[test]
fn written_and_run_on_a_volume() {
    let volume = |bundle: &mut Bundle| {
        let source = bundle.dir().join("volume");
        fs::create_dir_all(&source).expect("make the volume");
        bundle.mount("/run", "bind", source.to_str().expect("a printable path"), &["rbind", "rw"]);
    };
    operations_in(FROM_STRICT, &["code:write and run in /run"], volume);
}

#[test]
fn run_from_memory() {
    operations(FROM_STRICT, &["code:run a memfd"]);
}

#[test]
fn setuid_bits() {
    let calls = ["chmod", "fchmod", "fchmodat", "fchmodat2", "open", "openat", "openat2", "creat", "mknodat"];
    let names = calls.map(|call| format!("setuid:{call}"));
    operations(FROM_STRICT, &names.each_ref().map(String::as_str));
}

#[test]
fn capabilities_of_files() {
    operations(FROM_HARDENED, &["setuid:file capability"]);
    operations([Fate::Succeeds, Fate::Stopped, Fate::Stopped, Fate::Stopped], &["setuid:trusted attribute"]);
}

/// A user without privilege, and a program of the image's that belongs to root.
fn as_user(bundle: &mut Bundle) {
    install_survey(bundle);
    let program = bundle.rootfs().join("privileged");
    fs::copy(bundle.rootfs().join("survey"), &program).expect("copy the program");
    bundle.edit(|c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["capabilities"].as_object_mut().expect("an object").retain(|set, _| set == "bounding");
    });
}

#[test]
fn setuid_programs_in_layers() {
    let ask = "/privileged 'aimed:effective root' | grep -q reachable && echo won";
    script(FROM_HARDENED, ask, |bundle| {
        as_user(bundle);
        let program = bundle.rootfs().join("privileged");
        fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).expect("set the bit");
    });
}

#[test]
fn programs_with_capabilities_in_layers() {
    let ask = "/privileged 'capability:NET_RAW' | grep -q reachable && echo won";
    script(FROM_HARDENED, ask, |bundle| {
        as_user(bundle);
        // VFS_CAP_REVISION_2 with the effective bit; CAP_NET_RAW is 13 (linux/capability.h).
        let words = [0x0200_0001_u32, 1 << 13, 0, 0, 0];
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let program = bundle.rootfs().join("privileged");
        setxattr(program, c"security.capability", &value, XattrFlags::empty()).expect("give the capability");
    });
}

/// A setuid program on a volume that the operator has mounted for the container.
#[test]
fn setuid_programs_on_volumes() {
    let ask = "/volume/privileged 'aimed:effective root' | grep -q reachable && echo won";
    script(FROM_HARDENED, ask, |bundle| {
        as_user(bundle);
        let volume = bundle.dir().join("volume");
        fs::create_dir(&volume).expect("make the volume");
        let program = volume.join("privileged");
        fs::copy(bundle.rootfs().join("survey"), &program).expect("copy the program");
        fs::set_permissions(program, fs::Permissions::from_mode(0o4755)).expect("set the bit");
        bundle.mount("/volume", "bind", volume.to_str().expect("a printable path"), &["rbind", "rw"]);
    });
}
