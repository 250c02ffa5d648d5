//! Requests: namespaces of the host's, names that climb, groups of others, and configurations made to break the reader.

use std::fs;

use casemate_tests::{Bundle, json, ours};

use crate::attack::{FROM_HARDENED, Fate, POLICIES, REFUSED, fate, permissive, script, table};

/// `--net host` and its kin.
#[test]
fn namespaces_shared_with_the_host() {
    for kind in ["network", "ipc", "uts"] {
        eprintln!("== {kind}");
        let expected = [Fate::Succeeds, Fate::Succeeds, Fate::Denied, Fate::Denied];
        script(expected, "echo won", |bundle| {
            bundle.without_namespace(kind);
            bundle.edit(|c| {
                c.as_object_mut().expect("an object").remove("hostname");
            });
        });
    }
    script(REFUSED, "echo won", |bundle| {
        bundle.without_namespace("pid");
    });
}

/// The host's namespace by its path, by another path, and by a name that somebody gave it.
#[test]
fn namespaces_of_the_host_by_path() {
    // Not the host's first process: it may hold a capability that this one lacks, and is then not to be looked into.
    let pid = std::process::id();
    let (direct, detour) = (format!("/proc/{pid}/ns/net"), format!("/proc/{pid}/../{pid}/ns/net"));
    for path in [direct.as_str(), "/proc/self/ns/net", "/proc/thread-self/ns/net", &detour] {
        eprintln!("== {path}");
        script([Fate::Succeeds, Fate::Succeeds, Fate::Denied, Fate::Denied], "echo won", |bundle| {
            bundle.namespace("network", Some(path));
        });
    }
    table([Fate::Succeeds, Fate::Succeeds, Fate::Denied, Fate::Denied], |policy| {
        let mut bundle = permissive("echo won");
        let name = bundle.file("netns", "");
        let name = name.to_str().expect("printable");
        bundle.tool("mount", &["--bind", "/proc/self/ns/net", name]).run().ok();
        bundle.namespace("network", Some(name)).policy(policy);
        let output = bundle.run();
        bundle.tool("umount", &[name]).run().ok();
        fate(&output)
    });
    script(REFUSED, "echo won", |bundle| {
        bundle.namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
    });
}

/// An id is a name and never a path, a bundle's path is the caller's, and nothing is made by a refusal.
#[test]
fn ids_that_climb() {
    for policy in POLICIES {
        let mut bundle = Bundle::new(&ours());
        bundle.policy(policy);
        let beside = |bundle: &Bundle| -> Vec<_> {
            let mut names: Vec<_> =
                fs::read_dir(bundle.dir()).expect("list").flatten().map(|e| e.file_name()).collect();
            names.sort();
            names
        };
        let before = beside(&bundle);
        for id in ["..", "../escaped", "a/../../escaped", "/tmp/escaped", "", ".", "a/b", "a\nb", "ä"] {
            for verb in ["create", "run"] {
                let output = bundle.command([verb, "--", id]).run();
                assert!(!output.success(), "{policy}: {verb} {id:?}: {output}");
            }
            for verb in ["state", "delete", "start"] {
                assert!(!bundle.command([verb, "--", id]).run().success(), "{policy}: {verb} {id:?}");
            }
        }
        let long = "x".repeat(5000);
        assert!(!bundle.command(["run", &long]).run().success(), "{policy}: a long id");
        assert_eq!(beside(&bundle), before, "{policy}");
        bundle.assert_clean();
    }
}

/// Groups of others by the container's path of control groups.
#[test]
fn control_groups_that_climb() {
    for policy in POLICIES {
        for climb in ["../../../../escaped", "/../../escaped", "/a/../../../escaped"] {
            let mut bundle = permissive("cat /proc/self/cgroup");
            let path = format!("{climb}-{}", bundle.id());
            bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
            let output = bundle.policy(policy).run();
            for tree in ["/sys/fs", "/sys", "/"] {
                let made = fs::read_dir(tree).expect("list").flatten();
                let names: Vec<_> =
                    made.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
                assert!(!names.iter().any(|name| name.contains("escaped")), "{policy}: {tree}: {output}");
            }
            bundle.assert_clean();
        }
    }
}

