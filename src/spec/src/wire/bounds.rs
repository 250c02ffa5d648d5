//! How much may be asked at once, and what a text may hold: checked before anything is done with a request.
//!
//! The types refuse what could be a path where a name is due. Here stands what they cannot say: counts, lengths, and
//! paths that are meant as paths.

use oci_spec::runtime::{LinuxSeccomp, Process};

use super::{
    Allowed, Ask, Container, Endpoint, HexId, LogOrder, Mount, MountKind, NetOrder, Network, NetworkKind,
    Request, Root, Streams, Subnet, Task, View,
};
use crate::mount::MountOptions;
use crate::{Error, Result};

/// Layers of one root: the kernel takes 500, and a name in the option string has to fit a page where it takes no
/// descriptors.
const LAYERS: usize = 120;
/// Mounts, devices, kernel parameters, annotations, fields: more is no container anybody wrote.
const ENTRIES: usize = 1024;
/// Bytes of arguments and environment, as execve(2) bounds them.
const ARGUMENTS: usize = 2 << 20;
/// Bytes of one path (PATH_MAX).
const PATH: usize = 4096;
/// Bytes of one of the small files.
const FILE: usize = 1 << 20;
/// Bytes of any other text.
const TEXT: usize = 64 << 10;
/// Networks of one container.
const ENDPOINTS: usize = 64;
/// Ports that one endpoint publishes: a range is that many.
const PORTS: usize = 4096;
/// Lines of an allow-list.
const ALLOWED: usize = 256;
/// What a tmpfs may be told; everything else would make it something else.
const TMPFS: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];

impl Request {
    /// Whether everything in it is within bounds.
    ///
    /// # Errors
    /// One line that names the field.
    pub fn check(&self) -> Result<()> {
        match &self.ask {
            Ask::MakeContainer { layers: list, quota, .. } => {
                layers(list)?;
                refuse(quota == &Some(0), "quota", "a container that may hold nothing cannot start")
            }
            Ask::Check { container: asked, .. } => container(asked),
            Ask::Start { container: asked, streams: wanted, files, .. } => {
                container(asked)?;
                streams(wanted)?;
                let texts = [&files.hosts, &files.hostname, &files.resolv_conf];
                let long = texts.into_iter().flatten().any(|text| text.len() > FILE);
                refuse(long, "files", "a file is longer than 1 MiB")
            }
            Ask::Exec { process: asked, streams: wanted, .. } => {
                process(asked).and_then(|()| streams(wanted))
            }
            Ask::Signal { signal, .. } => refuse(!(1..=64).contains(signal), "signal", "not one of 1 to 64"),
            Ask::Stats { every, .. } => refuse(every == &Some(0), "every", "not a time"),
            Ask::Processes { options, .. } => options_of_ps(options),
            Ask::Help { view: seen, task: asked } => view(seen).and_then(|()| task(asked)),
            Ask::MakeNetwork { network: asked } => network(asked),
            Ask::ConnectNetworks { endpoints: asked, .. } => endpoints(asked),
            Ask::DisconnectNetworks { endpoints: asked, .. } => {
                refuse(asked.len() > ENDPOINTS, "endpoints", "more than 64")
            }
            Ask::Admit { allowed: asked, seconds, .. } => {
                refuse(!(1..=86_400).contains(seconds), "seconds", "not one of 1 to 86400")?;
                refuse(asked.len() > ALLOWED, "allowed", "more than 256")?;
                asked.iter().try_for_each(allowed)
            }
            Ask::Audit(said) => {
                let texts =
                    [&said.who, &said.tenant, &said.action, &said.object, &said.verdict, &said.reason];
                refuse(
                    texts.into_iter().any(|text| text.len() > TEXT),
                    "audit",
                    "a text is longer than 64 KiB",
                )
            }
            // All that they hold is names and numbers.
            _ => Ok(()),
        }
    }
}

impl NetOrder {
    /// The same for what the helper is told: whoever gives the order has checked it, and it is root that carries it out.
    ///
    /// # Errors
    /// One line that names the field.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Make { network: asked, .. } | Self::Drop { network: asked, .. } => network(asked),
            Self::Attach { endpoints: asked, networks, .. } => {
                networks.iter().try_for_each(network)?;
                endpoints(asked)?;
                asked.iter().try_for_each(|one| within(one, networks))
            }
            Self::Detach { endpoints, networks, .. } | Self::Repair { networks, endpoints } => {
                networks.iter().try_for_each(network)?;
                endpoints.iter().try_for_each(endpoint)
            }
            Self::Admit { allowed: asked, .. } => asked.iter().try_for_each(allowed),
            Self::Listen => Ok(()),
        }
    }
}

