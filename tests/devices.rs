//! Device nodes, the links every container has, and what the device rules allow.

use std::fs;

use casemate_tests::{Bundle, each, json};

const ALL_CAPS: &[&str] = &["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_CHOWN"];

#[test]
fn the_default_devices_and_links() {
    each(|rt| {
        let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u' /dev/$d; done; \
                      for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); done";
        let mut bundle = Bundle::sh(rt, script);
        bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
        let said = bundle.run().ok().stdout();
        let expected = [
            "/dev/null character special file 1:3 666 0",
            "/dev/zero character special file 1:5 666 0",
            "/dev/full character special file 1:7 666 0",
            "/dev/random character special file 1:8 666 0",
            "/dev/urandom character special file 1:9 666 0",
            "/dev/tty character special file 5:0 666 0",
            "fd /proc/self/fd",
            "stdin /proc/self/fd/0",
            "stdout /proc/self/fd/1",
            "stderr /proc/self/fd/2",
            "ptmx pts/ptmx",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn the_default_devices_work() {
    each(|rt| {
        let script = "echo x >/dev/null; head -c 4 /dev/zero | od -An -tx1; head -c 4 /dev/urandom | wc -c; \
                      echo x >/dev/full || echo full";
        let said = Bundle::sh(rt, script).run().ok().stdout();
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["00", "00", "00", "00", "4", "full"]);
    });
}

#[test]
fn configured_devices() {
    each(|rt| {
        let script = "stat -c '%F %t:%T %a %u:%g' /dev/loopy /dev/chars /dev/sub/pipe";
        let mut bundle = Bundle::sh(rt, script);
        bundle.edit(|c| {
            c["linux"]["devices"] = json!([
                {"path": "/dev/loopy", "type": "b", "major": 7, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6},
                {"path": "/dev/chars", "type": "c", "major": 1, "minor": 3, "fileMode": 0o604},
                {"path": "/dev/sub/pipe", "type": "p", "fileMode": 0o600},
            ]);
        });
        let said = bundle.run().ok().stdout();
        let expected =
            ["block special file 7:3 640 5:6", "character special file 1:3 604 0:0", "fifo 0:0 600 0:0"];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_device_replaces_no_file_outside() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, "stat -c %F /link");
        let outside = bundle.file("outside", "kept");
        std::os::unix::fs::symlink(&outside, bundle.rootfs().join("link")).unwrap();
        bundle.edit(|c| {
            c["linux"]["devices"] = json!([{"path": "/link", "type": "c", "major": 1, "minor": 3}])
        });
        bundle.run();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
        assert!(fs::symlink_metadata(&outside).unwrap().is_file());
    });
}

/// Opens a node of each device for reading and for writing and prints what was possible.
const OPEN: &str = "for d in 'b 7 1 loop' 'c 1 7 full' 'c 1 11 kmsg' 'c 10 229 fuse'; do set -- $d; \
                    mknod /dev/my$4 $1 $2 $3 2>/dev/null; (: </dev/my$4) 2>/dev/null && echo read $4; \
                    (: >/dev/my$4) 2>/dev/null && echo write $4; done; true";

#[test]
fn device_rules_allow_and_deny() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, OPEN);
        bundle.capabilities(ALL_CAPS);
        bundle.edit(|c| {
            c["linux"]["resources"] = json!({"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "b", "access": "m"},
                {"allow": true, "type": "c", "access": "m"},
                {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
            ]});
        });
        // The default devices are always allowed, `full` among them; reading kmsg takes CAP_SYSLOG, which is absent,
        // but opening it for writing does not, and only the rule stands against that.
        assert_eq!(bundle.run().ok().text(), "read full\nwrite full");
        bundle.edit(|c| {
            let rules = c["linux"]["resources"]["devices"].as_array_mut().unwrap();
            rules.push(json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}));
        });
        assert_eq!(bundle.run().ok().text(), "read full\nwrite full\nwrite kmsg");
        bundle.edit(|c| {
            let rules = c["linux"]["resources"]["devices"].as_array_mut().unwrap();
            rules.push(json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}));
        });
        assert_eq!(bundle.run().ok().text(), "read full\nwrite full", "the last rule that matches decides");
    });
}

#[test]
fn everything_may_be_allowed() {
    each(|rt| {
        let mut bundle = Bundle::sh(rt, OPEN);
        bundle.capabilities(&["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"]);
        bundle.edit(|c| c["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]}));
        let said = bundle.run().ok().text();
        assert!(said.contains("read kmsg") && said.contains("write kmsg"), "{said}");
    });
}

#[test]
fn the_rules_hold_for_exec() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.args(&["/bin/sleep", "1000"]).capabilities(ALL_CAPS);
        bundle.edit(|c| {
            let rules =
                json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "access": "m"}]);
            c["linux"]["resources"] = json!({"devices": rules});
        });
        bundle.run_detached().ok();
        assert_eq!(bundle.exec(&["sh", "-c", OPEN]).ok().text(), "read full\nwrite full");
    });
}

#[test]
fn devices_in_a_user_namespace_are_bound_from_the_host() {
    each(|rt| {
        let mut bundle =
            Bundle::sh(rt, "echo x >/dev/null && head -c 2 /dev/zero | wc -c; stat -c %t:%T /dev/null");
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        bundle.namespace("user", None).hand_over(100_000, 100_000);
        bundle.edit(|c| {
            c["linux"]["uidMappings"] = mapping.clone();
            c["linux"]["gidMappings"] = mapping;
        });
        assert_eq!(bundle.run().ok().text(), "2\n1:3");
    });
}

#[test]
fn a_dev_of_the_bundles_own_is_left_alone() {
    each(|rt| {
        // A bind mount on /dev is the host's devices: no node is made in it (docker run -v /dev:/dev).
        let mut bundle = Bundle::sh(rt, "ls /dev");
        let own = bundle.dir().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("mine"), "").unwrap();
        bundle.tool("mknod", &[own.join("null").to_str().unwrap(), "c", "1", "3"]).run().ok();
        bundle.edit(|c| drop(c["mounts"].as_array_mut().unwrap().remove(1)));
        bundle.mount("/dev", "bind", own.to_str().unwrap(), &["rbind"]);
        assert_eq!(bundle.run().ok().text(), "mine\nnull");
    });
}
