//! Every property a Linux configuration has (runtime-spec 1.3: config.md, config-linux.md), as data.

use Shape::{Any, Capabilities, List, Map, Namespaces, Object, Optional, SchedulerFlags, Size};

/// What may stand at a place of the document. Types are the typed parse's business, names are ours.
#[derive(Debug)]
pub enum Shape {
    /// A value without known names inside.
    Any,
    /// Text, where empty means the same as absent.
    Optional,
    /// A number of bytes that the specification lets reach 2^64-1, and the typed parse 2^63-1.
    Size,
    /// An object with these properties.
    Object(&'static [(&'static str, &'static Shape)]),
    /// An object with any properties, all alike.
    Map(&'static Shape),
    /// An array of items, all alike.
    List(&'static Shape),
    /// Names of capabilities: a runtime warns of those it does not know.
    Capabilities,
    /// Flags of the scheduler, some of which the typed parse spells in its own way.
    SchedulerFlags,
    /// Namespaces; an empty path means a new one.
    Namespaces,
}

/// `config.json`.
pub static SPEC: Shape = Object(&[
    ("ociVersion", &Any),
    ("root", &Object(&[("path", &Any), ("readonly", &Any)])),
    ("mounts", &List(&MOUNT)),
    ("process", &PROCESS),
    ("hostname", &Optional),
    ("domainname", &Optional),
    ("hooks", &HOOKS),
    ("annotations", &Map(&Any)),
    ("linux", &LINUX),
]);

/// `process`, also `exec --process`'s document.
pub static PROCESS: Shape = Object(&[
    ("terminal", &Any),
    ("consoleSize", &Object(&[("height", &Any), ("width", &Any)])),
    ("user", &USER),
    ("args", &List(&Any)),
    ("env", &List(&Any)),
    ("cwd", &Any),
    ("capabilities", &CAPABILITIES),
    ("rlimits", &List(&Object(&[("type", &Any), ("hard", &Any), ("soft", &Any)]))),
    ("noNewPrivileges", &Any),
    ("apparmorProfile", &Optional),
    ("oomScoreAdj", &Any),
    ("selinuxLabel", &Optional),
    ("ioPriority", &Object(&[("class", &Any), ("priority", &Any)])),
    ("scheduler", &SCHEDULER),
    ("execCPUAffinity", &Object(&[("initial", &Optional), ("final", &Optional)])),
]);

static USER: Shape = Object(&[
    ("uid", &Any),
    ("gid", &Any),
    ("umask", &Any),
    ("additionalGids", &List(&Any)),
    // For other platforms; harmless here.
    ("username", &Any),
]);

static CAPABILITIES: Shape = Object(&[
    ("bounding", &Capabilities),
    ("effective", &Capabilities),
    ("inheritable", &Capabilities),
    ("permitted", &Capabilities),
    ("ambient", &Capabilities),
]);

static SCHEDULER: Shape = Object(&[
    ("policy", &Any),
    ("nice", &Any),
    ("priority", &Any),
    ("flags", &SchedulerFlags),
    ("runtime", &Any),
    ("deadline", &Any),
    ("period", &Any),
]);

static MOUNT: Shape = Object(&[
    ("destination", &Any),
    ("type", &Optional),
    ("source", &Optional),
    ("options", &List(&Any)),
    ("uidMappings", &List(&ID_MAPPING)),
    ("gidMappings", &List(&ID_MAPPING)),
]);

static ID_MAPPING: Shape = Object(&[("containerID", &Any), ("hostID", &Any), ("size", &Any)]);

static HOOKS: Shape = Object(&[
    ("prestart", &List(&HOOK)),
    ("createRuntime", &List(&HOOK)),
    ("createContainer", &List(&HOOK)),
    ("startContainer", &List(&HOOK)),
    ("poststart", &List(&HOOK)),
    ("poststop", &List(&HOOK)),
]);

static HOOK: Shape =
    Object(&[("path", &Any), ("args", &List(&Any)), ("env", &List(&Any)), ("timeout", &Any)]);

static LINUX: Shape = Object(&[
    ("uidMappings", &List(&ID_MAPPING)),
    ("gidMappings", &List(&ID_MAPPING)),
    ("sysctl", &Map(&Any)),
    ("resources", &RESOURCES),
    ("cgroupsPath", &Optional),
    ("namespaces", &Namespaces),
    ("devices", &List(&DEVICE)),
    ("netDevices", &Map(&Object(&[("name", &Optional)]))),
    ("seccomp", &SECCOMP),
    ("rootfsPropagation", &Optional),
    ("maskedPaths", &List(&Any)),
    ("readonlyPaths", &List(&Any)),
    ("mountLabel", &Optional),
    ("intelRdt", &INTEL_RDT),
    ("memoryPolicy", &Object(&[("mode", &Any), ("nodes", &Optional), ("flags", &List(&Any))])),
    ("personality", &Object(&[("domain", &Any), ("flags", &List(&Any))])),
    ("timeOffsets", &Map(&Object(&[("secs", &Any), ("nanosecs", &Any)]))),
]);

/// One of `linux.namespaces`.
pub static NAMESPACE: Shape = Object(&[("type", &Any), ("path", &Optional)]);

static DEVICE: Shape = Object(&[
    ("path", &Any),
    ("type", &Any),
    ("major", &Any),
    ("minor", &Any),
    ("fileMode", &Any),
    ("uid", &Any),
    ("gid", &Any),
]);

static INTEL_RDT: Shape = Object(&[
    ("closID", &Optional),
    ("schemata", &List(&Any)),
    ("l3CacheSchema", &Optional),
    ("memBwSchema", &Optional),
    ("enableCMT", &Any),
    ("enableMBM", &Any),
    ("enableMonitoring", &Any),
]);

static SECCOMP: Shape = Object(&[
    ("defaultAction", &Any),
    ("defaultErrnoRet", &Any),
    ("architectures", &List(&Any)),
    ("flags", &List(&Any)),
    ("listenerPath", &Optional),
    ("listenerMetadata", &Optional),
    ("syscalls", &List(&SYSCALL)),
]);

static SYSCALL: Shape = Object(&[
    ("names", &List(&Any)),
    ("action", &Any),
    ("errnoRet", &Any),
    ("args", &List(&Object(&[("index", &Any), ("value", &Any), ("valueTwo", &Any), ("op", &Any)]))),
]);

/// `linux.resources`, also `update --resources`'s document.
pub static RESOURCES: Shape = Object(&[
    ("devices", &List(&DEVICE_RULE)),
    ("memory", &MEMORY),
    ("cpu", &CPU),
    ("pids", &Object(&[("limit", &Any)])),
    ("blockIO", &BLOCK_IO),
    ("hugepageLimits", &List(&Object(&[("pageSize", &Any), ("limit", &Size)]))),
    ("network", &NETWORK),
    ("rdma", &Map(&Object(&[("hcaHandles", &Any), ("hcaObjects", &Any)]))),
    ("unified", &Map(&Any)),
]);

static DEVICE_RULE: Shape =
    Object(&[("allow", &Any), ("type", &Optional), ("major", &Any), ("minor", &Any), ("access", &Optional)]);

static MEMORY: Shape = Object(&[
    ("limit", &Any),
    ("reservation", &Any),
    ("swap", &Any),
    ("kernel", &Any),
    ("kernelTCP", &Any),
    ("swappiness", &Any),
    ("disableOOMKiller", &Any),
    ("useHierarchy", &Any),
    ("checkBeforeUpdate", &Any),
]);

static CPU: Shape = Object(&[
    ("shares", &Any),
    ("quota", &Any),
    ("burst", &Any),
    ("period", &Any),
    ("realtimeRuntime", &Any),
    ("realtimePeriod", &Any),
    ("cpus", &Optional),
    ("mems", &Optional),
    ("idle", &Any),
]);

static BLOCK_IO: Shape = Object(&[
    ("weight", &Any),
    ("leafWeight", &Any),
    ("weightDevice", &List(&DEVICE_WEIGHT)),
    ("throttleReadBpsDevice", &List(&THROTTLE)),
    ("throttleWriteBpsDevice", &List(&THROTTLE)),
    ("throttleReadIOPSDevice", &List(&THROTTLE)),
    ("throttleWriteIOPSDevice", &List(&THROTTLE)),
]);

static DEVICE_WEIGHT: Shape =
    Object(&[("major", &Any), ("minor", &Any), ("weight", &Any), ("leafWeight", &Any)]);

static THROTTLE: Shape = Object(&[("major", &Any), ("minor", &Any), ("rate", &Any)]);

static NETWORK: Shape =
    Object(&[("classID", &Any), ("priorities", &List(&Object(&[("name", &Any), ("priority", &Any)])))]);
