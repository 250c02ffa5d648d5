//! Rights that come with a process: capabilities in every set, groups, users, and `exec` as the way to more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use casemate_tests::{Bundle, json};

use crate::attack::{
    ALL_CAPABILITIES, FROM_BASELINE, FROM_HARDENED, Fate, NEVER, fate, permissive, script, table,
};
use crate::survey::install_survey;

/// CVE-2022-29162 and its kin: a user without privilege holds what the bundle made inheritable and ambient.
#[test]
fn inheritable_and_ambient_capabilities() {
    let ask = "grep -q '^CapInh:.*[1-9a-f]' /proc/self/status && \
               /survey capability:SYS_ADMIN | grep -q reachable && echo won";
    script(FROM_BASELINE, ask, |bundle| {
        install_survey(bundle);
        bundle.edit(|c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            let sets = ["bounding", "effective", "permitted", "inheritable", "ambient"];
            let all: serde_json::Map<_, _> =
                sets.into_iter().map(|set| (set.to_owned(), json!(ALL_CAPABILITIES))).collect();
            c["process"]["capabilities"] = all.into();
        });
    });
}

fn sleeper(policy: &str) -> Bundle {
    let mut bundle = permissive("");
    install_survey(&bundle);
    bundle.args(&["/bin/sleep", "1000"]).policy(policy);
    bundle.run_detached().ok();
    bundle
}

/// `exec` is a door of its own: asked for more than the container has, it gives what the policy gives.
#[test]
fn capabilities_by_exec() {
    let ask = "/survey capability:SYS_ADMIN | grep -q reachable && echo won; echo tried";
    table(FROM_BASELINE, |policy| {
        let bundle = sleeper(policy);
        fate(&bundle.command(["exec", "--cap", "CAP_SYS_ADMIN", bundle.id(), "/bin/sh", "-c", ask]).run())
    });
    table(FROM_BASELINE, |policy| {
        let bundle = sleeper(policy);
        let all = json!({"bounding": ALL_CAPABILITIES, "effective": ALL_CAPABILITIES, "permitted": ALL_CAPABILITIES});
        let process = json!({
            "args": ["/bin/sh", "-c", ask], "cwd": "/", "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0}, "capabilities": all, "noNewPrivileges": false,
        });
        let file = bundle.file("process.json", process.to_string());
        fate(&bundle.command(["exec", "-p", file.to_str().expect("printable"), bundle.id()]).run())
    });
}

/// What an exec'd process may do is what the container's first may.
#[test]
fn new_privileges_by_exec() {
    table(FROM_HARDENED, |policy| {
        let bundle = sleeper(policy);
        let ask = "grep -q 'NoNewPrivs:.0' /proc/self/status && echo won; echo tried";
        fate(&bundle.exec(&["/bin/sh", "-c", ask]))
    });
}

#[test]
fn kernel_calls_by_exec() {
    for name in ["call:io_uring_setup", "namespace:new user", "call:keyctl session keyring", "mount:tmpfs"] {
        table(FROM_BASELINE, |policy| {
            let bundle = sleeper(policy);
            let ask = format!("/survey '{name}' | grep -q reachable && echo won; echo tried");
            fate(&bundle.exec(&["/bin/sh", "-c", &ask]))
        });
    }
}

/// Landlock and the private temporary filesystems hold for who enters, too.
#[test]
fn files_by_exec() {
    table(FROM_HARDENED, |policy| {
        let bundle = sleeper(policy);
        fate(&bundle.exec(&["/bin/sh", "-c", "(echo x >/etc/new) && echo won; echo tried"]))
    });
}

/// CVE-2022-36109, CVE-2023-25173: a group that a file is closed to has to be a group of the process's.
#[test]
fn groups_that_files_are_closed_to() {
    let prepare = |bundle: &Bundle| {
        let file = bundle.rootfs().join("closed");
        fs::write(&file, "not for group 1001").expect("write the file");
        chown(&file, Some(0), Some(1001)).expect("give it to the group");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("close it to the group");
    };
    let ask = "cat /closed >/dev/null 2>&1 && echo won; echo tried";
    let as_user = |bundle: &mut Bundle, groups: &[u32]| {
        bundle.edit(|c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": groups});
            c["process"].as_object_mut().expect("an object").remove("capabilities");
        });
    };
    let mut careless = permissive(ask);
    prepare(&careless);
    as_user(&mut careless, &[]);
    assert_eq!(fate(&careless.run()), Fate::Succeeds, "without the group the file can be read");
    table(NEVER, |policy| {
        let mut bundle = permissive(ask);
        prepare(&bundle);
        as_user(&mut bundle, &[1001]);
        fate(&bundle.policy(policy).run())
    });
}

/// CVE-2022-2995's kin: the groups of whoever calls the runtime, such as the host's disk group, stay outside.
#[test]
fn groups_of_the_caller() {
    table(NEVER, |policy| {
        let mut bundle = permissive("id -G | tr ' ' '\\n' | grep -qx 6 && echo won; echo tried");
        bundle.policy(policy);
        let call = bundle.command(["run", bundle.id()]).via(["setpriv", "--groups", "6,0", "--"]);
        fate(&call.run())
    });
}
