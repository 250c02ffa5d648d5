//! A container as it is asked of the broker. What is asked is Docker's; what comes of it is the policy's.

use std::collections::BTreeMap;

use casemate_spec::wire::{
    self, Bind, Files, HexId, LogOrder, Mount, MountKind, NamespaceOf, Namespaces, PolicyName, Propagation,
    Root, Streams,
};
use oci_spec::runtime::{LinuxSeccomp, Process, User};

use super::modes::{self, Shared};
use super::security::{self, SeccompAsked, Security};
use super::{
    Container, HostConfig, MountPoint, PointKind, capabilities, devices, limits, log, seccomp, texts,
};
use crate::files::volumes::Backing;
use crate::{Engine, Failure, Result, networks};

/// Docker's search path.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of /dev/shm that every container has.
const SHM: i64 = 64 << 20;
/// What is meant for the runtime.
const OURS: &str = "io.casemate.";

/// Why a container is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be started: whoever it shares with must run.
    Start,
    /// To be judged: whoever it shares with may start later.
    Check,
}

/// Translates for `Start`.
///
/// # Errors
/// Somebody with whom it is to share does not run, or is gone.
pub fn wire(engine: &Engine, container: &Container) -> Result<(wire::Container, Streams, Files)> {
    let translated = translate(engine, container, Purpose::Start)?;
    Ok((translated, streams(container)?, texts::files(engine, container)?))
}

/// A container's standard streams.
///
/// # Errors
/// A log option is none.
pub fn streams(container: &Container) -> Result<Streams> {
    let (config, host_config) = (&container.config, container.host_config());
    let [rows, columns] = host_config.console_size.map(|length| u16::try_from(length).unwrap_or(u16::MAX));
    Ok(Streams {
        tty: config.tty,
        size: (config.tty && rows > 0 && columns > 0).then_some((rows, columns)),
        stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        log: log_order(container)?,
    })
}

/// Where a container's output is kept.
///
/// # Errors
/// A log option is none.
pub fn log_order(container: &Container) -> Result<LogOrder> {
    log::order(container, &container.host_config().log_config)
}

/// Translates all but streams and small files.
///
/// # Errors
/// As for [`wire`], or something that create should have refused.
pub fn translate(engine: &Engine, container: &Container, purpose: Purpose) -> Result<wire::Container> {
    let policy = engine.settings.policy(&container.tenant);
    let mut asked = pure(container, policy, &|name, what| joined(engine, container, name, what, purpose))?;
    if asked.namespaces.network == NamespaceOf::Own {
        usual_parameters(&mut asked.sysctl, engine.host.rootless);
    }
    if purpose == Purpose::Start {
        asked.endpoints = engine.networks.endpoints(&container.id);
        asked.resolver = !asked.endpoints.is_empty() && networks::resolvers(engine, container).ours;
    }
    Ok(asked)
}

/// Translates, with nothing of the engine but who it is that is joined.
///
/// # Errors
/// As for [`translate`].
pub fn pure(
    container: &Container,
    policy: Option<&PolicyName>,
    joined: &dyn Fn(&str, &str) -> Result<NamespaceOf>,
) -> Result<wire::Container> {
    let host_config = container.host_config();
    let security = security::read(&host_config)?;
    let namespaces = namespaces(&host_config, joined)?;
    let privileged = host_config.privileged;
    let paths = |asked: &Option<Vec<String>>| if privileged { Some(Vec::new()) } else { asked.clone() };
    let (profile, unconfined) = filter(&host_config, &security)?;
    let own_names = namespaces.uts == NamespaceOf::Own;
    let named = |name: &String| Some(name.clone()).filter(|name| own_names && !name.is_empty());
    Ok(wire::Container {
        tenant: container.tenant.clone(),
        policy: security.policy.as_ref().or(policy).cloned(),
        root: Root { layers: container.layers.clone(), read_only: host_config.readonly_rootfs },
        process: process(container, &host_config, &security)?,
        hostname: named(&texts::hostname(container)),
        domainname: named(&container.config.domainname),
        mounts: mounts(container, &host_config),
        devices: devices::nodes(&host_config)?,
        resources: limits::resources(&host_config)?,
        sysctl: host_config.sysctls.clone().unwrap_or_default(),
        seccomp: profile,
        unconfined,
        masked_paths: paths(&host_config.masked_paths),
        readonly_paths: paths(&host_config.readonly_paths),
        init: host_config.init == Some(true),
        annotations: annotations(container, &host_config),
        namespaces,
        endpoints: Vec::new(),
        resolver: false,
    })
}