/// The annotation is the request's own: it makes a policy stricter and never laxer.
#[test]
fn an_annotation_that_asks_for_less() {
    for policy in ["baseline", "hardened", "strict"] {
        let ask = "/survey mount:tmpfs | grep -q reachable && echo won; echo tried";
        let mut bundle = permissive(ask);
        crate::survey::install_survey(&bundle);
        bundle.edit(|c| c["annotations"] = json!({"io.casemate.policy": "oci"}));
        assert_eq!(fate(&bundle.policy(policy).run()), Fate::Stopped, "{policy}");
    }
}

/// A filter of the bundle's that allows everything is added to the policy's, and does not stand in its place.
#[test]
fn a_filter_that_allows_everything() {
    for calls in [json!([]), json!([{"names": ["io_uring_setup", "keyctl"], "action": "SCMP_ACT_ALLOW"}])] {
        let ask = "/survey call:io_uring_setup | grep -q reachable && echo won";
        script(crate::attack::FROM_BASELINE, ask, |bundle| {
            crate::survey::install_survey(bundle);
            bundle.edit(|c| {
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls});
            });
        });
    }
}

#[test]
fn new_privileges_asked_for() {
    script(FROM_HARDENED, "grep -q 'NoNewPrivs:.0' /proc/self/status && echo won", |_| ());
}

/// Whichever of two keys a reader takes, what is judged is what is enforced.
#[test]
fn a_key_twice() {
    for policy in ["hardened", "strict"] {
        let bundle = &mut permissive(
            "/survey capability:SYS_ADMIN namespace:'new user'; grep NoNew /proc/self/status",
        );
        crate::survey::install_survey(bundle);
        bundle.policy(policy);
        let text = bundle.config().to_string();
        for (key, twice) in [
            ("\"noNewPrivileges\":false", "\"noNewPrivileges\":true,\"noNewPrivileges\":false"),
            ("\"linux\":{", "\"linux\":{\"namespaces\":[]},\"linux\":{"),
            ("\"root\":{", "\"root\":{\"path\":\"/\"},\"root\":{"),
        ] {
            assert!(text.contains(key), "{key} is not in {text}");
            bundle.raw_config(text.replacen(key, twice, 1).as_bytes());
            let output = bundle.run();
            assert!(!output.stdout().contains(" reachable"), "{policy}: {key}: {output}");
            assert!(
                !output.success() || output.stdout().contains("NoNewPrivs:\t1"),
                "{policy}: {key}: {output}"
            );
            bundle.assert_clean();
        }
    }
}

/// Text made to break its reader: an error, no panic, nothing left behind, whatever the policy.
#[test]
fn text_that_breaks_readers() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for policy in POLICIES {
        let mut bundle = Bundle::new(&ours());
        bundle.policy(policy);
        let good = bundle.config().to_string();
        let with = |field: &str, value: &str| good.replacen(field, value, 1).into_bytes();
        let texts = [
            Vec::new(),
            b"null".to_vec(),
            b"\xff\xfe{}".to_vec(),
            good.as_bytes()[..good.len() / 2].to_vec(),
            vec![b' '; 17 << 20],
            with("\"mounts\":[", &format!("\"mounts\":[{deep},")),
            with("\"hostname\":", "\"hostname\":\"a\\u0000b\",\"x\":"),
            with("\"/bin/true\"", "\"/bin/true\\u0000\""),
            with("\"cwd\":\"/\"", "\"cwd\":\"/\\u0000/../..\""),
            with("\"path\":\"rootfs\"", "\"path\":\"rootfs\\u0000\""),
            with("\"uid\":0", "\"uid\":-1"),
            with("\"uid\":0", "\"uid\":4294967295"),
            with("\"uid\":0", "\"uid\":99999999999999999999999"),
            with("\"uid\":0", "\"uid\":1e400"),
        ];
        for (i, text) in texts.iter().enumerate() {
            bundle.raw_config(text);
            let output = bundle.run();
            let said = output.stderr();
            assert!(!output.success() && output.code() < 128, "{policy}: text {i}: {output}");
            assert!(!said.contains("panic") && !said.is_empty(), "{policy}: text {i}: {said}");
            bundle.assert_clean();
        }
    }
}
