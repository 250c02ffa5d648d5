//! Configurations, hosts and policies at random: what engines wrote, changed as a person or an engine might have.

use oci_spec::runtime::LinuxNamespaceType;
use proptest::prelude::*;

use super::*;

/// What may stand at a place of the configuration.
fn choices() -> Vec<(&'static str, Vec<Value>)> {
    let mut all = process_choices();
    all.extend(resource_choices());
    all.extend([
        ("root.readonly", vec![json!(true), json!(false)]),
        ("root.path", vec![json!("rootfs"), json!("/"), json!("../x"), json!("/proc/1/root")]),
        ("linux.maskedPaths", vec![json!([]), json!(["/proc/kcore", "/x"]), Value::Null]),
        ("linux.readonlyPaths", vec![json!([]), Value::Null]),
        ("linux.rootfsPropagation", vec![json!("rslave"), json!("shared"), json!("private")]),
        (
            "linux.devices",
            vec![json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]), json!([])],
        ),
        ("linux.sysctl", vec![json!({"net.ipv4.ping_group_range": "0 99999"}), json!({"net.core.x": "1"})]),
        ("linux.seccomp", vec![Value::Null, json!({"defaultAction": "SCMP_ACT_ALLOW"})]),
        ("linux.netDevices", vec![json!({"eth0": {}})]),
        (
            "linux.namespaces",
            vec![
                json!([]),
                json!([{"type": "mount"}, {"type": "user"}]),
                json!([{"type": "mount"}, {"type": "pid"}, {"type": "network", "path": "/run/netns/x"}]),
                json!([{"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                    {"type": "cgroup"}, {"type": "user", "path": "/proc/7/ns/user"}]),
            ],
        ),
        (
            "linux.uidMappings",
            vec![json!([{"containerID": 0, "hostID": 0, "size": 9}]), json!([]), Value::Null],
        ),
        ("linux", vec![Value::Null, json!({})]),
        ("hostname", vec![Value::Null, json!("x")]),
        ("mounts", vec![Value::Null, json!([])]),
    ]);
    all
}

fn process_choices() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("process.noNewPrivileges", vec![json!(true), json!(false)]),
        ("process.oomScoreAdj", vec![json!(-1000), json!(0), json!(500)]),
        ("process.user.uid", vec![json!(0), json!(1000), json!(65535), json!(65536), json!(4_000_000)]),
        ("process.user.additionalGids", vec![json!([]), json!([5, 70000])]),
        ("process.capabilities.ambient", vec![json!(["CAP_SYS_ADMIN"]), json!([]), Value::Null]),
        ("process.capabilities", vec![Value::Null, json!({"bounding": ["CAP_BPF", "CAP_KILL"]})]),
        (
            "process.rlimits",
            vec![
                json!([{"type": "RLIMIT_CORE", "hard": 5, "soft": 4}]),
                json!([{"type": "RLIMIT_NOFILE", "hard": u64::MAX, "soft": u64::MAX}]),
            ],
        ),
        ("process.scheduler", vec![json!({"policy": "SCHED_RR", "priority": 9}), Value::Null]),
    ]
}

fn resource_choices() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("linux.resources", vec![Value::Null, json!({})]),
        (
            "linux.resources.memory",
            vec![
                json!({"limit": -1, "swap": -1}),
                json!({"limit": 1 << 20, "swap": 1 << 20}),
                json!({"swap": 1 << 30}),
                json!({"reservation": 4u64 << 30, "disableOOMKiller": true}),
                Value::Null,
            ],
        ),
        ("linux.resources.pids", vec![json!({"limit": 0}), json!({"limit": 10}), json!({"limit": -1})]),
        (
            "linux.resources.cpu",
            vec![json!({"quota": 1000, "period": 5000}), json!({"period": 50_000}), json!({"quota": -1})],
        ),
        (
            "linux.resources.unified",
            vec![json!({"memory.max": "max", "cpu.max": "5"}), json!({"pids.max": "7", "cpu.max": "a b"})],
        ),
        (
            "linux.resources.devices",
            vec![
                json!([]),
                json!([{"allow": true, "access": "rwm"}]),
                json!([{"allow": true, "type": "b", "major": 8, "minor": -1, "access": "r"}]),
                json!([{"allow": false}, {"allow": true, "type": "c", "access": "m"}]),
            ],
        ),
    ]
}

fn change() -> impl Strategy<Value = (&'static str, Value)> {
    let flat = choices().into_iter().flat_map(|(at, all)| all.into_iter().map(move |value| (at, value)));
    proptest::sample::select(flat.collect::<Vec<_>>())
}