/// Its addresses are of its network, and not the bridge's.
fn within(asked: &Endpoint, networks: &[Network]) -> Result<()> {
    let Some(network) = networks.iter().find(|network| network.id == asked.network) else {
        return Err(Error::new("endpoint", "its network is not in the order"));
    };
    let fits = |(address, prefix): &(std::net::IpAddr, u8)| {
        let mut own = network.subnets.iter();
        own.any(|own| own.has_host(*address) && own.prefix == *prefix && own.gateway != Some(*address))
    };
    refuse(!asked.addresses.iter().all(fits), "addresses", "one is not of the network's")
}

fn refuse(bad: bool, what: &str, why: &str) -> Result<()> {
    if bad { Err(Error::new(what, why)) } else { Ok(()) }
}

fn layers(list: &[HexId]) -> Result<()> {
    refuse(list.len() > LAYERS, "layers", "more than 120")?;
    let mut seen = list.to_vec();
    seen.sort();
    seen.dedup();
    refuse(seen.len() != list.len(), "layers", "one is named twice")
}

fn container(asked: &Container) -> Result<()> {
    layers(&asked.root.layers)?;
    process(&asked.process)?;
    refuse(asked.process.args().as_ref().is_none_or(Vec::is_empty), "process.args", "empty")?;
    mounts(&asked.mounts)?;
    for (name, count) in [
        ("devices", asked.devices.len()),
        ("sysctl", asked.sysctl.len()),
        ("annotations", asked.annotations.len()),
        ("maskedPaths", asked.masked_paths.as_ref().map_or(0, Vec::len)),
        ("readonlyPaths", asked.readonly_paths.as_ref().map_or(0, Vec::len)),
        ("resources.devices", asked.resources.devices().as_ref().map_or(0, Vec::len)),
    ] {
        refuse(count > ENTRIES, name, "more than 1024")?;
    }
    let texts = asked.sysctl.iter().chain(&asked.annotations).flat_map(|(key, value)| [key, value]);
    let texts = texts.chain(asked.hostname.iter()).chain(asked.domainname.iter());
    refuse(
        texts.into_iter().any(|text| text.len() > TEXT || text.contains('\0')),
        "text",
        "too long, or NUL",
    )?;
    for path in asked.masked_paths.iter().chain(&asked.readonly_paths).flatten() {
        absolute("maskedPaths, readonlyPaths", path)?;
    }
    endpoints(&asked.endpoints)?;
    seccomp(asked)
}

fn network(asked: &Network) -> Result<()> {
    let count = |v4: bool| asked.subnets.iter().filter(|subnet| subnet.address.is_ipv4() == v4).count();
    refuse(count(true) > 1 || count(false) > 1, "subnets", "more than one of IPv4 or of IPv6")?;
    for subnet in &asked.subnets {
        let fits = if subnet.address.is_ipv4() { 8..=30 } else { 16..=126 };
        refuse(!fits.contains(&subnet.prefix), "subnets", "too large, or too small")?;
        refuse(subnet.is_special(), "subnets", "these addresses have another meaning")?;
        refuse(subnet.first() != subnet.address, "subnets", "the address has bits beyond its prefix")?;
        let outside = subnet.gateway.is_some_and(|gateway| !subnet.has_host(gateway));
        refuse(outside, "gateway", "not an address of the subnet's")?;
    }
    refuse(asked.mtu.is_some_and(|mtu| !(68..=65_535).contains(&mtu)), "mtu", "not one of 68 to 65535")?;
    match &asked.kind {
        NetworkKind::Bridge => Ok(()),
        NetworkKind::Macvlan { parent } => {
            let fits = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b'%';
            let bad = parent.is_empty() || parent.len() > 15 || !parent.bytes().all(fits);
            refuse(bad || matches!(parent.as_str(), "." | ".."), "parent", "no interface's name")
        }
    }
}

fn endpoints(list: &[Endpoint]) -> Result<()> {
    refuse(list.len() > ENDPOINTS, "endpoints", "more than 64")?;
    let routed = |v4: bool| list.iter().flat_map(|one| &one.routes).filter(|way| way.is_ipv4() == v4).count();
    refuse(routed(true) > 1 || routed(false) > 1, "routes", "more than one endpoint has the way out")?;
    for (at, asked) in list.iter().enumerate() {
        endpoint(asked).map_err(|error| error.within(format!("endpoints[{at}]")))?;
        let earlier = list.iter().take(at);
        let same = |other: &Endpoint| {
            other.number == asked.number || other.id == asked.id || other.network == asked.network
        };
        refuse(earlier.into_iter().any(same), "endpoints", "two of one id, number or network")?;
    }
    Ok(())
}

