//! From a [`Container`] as it was asked for to the runtime's configuration: field by field, and nothing else.
//!
//! Defaults are Docker's, because images are made for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    BoxBuilder as WindowBuilder, Capabilities, Capability, Hook, Hooks, Linux, LinuxCapabilities,
    LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, LinuxResources,
    Mount as OciMount, Process, Root, Spec,
};

use super::{Bind, Container, HexId, Mount, MountKind, NamespaceOf, Propagation, Streams};
use crate::{Error, Result};

/// The configuration's version.
const VERSION: &str = "1.3.0";
/// How long the hook may take, in seconds.
const HOOK_PATIENCE: i64 = 60;
/// Where a container finds our init.
const INIT: &str = "/sbin/docker-init";

/// What the broker has found out or made for one container. Paths are of its own making.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The control group; where it is empty, the runtime's choice.
    pub cgroup: String,
    /// The annotation by which a policy is asked for, where one is.
    pub policy: Option<(String, String)>,
    /// Of each volume that is mounted, by its mount's place in [`Container::mounts`].
    pub volumes: BTreeMap<usize, PathBuf>,
    /// Small files: destination, and where they lie.
    pub files: Vec<(&'static str, PathBuf)>,
    /// Namespaces of other containers.
    pub joined: BTreeMap<(HexId, &'static str), PathBuf>,
    /// Our init.
    pub init: PathBuf,
    /// The command line that connects its network namespace before its first instruction, where something is to be
    /// connected. No request can name a hook.
    pub hook: Option<Vec<String>>,
}

/// The configuration, and the destinations of those bind mounts whose sources lie in the store.
#[derive(Debug, Clone)]
pub struct Written {
    /// `config.json`
    pub spec: Spec,
    /// For the runtime's store document.
    pub binds: Vec<String>,
}

impl Container {
    /// Writes the configuration.
    ///
    /// # Errors
    /// A place is missing in `places`.
    pub fn to_config(&self, places: &Places) -> Result<Written> {
        let (mounts, binds) = self.all_mounts(places)?;
        let mut spec = Spec::default();
        let mut annotations: std::collections::HashMap<_, _> = self.annotations.clone().into_iter().collect();
        annotations.extend(places.policy.clone());
        let mut root = Root::default();
        root.set_path("rootfs".into()).set_readonly(Some(self.root.read_only));
        let mut process = self.process.clone();
        if self.init {
            let mut args = vec![INIT.to_owned(), "--".to_owned()];
            args.extend(process.args().iter().flatten().cloned());
            process.set_args(Some(args));
        }
        spec.set_version(VERSION.to_owned())
            .set_root(Some(root))
            .set_process(Some(process))
            .set_hostname(self.hostname.clone())
            .set_domainname(self.domainname.clone())
            .set_mounts(Some(mounts))
            .set_annotations(Some(annotations))
            .set_linux(Some(self.linux(places)?))
            .set_hooks(places.hook.as_deref().map(hooks));
        Ok(Written { spec, binds })
    }

    fn linux(&self, places: &Places) -> Result<Linux> {
        let mut linux = Linux::default();
        let or = |asked: &Option<Vec<String>>, usual: &[&str]| {
            asked.clone().unwrap_or_else(|| usual.iter().map(|path| (*path).to_owned()).collect())
        };
        linux
            .set_namespaces(Some(self.namespace_list(places)?))
            .set_resources(Some(with_device_rules(&self.resources, &self.devices)))
            .set_devices(Some(self.devices.clone()))
            .set_cgroups_path((!places.cgroup.is_empty()).then(|| places.cgroup.clone().into()))
            .set_sysctl(Some(self.sysctl.clone().into_iter().collect()))
            .set_seccomp(self.seccomp.clone())
            .set_masked_paths(Some(or(&self.masked_paths, &MASKED)))
            .set_readonly_paths(Some(or(&self.readonly_paths, &READ_ONLY)))
            .set_rootfs_propagation(self.root_propagation());
        Ok(linux)
    }

    /// A mount can be the peer of one on the host only where its root is.
    fn root_propagation(&self) -> Option<String> {
        let has = |wanted| {
            self.mounts.iter().any(|m| matches!(&m.kind, MountKind::Bind(bind) if bind.propagation == wanted))
        };
        let kind = match (has(Propagation::Shared), has(Propagation::Slave)) {
            (true, _) => "rshared",
            (false, true) => "rslave",
            (false, false) => return None,
        };
        Some(kind.to_owned())
    }

    fn namespace_list(&self, places: &Places) -> Result<Vec<LinuxNamespace>> {
        let mut list = vec![namespace(LinuxNamespaceType::Mount, None)];
        for (kind, name, whose) in self.namespaces.all() {
            match whose {
                // Without a word of ours the policy gives a range of ids; with one it would have to be told which.
                NamespaceOf::Own if kind == LinuxNamespaceType::User => {}
                NamespaceOf::Own => list.push(namespace(kind, None)),
                NamespaceOf::Host => {}
                NamespaceOf::Container(id) => {
                    let missing = || Error::new(format!("{name} namespace"), format!("{id} is not known"));
                    let path = places.joined.get(&(id.clone(), name)).ok_or_else(missing)?;
                    list.push(namespace(kind, Some(path.clone())));
                }
            }
        }
        Ok(list)
    }

    fn all_mounts(&self, places: &Places) -> Result<(Vec<OciMount>, Vec<String>)> {
        let taken = |destination: &str| self.mounts.iter().any(|mount| mount.destination == destination);
        let mut list: Vec<OciMount> = usual(self.namespaces.ipc == NamespaceOf::Host)
            .into_iter()
            .filter(|mount| !mount.destination().to_str().is_some_and(taken))
            .collect();
        let mut binds = Vec::new();
        for (index, mount) in self.mounts.iter().enumerate() {
            let volume = places.volumes.get(&index);
            if matches!(mount.kind, MountKind::Volume { .. }) {
                binds.push(mount.destination.clone());
            }
            list.push(one(mount, volume)?);
        }
        // After the rest: a volume at /etc does not hide them.
        for (destination, source) in places.files.iter().filter(|(destination, _)| !taken(destination)) {
            list.push(entry(destination, "bind", source, &["bind", "rprivate"]));
            binds.push((*destination).to_owned());
        }
        if self.init && !taken(INIT) {
            list.push(entry(INIT, "bind", &places.init, &["bind", "rprivate", "ro", "nosuid", "nodev"]));
        }
        Ok((list, binds))
    }
}

impl super::Namespaces {
    /// Each with its OCI kind and the file of `/proc/PID/ns` that stands for it.
    pub fn all(&self) -> [(LinuxNamespaceType, &'static str, &NamespaceOf); 6] {
        [
            (LinuxNamespaceType::User, "user", &self.user),
            (LinuxNamespaceType::Network, "net", &self.network),
            (LinuxNamespaceType::Pid, "pid", &self.pid),
            (LinuxNamespaceType::Ipc, "ipc", &self.ipc),
            (LinuxNamespaceType::Uts, "uts", &self.uts),
            (LinuxNamespaceType::Cgroup, "cgroup", &self.cgroup),
        ]
    }
}

impl Streams {
    /// Gives a process the terminal that its streams ask for, or none.
    pub fn apply_to(&self, process: &mut Process) {
        process.set_terminal(Some(self.tty));
        process.set_console_size(self.size.filter(|_| self.tty).map(|(rows, columns)| {
            // Both are there: it does not fail.
            WindowBuilder::default().height(rows).width(columns).build().unwrap_or_default()
        }));
    }
}

/// Gives a process every capability there is: its policy leaves it those that it admits.
pub fn all_capabilities(process: &mut Process) {
    let all: Capabilities = CAPABILITIES.into_iter().collect();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(all.clone())).set_effective(Some(all.clone())).set_permitted(Some(all));
    sets.set_inheritable(None).set_ambient(None);
    process.set_capabilities(Some(sets));
}

fn hooks(words: &[String]) -> Hooks {
    let mut hook = Hook::default();
    hook.set_path(words.first().map(PathBuf::from).unwrap_or_default());
    hook.set_args(Some(words.to_vec())).set_env(Some(Vec::new())).set_timeout(Some(HOOK_PATIENCE));
    let mut hooks = Hooks::default();
    hooks.set_create_runtime(Some(vec![hook]));
    hooks
}

fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path);
    namespace
}

