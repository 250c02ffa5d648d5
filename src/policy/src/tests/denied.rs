//! What is denied: for each rule an example, and the line that admits it.

use super::*;

/// Denied under `hardened` by `rule` alone, and admitted by the line the denial names.
#[track_caller]
fn one(rule: &str, remedy: &str, asked: impl Fn(&mut Value)) {
    one_for(&host(), rule, remedy, asked);
}

#[track_caller]
fn one_for(host: &HostFacts, rule: &str, remedy: &str, asked: impl Fn(&mut Value)) {
    let denied = judge(docker_with(&asked), &policy("hardened"), host).unwrap_err();
    assert_eq!(rules_of(&denied), [rule], "{denied:#?}");
    assert_eq!(denied.violations()[0].remedy.as_deref(), Some(remedy));
    let relaxed = written(remedy);
    let again = judge(docker_with(&asked), &relaxed, host);
    assert!(again.is_ok(), "{remedy} does not help: {}", again.unwrap_err());
}

fn without(value: &mut Value, kind: &str) {
    value["linux"]["namespaces"].as_array_mut().unwrap().retain(|space| space["type"] != kind);
    // Hostname and parameters belong to what is gone.
    value.as_object_mut().unwrap().remove("hostname");
    value["linux"].as_object_mut().unwrap().remove("sysctl");
}

#[test]
fn namespaces_of_the_host() {
    for kind in ["pid", "network", "ipc", "uts"] {
        let remedy = format!("namespaces.shared_with_host = [\"...\", \"{kind}\"]");
        one("namespaces", &remedy, |c| without(c, kind));
    }
}

/// By a path that leads to the host's own as well; one of another container's is nobody's harm.
#[test]
fn namespaces_by_path() {
    let join = |c: &mut Value| {
        without(c, "network");
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.push(json!({"type": "network", "path": "/run/netns/x"}));
    };
    let shared = casemate_spec::Host {
        shared: vec![oci_spec::runtime::LinuxNamespaceType::Network],
        ..casemate_spec::Host::default()
    };
    let remedy = "namespaces.shared_with_host = [\"...\", \"network\"]";
    one_for(&HostFacts { host: shared, ..host() }, "namespaces", remedy, join);
    assert!(judge(docker_with(join), &policy("strict"), &host()).is_ok());
}

#[test]
fn the_hosts_user_namespace() {
    let shared = casemate_spec::Host {
        shared: vec![oci_spec::runtime::LinuxNamespaceType::User],
        ..casemate_spec::Host::default()
    };
    let facts = HostFacts { host: shared, ..host() };
    one_for(&facts, "user-namespace", "user_namespace.mode = \"as-asked\"", |c| {
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.push(json!({"type": "user", "path": "/proc/1/ns/user"}));
    });
}

#[test]
fn root_of_the_host_by_another_number() {
    let map = |c: &mut Value| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    };
    one("user-namespace", "user_namespace.map_host_root = true", map);
    assert!(judge(docker_with(map), &policy("baseline"), &host()).is_ok());
}

#[test]
fn ids_beyond_the_range() {
    one("user-namespace", "user_namespace.mode = \"as-asked\"", |c| {
        c["process"]["user"]["additionalGids"] = json!([70_000]);
    });
}