fn endpoint(asked: &Endpoint) -> Result<()> {
    let [first, ..] = asked.mac;
    refuse(first & 3 != 2, "mac", "not a locally administered address of one interface")?;
    let families = |list: &[std::net::IpAddr]| {
        list.iter().filter(|address| address.is_ipv4()).count() <= 1
            && list.iter().filter(|address| address.is_ipv6()).count() <= 1
    };
    let addresses: Vec<_> = asked.addresses.iter().map(|(address, _)| *address).collect();
    refuse(!families(&addresses), "addresses", "more than one of IPv4 or of IPv6")?;
    refuse(!families(&asked.routes), "routes", "more than one of IPv4 or of IPv6")?;
    refuse(asked.ports.len() > PORTS, "ports", "more than 4096")?;
    refuse(asked.ports.iter().any(|port| port.port == 0 || port.host.port() == 0), "ports", "port 0")?;
    let reachable = |v4: bool| addresses.iter().any(|address| address.is_ipv4() == v4);
    let lost = asked.ports.iter().any(|port| !reachable(port.host.is_ipv4()));
    refuse(lost, "ports", "published for a family of addresses that it has none of")?;
    let Some(egress) = &asked.egress else { return Ok(()) };
    refuse(egress.allow.len() > ALLOWED, "egress", "more than 256")?;
    egress.allow.iter().try_for_each(allowed)
}

fn allowed(line: &Allowed) -> Result<()> {
    let range = Subnet { address: line.address, prefix: line.prefix, gateway: None };
    let bits = if line.address.is_ipv4() { 32 } else { 128 };
    refuse(line.prefix > bits || range.first() != line.address, "allowed", "no range of addresses")?;
    refuse(line.ports.is_some_and(|(first, last)| first > last), "allowed", "no range of ports")
}

fn seccomp(asked: &Container) -> Result<()> {
    let Some(profile) = &asked.seccomp else { return Ok(()) };
    refuse(asked.unconfined, "seccomp", "a profile, and none, are asked for at once")?;
    let listens =
        |profile: &LinuxSeccomp| profile.listener_path().is_some() || profile.listener_metadata().is_some();
    refuse(listens(profile), "seccomp.listenerPath", "no socket of the host's can be named")?;
    let rules = profile.syscalls().as_ref().map_or(0, Vec::len);
    refuse(rules > 4 * ENTRIES, "seccomp.syscalls", "more than 4096")
}

fn process(asked: &Process) -> Result<()> {
    let texts = || asked.args().iter().chain(asked.env()).flatten();
    let bytes: usize = texts().map(|text| text.len() + 1).sum();
    refuse(bytes > ARGUMENTS, "process", "more than 2 MiB of arguments and environment")?;
    refuse(texts().any(|text| text.contains('\0')), "process", "a NUL byte")?;
    let groups = asked.user().additional_gids().as_ref().map_or(0, Vec::len);
    refuse(groups > ENTRIES, "process.user.additionalGids", "more than 1024")
}

fn streams(wanted: &Streams) -> Result<()> {
    match &wanted.log {
        LogOrder::None => Ok(()),
        LogOrder::JsonFile { max_files, .. } => {
            refuse(!(1..=1000).contains(max_files), "log.maxFiles", "not one of 1 to 1000")
        }
        LogOrder::Journald { fields } => {
            refuse(fields.len() > ENTRIES, "log.fields", "more than 1024")?;
            let long = fields.iter().any(|(name, value)| name.len() > 64 || value.len() > TEXT);
            refuse(long, "log.fields", "a name or value is too long")
        }
    }
}

fn mounts(list: &[Mount]) -> Result<()> {
    refuse(list.len() > ENTRIES, "mounts", "more than 1024")?;
    for (index, mount) in list.iter().enumerate() {
        one_mount(mount).map_err(|error| error.within(format!("mounts[{index}]")))?;
    }
    Ok(())
}

fn one_mount(mount: &Mount) -> Result<()> {
    absolute("destination", &mount.destination)?;
    refuse(mount.destination == "/", "destination", "the root is made of layers alone")?;
    match &mount.kind {
        MountKind::Bind(bind) => absolute("source", &bind.source),
        MountKind::Volume { subpath: None, .. } => Ok(()),
        MountKind::Volume { subpath: Some(path), .. } => {
            let inward = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
            refuse(!inward || path.len() > PATH || path.contains('\0'), "subpath", "it does not lead inwards")
        }
        MountKind::Tmpfs { options } => tmpfs(options),
    }
}