/// Everything is forbidden first. Devices that are there to be used are allowed where no rule is given at all.
fn with_device_rules(asked: &LinuxResources, devices: &[LinuxDevice]) -> LinuxResources {
    let rule = |allow, kind, major, minor| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(allow).set_typ(kind).set_major(major).set_minor(minor);
        rule.set_access(Some("rwm".to_owned()));
        rule
    };
    let mut rules = vec![rule(false, None::<LinuxDeviceType>, None, None)];
    match asked.devices().as_ref().filter(|given| !given.is_empty()) {
        Some(given) => rules.extend(given.iter().cloned()),
        None => rules.extend(
            devices
                .iter()
                .map(|device| rule(true, Some(device.typ()), Some(device.major()), Some(device.minor()))),
        ),
    }
    let mut resources = asked.clone();
    resources.set_devices(Some(rules));
    resources
}

/// What every container has mounted.
fn usual(hosts_ipc: bool) -> Vec<OciMount> {
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    let devices = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut list = vec![
        entry("/proc", "proc", Path::new("proc"), &safe),
        entry("/dev", "tmpfs", Path::new("tmpfs"), &devices),
        entry("/dev/pts", "devpts", Path::new("devpts"), &terminals),
        entry("/sys", "sysfs", Path::new("sysfs"), &with(&["ro"])),
        entry("/sys/fs/cgroup", "cgroup", Path::new("cgroup"), &with(&["ro"])),
    ];
    if hosts_ipc {
        for place in ["/dev/mqueue", "/dev/shm"] {
            list.push(entry(place, "bind", Path::new(place), &with(&["rbind"])));
        }
    } else {
        list.push(entry("/dev/mqueue", "mqueue", Path::new("mqueue"), &safe));
        list.push(entry("/dev/shm", "tmpfs", Path::new("shm"), &with(&["mode=1777", "size=65536k"])));
    }
    list
}

