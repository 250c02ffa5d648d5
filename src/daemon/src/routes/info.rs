//! `GET /info`: what this host and this engine are, said honestly.

use casemate_engine::containers::Status;
use casemate_engine::{Engine, Result, clock};
use serde_json::{Value, json};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] =
    &[Route::new(Verb::Get, "/info", "system.info", Subject::Tenant, |call| Box::pin(info(call)))];

async fn info(call: Call) -> Result<Answer> {
    let mut all = host(&call.engine);
    for part in [counts(&call), engine(&call.engine), absent()] {
        if let (Value::Object(all), Value::Object(part)) = (&mut all, part) {
            all.extend(part);
        }
    }
    Ok(Answer::ok(&all))
}

/// The tenant's own.
fn counts(call: &Call) -> Value {
    let tenant = &call.caller.tenant;
    let containers = call.engine.containers.of(tenant);
    let having = |wanted: &[Status]| {
        containers.iter().filter(|container| wanted.contains(&container.state().status)).count()
    };
    let (running, paused) = (having(&[Status::Running, Status::Restarting]), having(&[Status::Paused]));
    json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": call.engine.images.all(tenant).len(),
    })
}

fn host(engine: &Engine) -> Value {
    let name = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({
        "ID": identity(engine),
        "Name": text(name.nodename()),
        "KernelVersion": text(name.release()),
        "OperatingSystem": "Linux",
        "OSType": "linux",
        "OSVersion": "",
        "Architecture": text(name.machine()),
        "NCPU": processors,
        "MemTotal": rustix::system::sysinfo().totalram,
        "SystemTime": clock::rfc3339(clock::now()),
        "CgroupDriver": engine.host.cgroup_driver,
        "CgroupVersion": engine.host.cgroup_version.to_string(),
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
        "OomKillDisable": engine.host.cgroup_version == 1,
        "IPv4Forwarding": true,
    })
}

fn engine(engine: &Engine) -> Value {
    let host = &engine.host;
    let policy = engine.settings.policy.as_ref().map_or(host.policy.as_str(), |policy| policy.as_str());
    let runtime = |name: &str| (name.to_owned(), json!({ "path": "runtime" }));
    let named = host.policies.iter().map(|policy| runtime(&format!("casemate-{policy}")));
    let runtimes: serde_json::Map<_, _> = std::iter::once(runtime("casemate")).chain(named).collect();
    json!({
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", host.filesystem],
            ["Supports d_type", "true"],
            ["Native Overlay Diff", "true"],
            ["userxattr", "true"],
            ["Id-mapped layers", "true"],
            ["Project quotas", host.quotas.to_string()],
        ],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "macvlan", "null"],
            "Authorization": ["cedar"],
            "Log": ["journald", "json-file", "none"],
        },
        "LoggingDriver": engine.settings.log_driver,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": runtimes,
        "DefaultRuntime": "casemate",
        "DockerRootDir": host.data_root,
        "LiveRestoreEnabled": engine.settings.live_restore,
        "InitBinary": "casemate-shim",
        "SecurityOptions": security(host.rootless, policy),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": {
                    "Name": "docker.io",
                    "Mirrors": engine.settings.registry_mirrors,
                    "Secure": true,
                    "Official": true,
                },
            },
            "Mirrors": engine.settings.registry_mirrors,
        },
        "DefaultAddressPools": pools(engine),
        "Warnings": warnings(engine),
    })
}

/// What confines a container that asks for nothing. A policy that the operator chose may leave some of it away: what a
/// container really has is in its own report.
fn security(rootless: bool, policy: &str) -> Vec<String> {
    let mut options = vec![
        format!("name=casemate,policy={policy}"),
        format!("name=seccomp,profile={policy}"),
        "name=landlock".to_owned(),
        "name=userns".to_owned(),
        "name=cgroupns".to_owned(),
    ];
    if rootless {
        options.push("name=rootless".to_owned());
    }
    options
}

/// Those that the operator has chosen; null for the usual ones.
fn pools(engine: &Engine) -> Option<Vec<Value>> {
    let pools = engine.settings.pools.iter().map(|pool| json!({ "Base": pool.base, "Size": pool.size }));
    (!engine.settings.pools.is_empty()).then(|| pools.collect())
}

fn warnings(engine: &Engine) -> Vec<String> {
    let mut warnings = Vec::new();
    if !engine.host.quotas {
        let what = "WARNING: no limit of what a container may write to its own layer";
        warnings.push(format!("{what}: {} here has no project quotas", engine.host.filesystem));
    }
    for registry in &engine.settings.insecure_registries {
        warnings.push(format!("WARNING: registry {registry} is spoken to without TLS where it has none"));
    }
    warnings
}

/// What clients look for, and is not here.
fn absent() -> Value {
    json!({
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
        "GenericResources": null,
        "Debug": false,
        "NFd": -1,
        "NGoroutines": 1,
        "NEventsListener": 0,
        "KernelMemoryTCP": false,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ExperimentalBuild": false,
        "Isolation": "",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "CDISpecDirs": [],
    })
}

/// The same for one data root as long as it is there, as clients expect; it says nothing else.
fn identity(engine: &Engine) -> String {
    let seed = casemate_engine::images::sha256(engine.host.data_root.as_bytes());
    let digits = seed.as_str();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
