//! Configurations and policies made of bytes: what real engines ask for, with parts changed, moved and left out.

use serde_json::{Value, json};

const ENGINES: [&str; 10] = [
    include_str!("../src/policy/testdata/docker.json"),
    include_str!("../src/policy/testdata/docker-privileged.json"),
    include_str!("../src/policy/testdata/docker-volumes.json"),
    include_str!("../src/policy/testdata/docker-host.json"),
    include_str!("../src/policy/testdata/docker-limits.json"),
    include_str!("../src/policy/testdata/podman.json"),
    include_str!("../src/policy/testdata/podman-userns.json"),
    include_str!("../src/policy/testdata/ctr.json"),
    include_str!("../src/spec/testdata/good.json"),
    include_str!("../src/spec/testdata/everything.json"),
];

/// Where a configuration is changed, beyond what is in it already.
const PLACES: [&str; 26] = [
    "/process/user/uid",
    "/process/noNewPrivileges",
    "/process/capabilities/bounding",
    "/process/capabilities/effective",
    "/process/capabilities/ambient",
    "/process/capabilities",
    "/process/rlimits",
    "/process/oomScoreAdj",
    "/root/readonly",
    "/root",
    "/mounts",
    "/mounts/0",
    "/mounts/1/options",
    "/mounts/2/source",
    "/mounts/3/type",
    "/mounts/4/destination",
    "/linux/namespaces",
    "/linux/uidMappings",
    "/linux/gidMappings",
    "/linux/devices",
    "/linux/resources/memory",
    "/linux/resources/pids",
    "/linux/resources/devices",
    "/linux/sysctl",
    "/linux/seccomp",
    "/linux/rootfsPropagation",
];

/// One change of a rule for every key of a policy.
const RULES: [&str; 40] = [
    "no_new_privs = \"as-asked\"",
    "user_namespace.mode = \"as-asked\"",
    "user_namespace.fallback = \"host\"",
    "user_namespace.map_host_root = true",
    "capabilities.profile = \"docker\"",
    "capabilities.profile = \"none\"",
    "capabilities.at_most = [\"...\", \"CAP_SYS_ADMIN\"]",
    "capabilities.at_most = [\"*\"]",
    "namespaces.shared_with_host = [\"...\", \"network\"]",
    "namespaces.shared_with_host = [\"*\"]",
    "namespaces.add = [\"cgroup\", \"uts\", \"ipc\"]",
    "seccomp.profile = \"docker\"",
    "seccomp.profile = \"none\"",
    "seccomp.allow = [\"io_uring_setup\", \"clone3\"]",
    "landlock.mode = \"off\"",
    "landlock.writable = [\"/tmp\", \"/data\"]",
    "landlock.missing = \"refuse\"",
    "landlock.bind_tcp = [80]",
    "rootfs.read_only = false",
    "rootfs.tmpfs = [\"/tmp\", \"/cache\"]",
    "rootfs.tmpfs_size = \"1MiB\"",
    "rootfs.tmpfs_exec = true",
    "paths.masked = []",
    "paths.read_only = [\"/proc/sys\", \"/sys\"]",
    "devices.allow = [\"...\", \"/dev/fuse\"]",
    "devices.allow = [\"*\"]",
    "devices.network = true",
    "mounts.deny_sources = []",
    "mounts.allow_sources = [\"/etc/ssh\"]",
    "mounts.types = [\"*\"]",
    "mounts.propagation = \"shared\"",
    "mounts.nosuid_nodev = false",
    "mounts.writable_noexec = true",
    "limits.memory = \"16MiB\"",
    "limits.memory_max = \"1GiB\"",
    "limits.swap = true",
    "limits.pids_max = 10",
    "limits.cpus = 0.5",
    "rlimits.nofile = 5",
    "sysctl.allow = [\"*\"]",
];