fn one(mount: &Mount, volume: Option<&PathBuf>) -> Result<OciMount> {
    let mut made = match &mount.kind {
        MountKind::Bind(bind) => {
            entry(&mount.destination, "bind", Path::new(&bind.source), &[graft(bind), travel(bind)])
        }
        MountKind::Volume { volume: id, .. } => {
            let source = volume.ok_or_else(|| Error::new("volume", format!("{id} has no place")))?;
            entry(&mount.destination, "bind", source, &["rbind", "rprivate"])
        }
        MountKind::Tmpfs { options } => {
            let words: Vec<&str> = options.iter().map(String::as_str).collect();
            entry(&mount.destination, "tmpfs", Path::new("tmpfs"), &words)
        }
    };
    if mount.read_only {
        made.options_mut().get_or_insert_with(Vec::new).push("ro".to_owned());
    }
    Ok(made)
}

fn graft(bind: &Bind) -> &'static str {
    if bind.recursive { "rbind" } else { "bind" }
}

fn travel(bind: &Bind) -> &'static str {
    match bind.propagation {
        Propagation::Private => "rprivate",
        Propagation::Slave => "rslave",
        Propagation::Shared => "rshared",
    }
}

fn entry(destination: &str, kind: &str, source: &Path, options: &[&str]) -> OciMount {
    let mut mount = OciMount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options.iter().map(|word| (*word).to_owned()).collect()));
    mount
}

/// capabilities(7)
const CAPABILITIES: [Capability; 41] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Kill,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetAdmin,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetRaw,
    Capability::Perfmon,
    Capability::Setgid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];