/// As Docker has it: in a network of its own anybody may bind a low port and send a ping, whatever capabilities there are.
fn usual_parameters(asked: &mut BTreeMap<String, String>, rootless: bool) {
    // All ids that there are in a container; without root of the host there may be fewer, and the kernel takes no others.
    let ping = Some(("net.ipv4.ping_group_range", "0 65535")).filter(|_| !rootless);
    for (name, value) in [("net.ipv4.ip_unprivileged_port_start", "0")].into_iter().chain(ping) {
        asked.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
}

/// Labels of an image can tighten as well as those of a request: the runtime takes care that they do no more.
fn annotations(container: &Container, host_config: &HostConfig) -> BTreeMap<String, String> {
    let labels = container.config.labels().into_iter().filter(|(name, _)| name.starts_with(OURS));
    labels.chain(host_config.annotations.clone().unwrap_or_default()).collect()
}

fn process(container: &Container, host_config: &HostConfig, security: &Security) -> Result<Process> {
    let config = &container.config;
    let mut user = User::default();
    user.set_uid(container.user.uid).set_gid(container.user.gid);
    user.set_additional_gids(Some(container.user.groups.clone()).filter(|groups| !groups.is_empty()));
    let asked = capabilities::asked(host_config)?;
    let mut process = Process::default();
    process
        .set_user(user)
        .set_args(Some(config.command()))
        .set_env(Some(environment(container)))
        .set_cwd(if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone().into() })
        .set_terminal(Some(config.tty))
        .set_capabilities(Some(capabilities::sets(&asked, container.user.uid == 0)))
        .set_rlimits(Some(limits::rlimits(host_config)?).filter(|limits| !limits.is_empty()))
        .set_no_new_privileges(Some(security.no_new_privileges == Some(true)))
        .set_oom_score_adj(i32::try_from(host_config.oom_score_adj).ok().filter(|score| *score != 0));
    Ok(process)
}

/// Docker's own, then what was asked for in its place; a name alone takes away.
fn environment(container: &Container) -> Vec<String> {
    let config = &container.config;
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", texts::hostname(container))];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in config.env.iter().flatten() {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |other: &String| other.split('=').next() == Some(name);
        match (env.iter().position(same), entry.contains('=')) {
            (Some(at), true) => env[at].clone_from(entry),
            (Some(at), false) => drop(env.remove(at)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", container.user.home));
    }
    env
}

fn filter(host_config: &HostConfig, security: &Security) -> Result<(Option<LinuxSeccomp>, bool)> {
    match &security.seccomp {
        SeccompAsked::Default => Ok((None, host_config.privileged)),
        SeccompAsked::Unconfined => Ok((None, true)),
        SeccompAsked::Profile(profile) => {
            let release = rustix::system::uname().release().to_string_lossy().into_owned();
            let around = seccomp::Surroundings {
                capabilities: &capabilities::asked(host_config)?,
                architecture: seccomp::native().0,
                kernel: seccomp::version(&release).unwrap_or_default(),
            };
            Ok((Some(seccomp::translate(profile, around)?), false))
        }
    }
}

fn namespaces(asked: &HostConfig, joined: &dyn Fn(&str, &str) -> Result<NamespaceOf>) -> Result<Namespaces> {
    let whose = |shared: Shared<'_>, what: &str| match shared {
        Shared::Own => Ok(NamespaceOf::Own),
        Shared::Host => Ok(NamespaceOf::Host),
        Shared::Container(name) => joined(name, what),
    };
    Ok(Namespaces {
        network: whose(modes::network(&asked.network_mode)?, "network")?,
        pid: whose(modes::pid(&asked.pid_mode)?, "PID")?,
        ipc: whose(modes::ipc(&asked.ipc_mode)?, "IPC")?,
        uts: whose(modes::uts(&asked.uts_mode)?, "UTS")?,
        cgroup: whose(modes::cgroup(&asked.cgroupns_mode)?, "cgroup")?,
        user: whose(modes::user(&asked.userns_mode)?, "user")?,
    })
}