/// Bytes to choose by; zeros when they have run out.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// The next one.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// The text of a policy that loads, or of one with two rules that contradict.
    pub fn policy(&mut self) -> String {
        let parent = ["strict", "hardened", "baseline", "oci"][self.below(4)];
        let mut text = format!("extends = \"{parent}\"\n");
        for _ in 0..self.below(5) {
            let rule = RULES[self.below(RULES.len())];
            // A key stands once in a document.
            let key = rule.split('=').next().unwrap_or_default();
            if !text.contains(key) {
                text += rule;
                text.push('\n');
            }
        }
        text
    }

    /// A configuration of an engine, changed in a few places.
    pub fn configuration(&mut self) -> Value {
        let parse = |text: &str| -> Value { serde_json::from_str(text).expect("a document of ours") };
        let mut config = parse(ENGINES[self.below(ENGINES.len())]);
        for _ in 0..self.below(8) {
            let place = PLACES[self.below(PLACES.len())];
            let value = match self.byte() % 4 {
                // What another engine has there.
                0 => parse(ENGINES[self.below(ENGINES.len())]).pointer(place).cloned().unwrap_or(Value::Null),
                1 => Value::Null,
                _ => self.value(place),
            };
            put(&mut config, place, value);
        }
        config
    }

    /// Something that could stand at `place`.
    fn value(&mut self, place: &str) -> Value {
        let word = |all: &[&str], at: usize| json!(all[at % all.len()]);
        let at = self.below(256);
        match place.rsplit('/').next().unwrap_or_default() {
            "uid" | "oomScoreAdj" => json!(at),
            "noNewPrivileges" | "readonly" => json!(at & 1 == 0),
            "bounding" | "effective" | "ambient" => {
                json!([word(&["CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_NET_RAW", "CAP_BPF"], at)])
            }
            "rlimits" => json!([{ "type": word(&["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_NPROC"], at),
                "soft": at, "hard": 1_u64 << (at % 64) }]),
            "mounts" | "0" => self.mounts(place == "/mounts"),
            "options" => {
                json!([word(&["rw", "ro", "rshared", "exec", "suid", "rbind", "idmap", "size=1g"], at)])
            }
            "source" => {
                word(&["/", "/var/run/docker.sock", "/proc", "/dev/../etc", "//", "/data", "tmpfs"], at)
            }
            "type" => word(&["bind", "tmpfs", "proc", "nfs", "overlay", "none", "cgroup"], at),
            "destination" => {
                word(&["/", "/proc", "/proc/sys", "/data/../tmp", "/dev/shm", "relative", "/tmp/"], at)
            }
            "namespaces" => {
                json!([{ "type": "mount" }, { "type": word(&["user", "pid", "network", "time"], at) },
                { "type": "ipc", "path": word(&["/proc/1/ns/ipc", "/proc/9/ns/ipc", "/run/ipc"], at) }])
            }
            "uidMappings" | "gidMappings" => {
                json!([{ "containerID": 0, "hostID": word_number(at), "size": 1 + at }])
            }
            "devices" if place.contains("resources") => {
                json!([{ "allow": at & 1 == 0, "access": "rwm", "type": "b", "major": 8 }, { "allow": false }])
            }
            "devices" => json!([{ "type": "c", "path": word(&["/dev/null", "/dev/kmsg", "/dev/fuse"], at),
                "major": 1, "minor": at, "fileMode": 438, "uid": 0, "gid": 0 }]),
            "memory" => json!({ "limit": word_number(at), "swap": word_number(at / 16) }),
            "pids" => json!({ "limit": word_number(at) }),
            "sysctl" => {
                json!({ word(&["kernel.sem", "net.ipv4.ip_forward", "vm.swappiness", "net.ipv4.ping_group_range"], at)
                .as_str().unwrap_or_default(): "0 2147483647" })
            }
            "rootfsPropagation" => word(&["private", "rshared", "slave"], at),
            "seccomp" => json!({ "defaultAction": word(&["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"], at) }),
            _ => json!({}),
        }
    }

    fn mounts(&mut self, list: bool) -> Value {
        let (at, to) = (self.below(8), self.below(8));
        let sources = ["/", "/data", "/var/run/docker.sock", "/etc", "/home/x", "/dev/sda", "/proc", "/sys"];
        let places = ["/tmp", "/data", "/etc/hosts", "/dev/shm", "/proc/kcore", "/run", "/", "/sys"];
        let one = json!({ "destination": places[to], "type": "bind", "source": sources[at],
            "options": ["rbind", if at & 1 == 0 { "rw" } else { "ro" }] });
        if list { json!([one, { "destination": "/proc", "type": "proc", "source": "proc" }]) } else { one }
    }
}

fn word_number(at: usize) -> i64 {
    [-1, 0, 1, 1000, 100_000, 1 << 26, 1 << 31, i64::MAX][at % 8]
}

/// Puts `value` at `place` where there is something to hold it; null takes away.
fn put(config: &mut Value, place: &str, value: Value) {
    let (parent, key) = place.rsplit_once('/').unwrap_or_default();
    match config.pointer_mut(parent) {
        Some(Value::Object(fields)) if value.is_null() => drop(fields.remove(key)),
        Some(Value::Object(fields)) => drop(fields.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => {
            if let Some(item) = key.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                *item = value;
            }
        }
        _ => {}
    }
}