#[test]
fn places_of_the_host() {
    let all = [
        ("/", "/"),
        ("/var/run/docker.sock", "/run/docker.sock"),
        ("/run/docker.sock", "/run/docker.sock"),
        ("/srv/../run//docker.sock", "/run/docker.sock"),
        ("/run", "/run"),
        ("/proc", "/proc"),
        ("/proc/sys", "/proc/sys"),
        ("/sys/fs/cgroup", "/sys/fs/cgroup"),
        ("/etc", "/etc"),
        ("/usr", "/usr"),
        ("/etc/cron.d", "/etc/cron.d"),
        ("/var/spool", "/var/spool"),
        ("/etc/systemd/system", "/etc/systemd/system"),
        ("/var", "/var"),
        ("/var/lib/docker", "/var/lib/docker"),
        ("/dev/shm", "/dev/shm"),
        ("/dev/sda", "/dev/sda"),
    ];
    for (source, place) in all {
        let remedy = format!("mounts.allow_sources = [\"...\", \"{place}\"]");
        one("mounts", &remedy, |c| add_mount(c, bind(source, "/x", &["bind"])));
    }
    for source in
        ["/srv", "/var/lib/docker/volumes/v/_data", "/usr/share/zoneinfo", "/runner", "/home/me/src"]
    {
        let asked = docker_with(|c| add_mount(c, bind(source, "/x", &["rbind"])));
        assert!(judge(asked, &policy("strict"), &host()).is_ok(), "{source}");
    }
}

#[test]
fn devices_as_binds_are_devices() {
    one("mounts", "devices.allow = [\"...\", \"/dev/fuse\"]", |c| {
        add_mount(c, bind("/dev/fuse", "/dev/fuse", &["bind"]));
    });
}

/// The host's files do not come in by a link, as an overlay, or as the root.
#[test]
fn places_of_the_host_by_detours() {
    let sources = [("/srv/link".into(), "/run/docker.sock".into())].into();
    let remedy = "mounts.allow_sources = [\"...\", \"/run/docker.sock\"]";
    one_for(&HostFacts { sources, ..host() }, "mounts", remedy, |c| {
        add_mount(c, bind("/srv/link", "/x", &["bind"]));
    });
    let links = HostFacts {
        sources: [("rootfs".into(), "/".into()), ("/l".into(), "/proc".into())].into(),
        ..host()
    };
    for asked in [
        docker_with(|c| c["root"]["path"] = json!("rootfs")),
        docker_with(|c| add_mount(c, bind("/l", "/x", &["rbind,ro"]))),
        docker_with(|c| {
            add_mount(c, json!({"destination": "/x", "type": "overlay", "options": ["lowerdir=/srv:/l"]}))
        }),
    ] {
        // Whoever looks where links lead is told of each.
        assert!(host_paths(&asked).any(|path| links.sources.contains_key(path)));
        assert_eq!(rules_of(&judge(asked, &policy("baseline"), &links).unwrap_err()), ["mounts"]);
    }
    let denied = |c: Config| rules_of(&judge(c, &policy("baseline"), &host()).unwrap_err()).join(" ");
    let overlay = json!({
        "destination": "/x", "type": "overlay", "source": "overlay",
        "options": ["lowerdir=/srv/a:/", "upperdir=/srv/u,workdir=/srv/w"],
    });
    assert_eq!(denied(docker_with(|c| add_mount(c, overlay))), "mounts");
    assert_eq!(denied(docker_with(|c| c["root"]["path"] = json!("/"))), "mounts");
    assert_eq!(denied(docker_with(|c| add_mount(c, bind("../../x", "/x", &["bind"])))), "mounts");
}

#[test]
fn file_systems_and_their_events() {
    one("mounts", "mounts.types = [\"...\", \"ext4\"]", |c| {
        add_mount(c, json!({"destination": "/x", "type": "ext4", "source": "/srv/disk"}));
    });
    one("mounts", "mounts.types = [\"...\", \"remount\"]", |c| {
        add_mount(c, json!({"destination": "/sys", "type": "sysfs", "options": ["remount", "rw"]}));
    });
    one("mounts", "mounts.propagation = \"shared\"", |c| {
        add_mount(c, bind("/srv", "/x", &["rbind", "rshared"]));
    });
    one("mounts", "mounts.propagation = \"shared\"", |c| {
        c["linux"]["rootfsPropagation"] = json!("shared");
    });
}