fn tmpfs(words: &[String]) -> Result<()> {
    refuse(
        words.len() > 64 || words.iter().any(|word| word.len() > PATH),
        "options",
        "too many, or too long",
    )?;
    let read = MountOptions::parse(words);
    let other = read.bind.is_some() || read.idmap.is_some() || read.remount;
    refuse(other || !read.propagation.is_empty(), "options", "they make it something else than a tmpfs")?;
    match read.data.iter().find(|(key, _)| !TMPFS.contains(&key.as_str())) {
        Some((key, _)) => Err(Error::new("options", format!("tmpfs has no option {key:?}"))),
        None => Ok(()),
    }
}

/// A path in its plain form: nothing to resolve in it but links.
fn absolute(what: &str, path: &str) -> Result<()> {
    let plain = path == "/"
        || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|n| !matches!(n, "" | "." | "..")));
    refuse(!plain, what, "not an absolute path without . and ..")?;
    refuse(path.len() > PATH || path.chars().any(char::is_control), what, "too long, or a control character")
}

fn options_of_ps(options: &[String]) -> Result<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_,=:%.-".contains(&b);
    let bad =
        options.iter().any(|option| option.is_empty() || option.len() > 256 || !option.bytes().all(fits));
    refuse(
        bad || options.len() > 64,
        "options",
        "ps(1) is asked with letters, digits and _ , = : % . - alone",
    )
}

fn view(seen: &View) -> Result<()> {
    match seen {
        View::Layers(list) | View::Changes { layers: list, .. } => layers(list),
        View::Container { root: Root { layers: list, .. }, mounts: over, .. } => {
            layers(list)?;
            mounts(over)
        }
        View::Volume(_) | View::Empty => Ok(()),
    }
}

fn task(asked: &Task) -> Result<()> {
    let texts = match asked {
        Task::Unpack => return Err(Error::new("task", "unpacking is a verb of its own")),
        Task::Stat { path } | Task::CopyOut { path } | Task::CopyIn { path, .. } | Task::CopyUp { path } => {
            std::slice::from_ref(path)
        }
        Task::User { user, groups } => {
            refuse(user.len() > 256 || groups.len() > ENTRIES, "user", "too long, or too many groups")?;
            groups.as_slice()
        }
        Task::PackChanges { mounts: paths } | Task::Changes { mounts: paths } => {
            refuse(paths.len() > ENTRIES, "mounts", "more than 1024")?;
            paths.as_slice()
        }
        Task::Pack | Task::Size => &[],
    };
    refuse(
        texts.iter().any(|text| text.len() > PATH || text.contains('\0')),
        "task",
        "too long, or a NUL byte",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ask: serde_json::Value) -> Result<()> {
        let request = serde_json::json!({ "number": 1, "ask": ask });
        serde_json::from_value::<Request>(request).expect("a request").check()
    }

    fn volume(subpath: &str, destination: &str) -> Result<()> {
        let id = "a".repeat(64);
        let mount = serde_json::json!({ "destination": destination, "readOnly": false,
            "kind": { "volume": { "volume": id, "subpath": subpath } } });
        asked(serde_json::json!({ "help": { "task": "size", "view": { "container": {
            "id": id, "root": { "layers": [], "readOnly": false }, "mounts": [mount] } } } }))
    }

    #[test]
    fn paths_lead_inwards() {
        assert!(volume("a/b", "/data").is_ok());
        for bad in ["..", "a/../../b", "/etc", "", "a//b", "a\0"] {
            assert!(volume(bad, "/data").is_err(), "{bad:?}");
        }
        for bad in ["data", "/a/../b", "/", "", "/a/", "/a\nb"] {
            assert!(volume("a", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tmpfs_stays_one() {
        let words = |words: &[&str]| tmpfs(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(words(&["size=64m", "noexec,mode=1777", "ro"]).is_ok());
        for bad in ["bind", "rbind", "remount", "idmap", "shared", "lowerdir=/etc", "size=1,rbind"] {
            assert!(words(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let id = "a".repeat(64);
        for (signal, fits) in [(0, false), (1, true), (64, true), (65, false), (-9, false)] {
            let ask = serde_json::json!({ "signal": { "id": id, "signal": signal, "all": false } });
            assert_eq!(asked(ask).is_ok(), fits, "{signal}");
        }
        for (option, fits) in [("-eo", true), ("pid,cmd", true), ("a b", false), ("$(x)", false), ("", false)]
        {
            let ask = serde_json::json!({ "processes": { "id": id, "options": [option] } });
            assert_eq!(asked(ask).is_ok(), fits, "{option:?}");
        }
        let layers: Vec<String> = (0..121).map(|n| format!("{n:064x}")).collect();
        assert!(
            asked(serde_json::json!({ "help": { "task": "size", "view": { "layers": layers } } })).is_err()
        );
        assert!(asked(serde_json::json!({ "help": { "task": "unpack", "view": "empty" } })).is_err());
    }
}
