//! What is made tighter: one example for every rule, and what is enforced instead.

use super::*;

fn rules(changes: &[Change]) -> Vec<&str> {
    let mut rules: Vec<&str> = changes.iter().map(|change| change.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn an_ordinary_docker_container() {
    let (spec, changes) = enforced(config(&docker()), &policy("hardened"));
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["mount", "network", "uts", "pid", "ipc", "cgroup", "user"]);
    let mut capabilities: Vec<&str> = spec["process"]["capabilities"]["bounding"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    capabilities.sort_unstable();
    assert_eq!(
        capabilities,
        [
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_NET_BIND_SERVICE",
            "CAP_SETGID",
            "CAP_SETUID"
        ]
    );
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(spec["linux"]["sysctl"]["net.ipv4.ping_group_range"], "0 65535");
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 1 << 30);
    assert_eq!(spec["linux"]["resources"]["memory"]["swap"], 1 << 30);
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 512);
    assert_eq!(spec["process"]["rlimits"], json!([{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]));
    let places: Vec<&str> = spec["mounts"].as_array().unwrap()[..3]
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["/run", "/tmp", "/var/tmp"]);
    assert!(spec["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kallsyms")));
    let expected = [
        "capabilities",
        "limits",
        "masked-paths",
        "mounts",
        "namespaces",
        "no-new-privileges",
        "rlimits",
        "rootfs",
        "sysctl",
        "user-namespace",
    ];
    assert_eq!(rules(&changes), expected);
}

#[test]
fn what_the_configuration_has_no_words_for() {
    let admitted = judge(config(&docker()), &policy("hardened"), &host()).unwrap();
    let confinement = admitted.confinement();
    assert_eq!(confinement.user_namespace, UserNamespace::Own { fallback: Fallback::Refuse });
    assert_eq!(confinement.filters.len(), 1);
    let landlock = confinement.landlock.as_ref().unwrap();
    let writable = [
        "/dev",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/proc",
        "/run",
        "/tmp",
        "/var/tmp",
    ];
    assert_eq!(landlock.writable, writable);
    assert!(!landlock.write_xor_execute && landlock.scope_abstract_sockets && !landlock.scope_signals);
    let strict = judge(config(&docker()), &policy("strict"), &host()).unwrap();
    assert!(strict.confinement().landlock.as_ref().unwrap().write_xor_execute);
    let baseline = judge(config(&docker()), &policy("baseline"), &host()).unwrap();
    assert_eq!(baseline.confinement().landlock.as_ref().unwrap().writable, ["/"]);
    assert_eq!(baseline.confinement().user_namespace, UserNamespace::Own { fallback: Fallback::Host });
}

/// Docker's own list, brought by Docker, is not loaded twice; a container without one is never unconfined.
#[test]
fn baseline_adds_a_filter_where_there_is_none() {
    let filters = |config| judge(config, &policy("baseline"), &host()).unwrap().confinement().filters.len();
    assert_eq!(filters(docker_with(|c| drop(c["linux"].as_object_mut().unwrap().remove("seccomp")))), 1);
    let open = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    assert_eq!(filters(docker_with(|c| c["linux"]["seccomp"] = open)), 1);
}

#[test]
fn strict_takes_what_is_left() {
    let (spec, _) = enforced(config(&docker()), &policy("strict"));
    assert_eq!(spec["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 100_000);
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 512 << 20);
    assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 256);
}

