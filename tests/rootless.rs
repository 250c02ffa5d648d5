//! Without root: one mapped id, a range of ids through newuidmap, and what a user may not do.

use std::fs;

use casemate_tests::{Bundle, Invocation, Runtime, each, json, skip};

const USER: u32 = 54_321;

/// A bundle that the unprivileged user runs, with this user as the container's root.
fn rootless(rt: &Runtime, script: &str) -> Bundle {
    let mut bundle = Bundle::sh(rt, script);
    bundle.namespace("user", None);
    bundle.edit(|c| {
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    });
    bundle.as_user(USER, USER);
    bundle
}

#[test]
fn one_mapped_id() {
    each(|rt| {
        let script =
            "id -u; id -g; cat /proc/self/uid_map; cat /proc/self/setgroups; hostname; echo x >/made; exit 3";
        let bundle = rootless(rt, script);
        let output = bundle.run().fails_with(3);
        let words: Vec<_> = output.stdout().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["0", "0", "0", "54321", "1", "deny", "casemate-test"], "{output}");
        let made = fs::metadata(bundle.rootfs().join("made")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), USER);
        bundle.assert_clean();
    });
}

#[test]
fn the_whole_life() {
    each(|rt| {
        let bundle = rootless(rt, "echo started; sleep 1000");
        let created = bundle.create().ok();
        assert_eq!(bundle.status(), "created");
        bundle.start().ok();
        casemate_tests::wait_until("it runs", || created.stdout() == "started\n");
        let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
        assert!(status.contains("Uid:\t54321\t54321"), "{status}");
        assert_eq!(bundle.exec(&["sh", "-c", "id -u; exit 4"]).fails_with(4).text(), "0");
        assert_eq!(bundle.command(["list", "-q"]).run().ok().text(), bundle.id());
        bundle.kill("KILL").ok();
        bundle.wait_status("stopped");
        bundle.delete().ok();
        bundle.assert_clean();
        bundle.run_detached().ok();
        bundle.delete_force().ok();
        bundle.assert_clean();
    });
}

#[test]
fn devices_and_mounts() {
    each(|rt| {
        let script = "echo x >/dev/null && head -c 3 /dev/zero | wc -c; ls -d /sys/class && ls /dev/pts; \
                      touch /dev/shm/x && echo shm; cat /proc/keys";
        let mut bundle = rootless(rt, script);
        bundle.mount("/sys", "sysfs", "sysfs", &["ro", "nosuid", "noexec", "nodev"]);
        bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
        bundle.mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777"]);
        bundle.edit(|c| c["linux"]["maskedPaths"] = json!(["/proc/keys"]));
        let output = bundle.run().ok();
        assert_eq!(output.text(), "3\n/sys/class\nptmx\nshm");
    });
}

#[test]
fn the_template_for_users_runs() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.as_user(USER, USER);
        let config = bundle.bundle_dir().join("config.json");
        fs::remove_file(&config).unwrap();
        let spec = Invocation::new(&bundle.dir().join("out"), rt.path()).args(["spec", "--rootless"]);
        spec.cwd(&bundle.bundle_dir()).user(USER, USER).run().ok();
        let text = fs::read_to_string(&config).unwrap();
        bundle.edit(|c| {
            *c = text.parse().expect("the template is JSON");
            c["process"]["terminal"] = json!(false);
            c["process"]["args"] = json!(["id", "-u"]);
        });
        assert_eq!(bundle.run().ok().text(), "0");
    });
}

/// newuidmap(1) reads `/etc/subuid` and wants the user in `/etc/passwd`: both are given in a mount namespace.
#[test]
fn a_range_of_ids() {
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        return skip("newuidmap is not installed");
    }
    each(|rt| {
        let mut bundle = rootless(rt, "cat /proc/self/uid_map; chown 5:6 /owned && stat -c %u:%g /owned");
        fs::write(bundle.rootfs().join("owned"), "").unwrap();
        std::os::unix::fs::chown(bundle.rootfs().join("owned"), Some(USER), Some(USER)).unwrap();
        bundle.edit(|c| {
            let range = json!([{"containerID": 0, "hostID": USER, "size": 1},
                               {"containerID": 1, "hostID": 300_000, "size": 1000}]);
            c["linux"]["uidMappings"] = range.clone();
            c["linux"]["gidMappings"] = range;
        });
        bundle.capabilities(&["CAP_CHOWN"]);
        let call = |bundle: &Bundle| {
            let files = [
                ("passwd", format!("root:x:0:0::/:/bin/sh\ntester:x:{USER}:{USER}::/:/bin/sh\n")),
                ("subuid", "tester:300000:1000\n".to_owned()),
                ("subgid", "tester:300000:1000\n".to_owned()),
            ];
            let binds = files.map(|(name, text)| {
                format!("touch /etc/{name}; mount --bind {} /etc/{name}", bundle.file(name, text).display())
            });
            let script = format!(
                "{}; exec setpriv --reuid {USER} --regid {USER} --clear-groups -- \"$@\"",
                binds.join("; ")
            );
            let call = bundle.tool(rt.path().to_str().unwrap(), &["--root"]).arg(bundle.state_dir());
            // To the letter: the default policy has a root that nobody writes to.
            let policy: &[&str] = if rt.is_ours() { &["--policy", "oci"] } else { &[] };
            call.args(policy)
                .args(["run", bundle.id()])
                .cwd(&bundle.bundle_dir())
                .via(["unshare", "-m", "sh", "-c", &script, "sh"])
        };
        let output = call(&bundle).run().ok();
        let words: Vec<_> = output.stdout().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["0", "54321", "1", "1", "300000", "1000", "5:6"], "{output}");
        let owner = fs::metadata(bundle.rootfs().join("owned")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 300_004);
        // A range that is not the user's is refused.
        bundle.edit(|c| c["linux"]["uidMappings"][1]["hostID"] = json!(1));
        let output = call(&bundle).run();
        let said = output.stderr();
        assert!(!output.success() && (said.contains("newuidmap") || said.contains("id maps")), "{output}");
        bundle.assert_clean();
    });
}

#[test]
fn a_user_maps_nobody_else_and_needs_a_user_namespace() {
    each(|rt| {
        let mut bundle = rootless(rt, "true");
        bundle.edit(|c| c["linux"]["uidMappings"][0]["hostID"] = json!(0));
        bundle.run().fails_with(1);
        bundle.assert_clean();
        let mut bundle = rootless(rt, "true");
        bundle.without_namespace("user").edit(|c| {
            let linux = c["linux"].as_object_mut().unwrap();
            linux.remove("uidMappings");
            linux.remove("gidMappings");
        });
        bundle.run().fails_with(1);
        bundle.assert_clean();
    });
}

#[test]
fn the_containers_of_others_are_out_of_reach() {
    each(|rt| {
        let mut bundle = Bundle::new(rt);
        bundle.args(&["/bin/sleep", "1000"]);
        bundle.run_detached().ok();
        for args in
            [["kill", bundle.id()], ["delete", bundle.id()], ["pause", bundle.id()], ["exec", bundle.id()]]
        {
            let output = bundle.command(args).user(USER, USER).run();
            assert!(!output.success(), "{output}");
        }
        assert_eq!(bundle.status(), "running");
    });
}
