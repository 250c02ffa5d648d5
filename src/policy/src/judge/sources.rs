//! What of the host's files a bind mount may show.

use std::path::Path;

use casemate_spec::Config;
use oci_spec::runtime::{LinuxNamespaceType, Mount};

use super::{Case, adding, is_bind, plain};
use crate::schema::{Device, Place, is_beneath};

const RULE: &str = "mounts";

/// Conventional links: the same place by another name.
const ALIASES: [(&str, &str); 2] = [("/var/run", "/run"), ("/var/lock", "/run/lock")];

/// What is shared memory of the host's; shown to a container that shares the host's IPC anyhow.
const OF_IPC: [&str; 2] = ["/dev/shm", "/dev/mqueue"];

pub(super) fn apply(case: &mut Case<'_>) {
    if case.rules.mounts.deny_sources.is_empty() {
        return;
    }
    let mut found = Vec::new();
    for Shown { field, path, mount } in shown(&case.config) {
        let given = match mount {
            Some(mount) => case.host.store.gives(&plain(mount.destination())),
            None => case.host.store.root,
        };
        if !given {
            check(case, path, &field, &mut found);
        }
    }
    for Finding { field, asked, remedy } in found {
        case.deny(RULE, field, asked, "no place of the host from which it can be taken over", remedy);
    }
}

/// The paths of the host that a configuration shows its container: whoever gathers [`HostFacts`] looks where they lead.
///
/// [`HostFacts`]: crate::HostFacts
pub fn host_paths(config: &Config) -> impl Iterator<Item = &Path> {
    shown(config).into_iter().map(|shown| shown.path)
}

/// A path of the host, the field that names it, and the mount it is in; the root's is in none.
struct Shown<'a> {
    field: String,
    path: &'a Path,
    mount: Option<&'a Mount>,
}

/// The same, with the field of each: the root, bind mounts, and the layers of overlays.
fn shown(config: &Config) -> Vec<Shown<'_>> {
    let mut all = Vec::new();
    if let Some(root) = config.spec.root() {
        all.push(Shown { field: "root.path".to_owned(), path: root.path(), mount: None });
    }
    for (index, mount) in config.spec.mounts().iter().flatten().enumerate() {
        if is_bind(mount) {
            let path = mount.source().as_deref().unwrap_or(Path::new(""));
            all.push(Shown { field: format!("mounts[{index}].source"), path, mount: Some(mount) });
        }
        all.extend(layers(mount).map(|layer| {
            let field = format!("mounts[{index}].options");
            Shown { field, path: Path::new(layer), mount: Some(mount) }
        }));
    }
    all
}

/// A denied source.
struct Finding {
    field: String,
    asked: String,
    remedy: String,
}

/// The directories an overlay is made of.
fn layers(mount: &Mount) -> impl Iterator<Item = &str> {
    let words = mount.options().iter().flatten().filter(|_| mount.typ().as_deref() == Some("overlay"));
    let values = words.flat_map(|word| word.split(',')).filter_map(|word| word.split_once('='));
    values
        .filter(|(key, _)| matches!(*key, "lowerdir" | "lowerdir+" | "upperdir" | "workdir" | "datadir+"))
        .flat_map(|(_, value)| value.split(':'))
}

fn check(case: &Case<'_>, source: &Path, field: &str, found: &mut Vec<Finding>) {
    let written = source.to_string_lossy();
    // A relative path lies in the bundle, unless it climbs out of it.
    let climbs = !source.is_absolute() && source.components().any(|c| c == std::path::Component::ParentDir);
    if climbs && !case.host.sources.contains_key(source) {
        let asked = format!("{written:?}, which leads out of the bundle");
        let remedy = "write the path from the root".to_owned();
        return found.push(Finding { field: field.to_owned(), asked, remedy });
    }
    if source.is_absolute()
        && let Some(remedy) = denied(case, &known(source))
    {
        let asked = format!("{written:?} of the host");
        return found.push(Finding { field: field.to_owned(), asked, remedy });
    }
    let Some(target) = case.host.sources.get(source) else { return };
    if let Some(remedy) = denied(case, &known(target)) {
        let asked = format!("{written:?} of the host, which leads to {:?}", target.to_string_lossy());
        found.push(Finding { field: field.to_owned(), asked, remedy });
    }
}

/// Whether a bind mount may show its source and not change it.
pub(super) fn is_read_only(case: &Case<'_>, mount: &Mount) -> bool {
    let places = &case.rules.mounts.read_only_sources;
    let judged = is_bind(mount) && !case.host.store.gives(&plain(mount.destination()));
    let Some(source) = mount.source().as_deref().filter(|_| !places.is_empty() && judged) else {
        return false;
    };
    let paths =
        [Some(source).filter(|source| source.is_absolute()), case.host.sources.get(source).map(|p| &**p)];
    let mut paths = paths.into_iter().flatten().map(known);
    paths.any(|path| places.iter().any(|place| place.holds(&path) || is_beneath(&place.path, &path)))
}

/// The path by the name that policies use.
fn known(path: &Path) -> String {
    let path = plain(path);
    let alias = ALIASES.iter().find(|(alias, _)| is_beneath(&path, alias));
    match alias.and_then(|(alias, name)| Some((path.strip_prefix(alias)?, name))) {
        Some((rest, name)) => format!("{name}{rest}"),
        None => path,
    }
}

/// The line of a policy that would admit `path`, when it is denied; what is the store's, none admits.
fn denied(case: &Case<'_>, path: &str) -> Option<String> {
    let hidden = &case.host.store.hidden;
    if hidden.iter().any(|place| is_beneath(path, place) || is_beneath(place, path)) {
        return Some("name a volume of the store".to_owned());
    }
    let rule = &case.rules.mounts;
    if rule.allow_sources.iter().any(|place| place.holds(path)) {
        return None;
    }
    if OF_IPC.contains(&path) && case.is_the_hosts(LinuxNamespaceType::Ipc) {
        return None;
    }
    let device = Device::known(path);
    if device.is_some_and(|device| case.rules.devices.allow.admits(|allowed| allowed.holds(&device))) {
        return None;
    }
    // What holds a denied place shows it too.
    let hit = rule.deny_sources.iter().any(|place| place.holds(path) || is_beneath(&place.path, path));
    let place = Place { path: path.to_owned(), beneath: false };
    hit.then(|| match device {
        Some(device) => adding("devices.allow", &[device]),
        None => adding("mounts.allow_sources", &[place]),
    })
}