/// Docker's: memory and hardware of the host, and what tells what others do.
pub const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
/// Docker's: settings of the whole kernel.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(change: impl FnOnce(&mut Value)) -> Container {
        let own = "own";
        let mut document = json!({
            "tenant": "t", "policy": null, "root": { "layers": [], "readOnly": true },
            "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "cwd": "/" },
            "hostname": "h", "domainname": null,
            "namespaces": { "network": own, "pid": own, "ipc": own, "uts": own, "cgroup": own, "user": own },
            "mounts": [], "devices": [], "resources": {}, "sysctl": {}, "seccomp": null, "unconfined": false,
            "maskedPaths": null, "readonlyPaths": null, "init": false, "annotations": {},
        });
        change(&mut document);
        serde_json::from_value(document).expect("a container")
    }

    fn written(container: &Container, places: &Places) -> (Value, Vec<String>) {
        let written = container.to_config(places).expect("a configuration");
        let value = serde_json::to_value(&written.spec).expect("JSON");
        let bytes = serde_json::to_vec(&written.spec).expect("JSON");
        let read = crate::parse(&bytes).expect("the runtime reads it");
        assert_eq!(read.ignored, Vec::<String>::new());
        (value, written.binds)
    }

    #[test]
    fn what_is_mounted_twice_is_mounted_as_asked() {
        let id = "a".repeat(64);
        let container = asked(|c| {
            c["mounts"] = json!([
                { "destination": "/dev/shm", "kind": { "tmpfs": { "options": ["size=1g"] } }, "readOnly": false },
                { "destination": "/data", "kind": { "volume": { "volume": id, "subpath": null } }, "readOnly": true },
            ]);
            c["init"] = json!(true);
        });
        let places = Places {
            volumes: BTreeMap::from([(1, "/store/v/_data".into())]),
            files: vec![("/etc/hosts", "/store/c/hosts".into())],
            init: "/libexec/casemate-shim".into(),
            ..Places::default()
        };
        let (config, binds) = written(&container, &places);
        let mounts = config["mounts"].as_array().expect("mounts");
        let at = |place: &str| mounts.iter().filter(|m| m["destination"] == place).collect::<Vec<_>>();
        assert_eq!(at("/dev/shm").len(), 1);
        assert_eq!(at("/dev/shm")[0]["options"], json!(["size=1g"]));
        assert_eq!(at("/data")[0]["source"], "/store/v/_data");
        assert_eq!(at("/data")[0]["options"], json!(["rbind", "rprivate", "ro"]));
        assert_eq!(binds, ["/data", "/etc/hosts"]);
        assert_eq!(config["process"]["args"], json!(["/sbin/docker-init", "--", "sh"]));
        assert_eq!(at("/sbin/docker-init").len(), 1);
        assert!(Container::to_config(&container, &Places::default()).is_err(), "a volume without a place");
    }

    #[test]
    fn hooks_and_paths_of_namespaces_have_no_word() {
        let id = "b".repeat(64);
        let container = asked(|c| {
            c["namespaces"]["network"] = json!({ "container": id });
            c["namespaces"]["pid"] = json!("host");
        });
        assert!(container.to_config(&Places::default()).is_err(), "a container that is not known");
        let key = (id.parse().expect("an id"), "net");
        let places = Places { joined: BTreeMap::from([(key, "/proc/7/ns/net".into())]), ..Places::default() };
        let (config, _) = written(&container, &places);
        let list = config["linux"]["namespaces"].as_array().expect("namespaces");
        let kinds: Vec<&str> = list.iter().filter_map(|n| n["type"].as_str()).collect();
        assert_eq!(kinds, ["mount", "network", "ipc", "uts", "cgroup"]);
        assert_eq!(list[1]["path"], "/proc/7/ns/net");
        assert!(config.get("hooks").is_none());
        assert_eq!(config["linux"]["maskedPaths"].as_array().map(Vec::len), Some(MASKED.len()));
    }

    #[test]
    fn devices_are_forbidden_first() {
        let device = json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 });
        let rules = |container: &Container| {
            let (config, _) = written(container, &Places::default());
            config["linux"]["resources"]["devices"].clone()
        };
        let container = asked(|c| c["devices"] = json!([device]));
        let made = rules(&container);
        assert_eq!((made[0]["allow"].clone(), made[1]["minor"].clone()), (json!(false), json!(229)));
        let container = asked(|c| {
            c["devices"] = json!([device]);
            c["resources"]["devices"] =
                json!([{ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" }]);
        });
        assert_eq!(rules(&container)[1]["access"], "r");
        assert_eq!(rules(&container).as_array().map(Vec::len), Some(2));
    }
}