#[test]
fn devices_of_the_host() {
    let closing = json!({"allow": false, "access": "rwm"});
    one("devices", "devices.allow = [\"...\", \"/dev/fuse\"]", |c| {
        c["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
        c["linux"]["resources"]["devices"] =
            json!([closing, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]);
    });
    one("devices", "devices.allow = [\"...\", \"b 8:*\"]", |c| {
        c["linux"]["resources"]["devices"] =
            json!([closing, {"allow": true, "type": "b", "major": 8, "access": "r"}]);
    });
    one("devices", "devices.allow = [\"*\"]", |c| {
        c["linux"]["resources"]["devices"] = json!([closing, {"allow": true, "access": "rwm"}]);
    });
    one("devices", "devices.allow = [\"*\"]", |c| {
        c["linux"]["resources"]["devices"] = json!([closing, {"allow": true, "type": "c", "access": "rw"}]);
    });
    one("devices", "devices.network = true", |c| c["linux"]["netDevices"] = json!({"eth1": {}}));
}

/// The path says nothing: the number does.
#[test]
fn a_device_by_another_name() {
    let node = |major: i64, minor: i64| {
        docker_with(|c| {
            c["linux"]["devices"] =
                json!([{"path": "/dev/null0", "type": "c", "major": major, "minor": minor}]);
        })
    };
    assert!(judge(node(1, 3), &policy("strict"), &host()).is_ok());
    assert!(judge(node(1, 1), &policy("baseline"), &host()).is_err());
}

#[test]
fn kernel_parameters() {
    let strict = judge(
        docker_with(|c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"})),
        &policy("strict"),
        &host(),
    );
    let denied = strict.unwrap_err();
    assert_eq!(rules_of(&denied), ["sysctl"]);
    let remedy = denied.violations()[0].remedy.as_deref();
    assert_eq!(remedy, Some("sysctl.allow = [\"...\", \"net.ipv4.ip_forward\"]"));
}

#[test]
fn real_time() {
    one("limits", "limits.unbounded = true", |c| {
        c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 1});
    });
}

#[test]
fn a_kernel_that_cannot_do_it() {
    let old = HostFacts { landlock_abi: 3, ..host() };
    let denied = judge(config(&docker()), &policy("strict"), &old).unwrap_err();
    assert_eq!(rules_of(&denied), ["landlock"]);
    assert_eq!(denied.violations()[0].remedy.as_deref(), Some("landlock.missing = \"report\""));
    assert!(judge(config(&docker()), &policy("hardened"), &old).is_ok());
}

/// What Docker shows to whoever asked: one sentence, and the way out.
#[test]
fn a_denial_is_one_sentence() {
    let denied = judge(docker_with(|c| without(c, "pid")), &policy("hardened"), &host()).unwrap_err();
    assert_eq!(denied.policy(), "hardened");
    assert!(!denied.protections().is_empty() && !denied.changes().is_empty());
    assert_eq!(
        Error::from(denied).to_string(),
        "policy hardened denies this container: linux.namespaces: the host's pid namespace is refused, expected a pid \
         namespace of the container's own (to allow it: namespaces.shared_with_host = [\"...\", \"pid\"])"
    );
}

/// Everything at once, and no page of it: a hundred devices are one violation.
#[test]
fn a_privileged_container() {
    let asked = casemate_spec::parse(engines::text("docker-privileged").as_bytes()).unwrap();
    let denied = judge(asked, &policy("hardened"), &host()).unwrap_err();
    assert_eq!(rules_of(&denied), ["devices"]);
    let text = Error::from(denied).to_string();
    assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    let asked = casemate_spec::parse(engines::text("docker-host").as_bytes()).unwrap();
    let shared = casemate_spec::Host {
        shared: vec![oci_spec::runtime::LinuxNamespaceType::Network],
        ..casemate_spec::Host::default()
    };
    let denied = judge(asked, &policy("hardened"), &HostFacts { host: shared, ..host() }).unwrap_err();
    assert_eq!(rules_of(&denied), ["namespaces"; 4]);
}