#[test]
fn mounts_lose_devices_and_set_user_ids() {
    let (spec, _) = enforced(
        docker_with(|c| {
            add_mount(c, bind("/srv/a", "/a", &["rbind", "rprivate"]));
            add_mount(c, bind("/srv/b", "/b", &["bind", "ro"]));
            add_mount(c, bind("/dev/null", "/dev/again", &["bind"]));
            add_mount(c, json!({"destination": "/t", "type": "tmpfs", "options": ["exec"]}));
        }),
        &policy("hardened"),
    );
    let options = |destination: &str| {
        let mounts = spec["mounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["destination"] == destination).unwrap();
        mount["options"].to_string()
    };
    assert_eq!(options("/a"), r#"["rbind","rprivate","nosuid","rnosuid","nodev","rnodev"]"#);
    assert_eq!(options("/b"), r#"["bind","ro","nosuid","nodev"]"#);
    assert_eq!(options("/dev/again"), r#"["bind","nosuid"]"#);
    assert_eq!(options("/t"), r#"["exec","nosuid","nodev"]"#);
    assert_eq!(options("/dev"), r#"["nosuid","strictatime","mode=755","size=65536k","noexec"]"#);
    assert_eq!(options("/proc"), r#"["nosuid","noexec","nodev"]"#);
}

#[test]
fn in_strict_what_is_writable_is_not_executable() {
    let (spec, _) = enforced(
        docker_with(|c| {
            add_mount(c, bind("/srv/a", "/a", &["bind"]));
            add_mount(c, bind("/usr/bin/docker-init", "/sbin/docker-init", &["bind", "ro"]));
        }),
        &policy("strict"),
    );
    let mounts = spec["mounts"].as_array().unwrap();
    let has = |destination: &str| {
        let mount = mounts.iter().find(|mount| mount["destination"] == destination).unwrap();
        mount["options"].as_array().unwrap().contains(&json!("noexec"))
    };
    assert!(has("/a") && has("/dev") && has("/tmp"));
    assert!(!has("/sbin/docker-init"));
}

#[test]
fn sys_and_control_groups_are_read_only() {
    let (spec, _) = enforced(
        docker_with(|c| {
            for mount in c["mounts"].as_array_mut().unwrap() {
                if mount["destination"].as_str().unwrap().starts_with("/sys") {
                    mount["options"] = json!(["rw"]);
                }
            }
        }),
        &policy("hardened"),
    );
    let views = spec["mounts"].as_array().unwrap().iter();
    let views: Vec<String> = views
        .filter(|mount| mount["destination"].as_str().unwrap().starts_with("/sys"))
        .map(|mount| mount["options"].to_string())
        .collect();
    assert_eq!(views, [r#"["rw","ro","nosuid","nodev","noexec"]"#; 2]);
}

/// A monitor may look at the host's hardware under `baseline`, and not set it.
#[test]
fn some_places_are_only_shown() {
    let options = |source: &str, sources: &[(&str, &str)]| {
        let sources = sources.iter().map(|(from, to)| (from.into(), to.into())).collect();
        let asked = docker_with(|c| add_mount(c, bind(source, "/x", &["rbind", "rw"])));
        let admitted = judge(asked, &policy("baseline"), &HostFacts { sources, ..host() }).unwrap();
        admitted.config().spec.mounts().iter().flatten().last().unwrap().options().clone().unwrap().join(",")
    };
    assert_eq!(options("/sys", &[]), "rbind,rw,ro,rro");
    assert_eq!(options("/sys/class", &[]), "rbind,rw,ro,rro");
    assert_eq!(options("/link", &[("/link", "/sys/fs/cgroup")]), "rbind,rw,ro,rro");
    assert_eq!(options("/srv/sys", &[]), "rbind,rw");
    assert_eq!(options("/etc/cron.d", &[]), "rbind,rw,ro,rro");
    assert_eq!(options("/etc/letsencrypt", &[]), "rbind,rw");
}

/// A tmpfs goes where nothing is mounted: neither there, nor above.
#[test]
fn temporary_places_do_not_hide_what_is_asked() {
    let places = |destination: &str| {
        let asked = docker_with(|c| add_mount(c, bind("/srv/a", destination, &["bind"])));
        let (spec, _) = enforced(asked, &policy("hardened"));
        let mounts = spec["mounts"].as_array().unwrap();
        mounts.iter().filter(|mount| mount["options"].to_string().contains("tmpcopyup")).count()
    };
    assert_eq!(places("/data"), 3);
    assert_eq!(places("/tmp"), 2);
    assert_eq!(places("/var/./tmp/"), 2);
    assert_eq!(places("/var"), 2);
    assert_eq!(places("/run/secrets"), 3);
}

#[test]
fn devices_are_closed_where_nobody_closed_them() {
    let first = |rules: Value| {
        let (spec, changes) =
            enforced(docker_with(|c| c["linux"]["resources"]["devices"] = rules), &policy("hardened"));
        let changed = changes.iter().any(|change| change.rule == "devices");
        (spec["linux"]["resources"]["devices"].clone(), changed)
    };
    let closing = json!({"allow": false, "access": "rwm"});
    assert_eq!(first(json!([])), (json!([closing]), true));
    assert_eq!(first(json!([closing])), (json!([closing]), false));
    // Opened, and closed again.
    let reopened = json!([{"allow": true, "access": "rwm"}, closing]);
    assert_eq!(first(reopened.clone()), (reopened, false));
    // Making nodes alone is of no use.
    let nodes = json!([closing, {"allow": true, "type": "c", "access": "m"}]);
    assert_eq!(first(nodes), (json!([closing]), true));
}

/// Every network that is the container's own may have its kernel parameters, as far as the ids there are.
#[test]
fn groups_that_may_ping_are_groups_there_are() {
    let narrowed = |value: &str| {
        let asked = docker_with(|c| c["linux"]["sysctl"] = json!({"net/ipv4/ping_group_range": value}));
        enforced(asked, &policy("hardened")).0["linux"]["sysctl"]["net/ipv4/ping_group_range"].clone()
    };
    assert_eq!(narrowed("0 2147483647"), "0 65535");
    assert_eq!(narrowed("100\t200"), "100\t200");
    assert_eq!(narrowed("70000 80000"), "1 0");
    assert_eq!(narrowed("nonsense"), "nonsense");
}

/// What engines set for every container is no reason to refuse each of them, and exposes nothing.
#[test]
fn usual_parameters_are_left_out_where_they_are_not_listed() {
    let of = |policy: &Policy| {
        let config = config(&docker());
        let admitted = judge(config, policy, &host()).expect("admitted");
        let row = crate::grade(&admitted).rows.pop().expect("a row");
        (admitted.config().spec.linux().as_ref().and_then(|linux| linux.sysctl().clone()), row.missing)
    };
    let (set, missing) = of(&policy("hardened"));
    assert_eq!((set.map(|set| set.len()), missing), (Some(2), 0));
    let (set, missing) = of(&written("sysctl.allow = []"));
    assert_eq!((set.map(|set| set.len()), missing), (Some(0), 0));
    let more = docker_with(|c| c["linux"]["sysctl"]["net.core.somaxconn"] = json!("1024"));
    let denied = judge(more, &written("sysctl.allow = []"), &host()).unwrap_err();
    assert_eq!(rules_of(&denied), ["sysctl"]);
}

#[test]
fn ids_that_are_there_already_are_kept() {
    let text = engines::text("podman-userns");
    let asked = casemate_spec::parse(text.as_bytes()).unwrap();
    let admitted = judge(asked, &policy("hardened"), &host()).unwrap();
    assert_eq!(admitted.confinement().user_namespace, UserNamespace::AsAsked);
    // Whoever is in a user namespace has no range to give.
    let inside = HostFacts { in_user_namespace: true, ..host() };
    let admitted = judge(config(&docker()), &policy("hardened"), &inside).unwrap();
    assert_eq!(admitted.confinement().user_namespace, UserNamespace::AsAsked);
    let row = admitted.protections().iter().find(|row| row.name == "user-namespace").unwrap();
    assert_eq!(row.enforced, "inherited from the caller");
}

/// Root of other ids has no say over the host's network: where a policy admits the host's ids instead, they are used.
#[test]
fn what_is_shared_with_the_host_decides_over_ids() {
    let asked = || casemate_spec::parse(engines::text("ctr-hostnet").as_bytes()).unwrap();
    let admitted = judge(asked(), &policy("baseline"), &host()).unwrap();
    assert_eq!(admitted.confinement().user_namespace, UserNamespace::AsAsked);
    let relaxed = written("namespaces.shared_with_host = [\"...\", \"network\"]");
    let admitted = judge(asked(), &relaxed, &host()).unwrap();
    assert_eq!(admitted.confinement().user_namespace, UserNamespace::Own { fallback: Fallback::Refuse });
}

/// Where no range is to be had, a policy decides whether the host's ids will do, and the report says why.
#[test]
fn a_host_without_ids_to_give() {
    let none = HostFacts { no_range: Some("nfs has no id-mapped mounts".to_owned()), ..host() };
    let admitted = judge(config(&docker()), &policy("baseline"), &none).unwrap();
    assert_eq!(admitted.confinement().user_namespace, UserNamespace::AsAsked);
    let row = admitted.protections().iter().find(|row| row.name == "user-namespace").unwrap();
    assert_eq!(row.enforced, "the host's: nfs has no id-mapped mounts");
    let denied = judge(config(&docker()), &policy("hardened"), &none).unwrap_err();
    assert_eq!(rules_of(&denied), ["user-namespace"]);
    let relaxed = written("user_namespace.fallback = \"host\"");
    assert!(judge(config(&docker()), &relaxed, &none).is_ok());
}

/// The capability to bind low ports stays what it is in a network that was made beforehand, as for pods.
#[test]
fn low_ports_of_a_joined_network() {
    let pod = || casemate_spec::parse(engines::text("kubernetes").as_bytes()).unwrap();
    let set = |config: Config, policy: &Policy| {
        enforced(config, policy).0["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"].clone()
    };
    assert_eq!(set(pod(), &policy("hardened")), "0");
    assert_eq!(set(pod(), &policy("baseline")), "0");
    // No capability, no ports.
    assert_eq!(set(pod(), &policy("strict")), Value::Null);
    assert_eq!(set(pod(), &written("user_namespace.mode = \"as-asked\"")), Value::Null);
    assert_eq!(set(pod(), &written("sysctl.allow = []")), Value::Null);
    let own = docker_with(|c| drop(c["linux"].as_object_mut().unwrap().remove("sysctl")));
    assert_eq!(set(own, &policy("hardened")), Value::Null);
}