fn joined(
    engine: &Engine,
    container: &Container,
    name: &str,
    what: &str,
    purpose: Purpose,
) -> Result<NamespaceOf> {
    let other = engine.containers.find_of(&container.tenant, name)?;
    if other.id == container.id {
        return Err(Failure::invalid(format!("cannot join own {what} namespace")));
    }
    if what == "IPC" && other.host_config().ipc_mode != "shareable" {
        let message = format!(
            "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            other.id
        );
        return Err(Failure::conflict(message));
    }
    match (other.is_running(), purpose) {
        (true, _) => Ok(NamespaceOf::Container(other.id.clone())),
        (false, Purpose::Check) => Ok(NamespaceOf::Own),
        (false, Purpose::Start) => Err(Failure::conflict(format!(
            "cannot join {what} namespace of a non running container: {}",
            other.id
        ))),
    }
}

fn mounts(container: &Container, host_config: &HostConfig) -> Vec<Mount> {
    let mut list: Vec<Mount> = container.mounts.iter().map(mount).collect();
    if !list.iter().any(|mount| mount.destination == "/dev/shm") && host_config.ipc_mode != "host" {
        list.extend(shared_memory(host_config));
    }
    list
}

/// /dev/shm, where it is not the one that every container has.
fn shared_memory(host_config: &HostConfig) -> Option<Mount> {
    let none = host_config.ipc_mode == "none";
    if !none && host_config.shm_size == SHM {
        return None;
    }
    let size = if none { 4096 } else { host_config.shm_size };
    let options =
        ["nosuid", "noexec", "nodev", "mode=1777", &format!("size={size}")].map(str::to_owned).to_vec();
    Some(Mount { destination: "/dev/shm".to_owned(), kind: MountKind::Tmpfs { options }, read_only: none })
}

/// A mount as it is asked of the broker.
pub fn mount(point: &MountPoint) -> Mount {
    let kind = match &point.kind {
        PointKind::Bind { source, create, recursive, propagation } => MountKind::Bind(Bind {
            source: source.clone(),
            create: *create,
            recursive: *recursive,
            propagation: match propagation.trim_start_matches('r') {
                "shared" => Propagation::Shared,
                "slave" => Propagation::Slave,
                _ => Propagation::Private,
            },
        }),
        PointKind::Volume { place, subpath, backing, .. } => match backing {
            Backing::Store => volume(place, subpath.clone()),
            Backing::Tmpfs { options } => MountKind::Tmpfs { options: options.clone() },
            Backing::Bind { source, recursive, .. } => MountKind::Bind(Bind {
                source: source.clone(),
                create: false,
                recursive: *recursive,
                propagation: Propagation::Private,
            }),
        },
        PointKind::Tmpfs { options } => MountKind::Tmpfs { options: options.clone() },
    };
    let backed_read_only =
        matches!(&point.kind, PointKind::Volume { backing: Backing::Bind { read_only: true, .. }, .. });
    Mount { destination: point.destination.clone(), kind, read_only: point.read_only || backed_read_only }
}

fn volume(place: &HexId, subpath: Option<String>) -> MountKind {
    MountKind::Volume { volume: place.clone(), subpath }
}