/// A mount of any kind.
fn mount() -> impl Strategy<Value = Value> {
    let kinds = ["bind", "tmpfs", "proc", "sysfs", "cgroup", "overlay", "ext4", "devpts", ""];
    let sources =
        ["/srv", "/", "/var/run/docker.sock", "tmpfs", "/dev/fuse", "../..", "/run", "/proc/1", "rel"];
    let places = ["/a", "/tmp", "/run/x", "/dev", "/proc", "/sys", "/var", "/a/../tmp", "rel"];
    let words = [
        "bind",
        "rbind",
        "ro",
        "rw",
        "nosuid",
        "suid",
        "noexec",
        "exec",
        "dev",
        "nodev",
        "rshared",
        "rslave",
        "private",
        "remount",
        "size=1m",
        "lowerdir=/:/x",
        "rro",
        "rsuid",
        "tmpcopyup",
    ];
    let words = proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..5);
    let pick = |list: &[&'static str]| proptest::sample::select(list.to_vec());
    (pick(&kinds), pick(&sources), pick(&places), words).prop_map(|(kind, source, place, words)| {
        json!({"type": kind, "source": source, "destination": place, "options": words})
    })
}

fn put(value: &mut Value, path: &str, to: Value) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = value;
    for part in parents.split('.').filter(|part| !part.is_empty()) {
        if !at[part].is_object() {
            at[part] = json!({});
        }
        at = &mut at[part];
    }
    if to.is_null() {
        at.as_object_mut().unwrap().remove(last);
    } else {
        at[last] = to;
    }
}

/// A configuration that parses.
pub(super) fn asked() -> impl Strategy<Value = Config> {
    let engines = proptest::sample::select(engines::TEXTS.iter().map(|(_, text)| *text).collect::<Vec<_>>());
    let changes = proptest::collection::vec(change(), 0..6);
    let mounts = proptest::collection::vec(mount(), 0..4);
    (engines, changes, mounts).prop_filter_map("not a configuration", |(text, changes, mounts)| {
        let mut value: Value = serde_json::from_str(text).unwrap();
        mounts.into_iter().for_each(|mount| add_mount(&mut value, mount));
        changes.into_iter().for_each(|(path, to)| put(&mut value, path, to));
        casemate_spec::parse(value.to_string().as_bytes()).ok()
    })
}

/// A host of some kind.
pub(super) fn facts() -> impl Strategy<Value = HostFacts> {
    let shared = proptest::sample::subsequence(
        vec![LinuxNamespaceType::Network, LinuxNamespaceType::User, LinuxNamespaceType::Pid],
        0..2,
    );
    (any::<bool>(), 0u32..8, shared, any::<bool>()).prop_map(|(inside, abi, shared, rootless)| HostFacts {
        host: Host { rootless: rootless && inside, shared },
        landlock_abi: abi,
        in_user_namespace: inside,
        ..host()
    })
}

/// A policy: one of those compiled in, with a few lines changed.
pub(super) fn any_policy() -> impl Strategy<Value = Policy> {
    let lines = [
        "no_new_privs = \"as-asked\"",
        "user_namespace.mode = \"as-asked\"",
        "user_namespace.fallback = \"host\"",
        "user_namespace.map_host_root = true",
        "capabilities.at_most = [\"CAP_KILL\", \"CAP_SYS_ADMIN\"]",
        "namespaces.shared_with_host = [\"...\", \"network\", \"pid\"]",
        "namespaces.add = [\"ipc\", \"uts\"]",
        "seccomp.profile = \"none\"",
        "seccomp.allow = [\"io_uring_setup\"]",
        "landlock.writable = [\"/srv\", \"/tmp\"]",
        "landlock.bind_tcp = [80]",
        "landlock.missing = \"refuse\"",
        "rootfs.read_only = false",
        "rootfs.tmpfs = [\"...\", \"/var/cache\"]",
        "rootfs.tmpfs_exec = true",
        "paths.masked = [\"/proc/kcore\", \"/proc/x\"]",
        "devices.allow = [\"...\", \"/dev/fuse\", \"b 8:*\"]",
        "devices.network = true",
        "mounts.deny_sources = [\"/srv/**\"]",
        "mounts.allow_sources = [\"/run/**\"]",
        "mounts.types = [\"*\"]",
        "mounts.propagation = \"shared\"",
        "mounts.writable_noexec = true",
        "limits.memory_max = \"1MiB\"",
        "limits.pids_max = 5",
        "limits.cpus_max = 0.5",
        "limits.swap = true",
        "limits.unbounded = true",
        "rlimits.nofile = 100",
        "sysctl.allow = [\"net.core.*\"]",
    ];
    let base = proptest::sample::select(Policy::BUILTIN.to_vec());
    let lines = proptest::sample::subsequence(lines.to_vec(), 0..5);
    (base, lines).prop_map(|(base, lines)| {
        let text = format!("extends = \"{base}\"\n{}", lines.join("\n"));
        load(&text, "generated.toml", &mut Builtin).unwrap()
    })
}
