//! The store document (`--store FILE`): layers and volumes that the operator's own store gives a container.
//!
//! The file is the operator's, as the command line is; the configuration beside it may hold what somebody else asked for.
//! So a place of the container is given by it only where exactly one mount of the configuration is at it, and a
//! directory only where no symbolic link leads to it: both could be of the asker's making.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::path::{Component, Path};

use casemate_core::plan::At;
use casemate_policy::{FromStore, HostFacts};
use casemate_spec::mount::MountOptions;
use casemate_spec::{Config, Error, Result};
use oci_spec::runtime::Mount;
use serde::Deserialize;

use super::trusted::{self, Place};
use crate::cli::Global;
use crate::plan::{Layers, Upper};

/// How many layers overlayfs takes (`OVL_MAX_STACK` of the kernel).
const MOST_LAYERS: usize = 500;
/// Host ids that the store's files have: as many as a container's.
const IDS: u32 = crate::ids::Range::SIZE;

/// What a store gives one container.
#[derive(Debug)]
pub struct StoreDocument {
    /// The host id that stands for id 0 on the disk.
    pub ids: u32,
    /// Filesystems made of layers, by where they are mounted; `/` is the root.
    pub overlays: BTreeMap<String, Layers>,
    /// The directory that `root.path` names, where that is the store's and no overlay.
    pub root: Option<String>,
    /// Bind mounts of the configuration whose sources are the store's.
    pub binds: BTreeSet<String>,
    /// Places of the host that no other bind mount may show: where the store and what goes with it lie.
    pub hidden: BTreeSet<String>,
    /// Its file, for words.
    file: String,
}

/// The document as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ids: u32,
    #[serde(default)]
    overlays: BTreeMap<String, Overlay>,
    root: Option<String>,
    #[serde(default)]
    binds: Vec<String>,
    #[serde(default)]
    hidden: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlay {
    lowers: Vec<String>,
    upper: Option<Writable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Writable {
    fs: String,
    work: String,
    quota: Option<u64>,
}

impl StoreDocument {
    /// Reads the document that the command line names; nothing where it names none.
    ///
    /// # Errors
    /// It is not there, malformed, somebody else could have written it, or the caller is not root of the host.
    pub fn load(global: &Global) -> Result<Option<Self>> {
        let Some(path) = &global.store else { return Ok(None) };
        let file = path.display().to_string();
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new("--store", "only root, of the host or of a user namespace, can mount it"));
        }
        let text = trusted::read(path, Place::Named)?
            .ok_or_else(|| Error::new(file.as_str(), "no such file or directory"))?;
        let store = parse(&text, file.clone()).map_err(|error| error.within(file))?;
        if global.is_confined() {
            mapped(store.ids)?;
        }
        Ok(Some(store))
    }

    /// What of `config` it gives; `facts` say where links lead.
    ///
    /// # Errors
    /// A place that it names is that of no mount, of another kind of mount, or of more than one; a link leads to a
    /// source.
    pub fn of(&self, config: &Config, facts: &HostFacts) -> Result<FromStore> {
        let place = |kind: &str, destination: &str| format!("{}: {kind} {destination:?}", self.file);
        let root = self.gives_root(config, facts)? || self.overlays.contains_key("/");
        let mut given = FromStore { root, hidden: self.hidden.clone(), ..FromStore::default() };
        for destination in self.overlays.keys().filter(|destination| *destination != "/") {
            let mount =
                the_mount(config, destination).map_err(|e| e.within(place("overlays", destination)))?;
            let read = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
            if mount.typ().as_deref() != Some("overlay") || read.bind.is_some() || read.remount {
                let why = "the mount of the configuration there is not of type overlay";
                return Err(Error::new(place("overlays", destination), why));
            }
            given.overlays.insert(destination.clone());
        }
        for destination in &self.binds {
            let mount = the_mount(config, destination).map_err(|e| e.within(place("binds", destination)))?;
            plain_bind(mount, facts).map_err(|e| e.within(place("binds", destination)))?;
            given.binds.insert(destination.clone());
        }
        Ok(given)
    }

    /// Whether it names the directory that is the root: that one, and no link to it.
    fn gives_root(&self, config: &Config, facts: &HostFacts) -> Result<bool> {
        let Some(root) = &self.root else { return Ok(false) };
        let asked = config.spec.root().as_ref().map(|root| root.path().as_path()).unwrap_or(Path::new(""));
        if asked != Path::new(root) || facts.sources.contains_key(asked) {
            let why = "it is not where root.path of the configuration leads";
            return Err(Error::new(format!("{}: root {root:?}", self.file), why));
        }
        Ok(true)
    }
}

/// In a user namespace the files of a store have the ids that were mapped for them, and so have its containers: mounts
/// of the host's filesystems take no id-map there (mount_setattr(2)).
fn mapped(first: u32) -> Result<()> {
    for file in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let map = std::fs::read_to_string(file).map_err(|error| Error::io(file, &error))?;
        if !map.lines().any(|line| holds(line, first)) {
            let why = format!("this user namespace does not map the {IDS} ids from {first} on");
            return Err(
                Error::new("--store", why).hint("casemate up maps those of /etc/subuid and /etc/subgid")
            );
        }
    }
    Ok(())
}

/// Whether a line of user_namespaces(7) holds the whole range.
fn holds(line: &str, first: u32) -> bool {
    let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
    let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return false;
    };
    first.checked_sub(inside).and_then(|skipped| count.checked_sub(skipped)).is_some_and(|left| left >= IDS)
}

/// The one mount at a place: of two, one could be the asker's, and would be taken for the store's.
fn the_mount<'a>(config: &'a Config, destination: &str) -> Result<&'a Mount> {
    let mut there = config.spec.mounts().iter().flatten().filter(|mount| {
        let walked = At::new(&mount.destination().to_string_lossy()).map(|at| at.to_string());
        walked.as_deref() == Some(destination)
    });
    match (there.next(), there.next()) {
        (Some(mount), None) => Ok(mount),
        (None, _) => Err(Error::new("", "no mount of the configuration is there")),
        (Some(_), Some(_)) => Err(Error::new("", "more than one mount of the configuration is there")),
    }
}

fn plain_bind(mount: &Mount, facts: &HostFacts) -> Result<()> {
    let read = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
    if (mount.typ().as_deref() != Some("bind") && read.bind.is_none()) || read.remount {
        return Err(Error::new("", "the mount of the configuration there is not a bind mount"));
    }
    let mapped = [mount.uid_mappings(), mount.gid_mappings()];
    if read.idmap.is_some() || mapped.iter().any(|maps| maps.as_ref().is_some_and(|maps| !maps.is_empty())) {
        return Err(Error::new("", "it has id mappings of its own, and the store's ids are mapped already"));
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    c_path(&source.to_string_lossy()).map_err(|error| error.within("source"))?;
    match facts.sources.get(source) {
        Some(lead) => Err(Error::new(
            format!("source {}", source.display()),
            format!("a symbolic link leads to {}", lead.display()),
        )),
        None => Ok(()),
    }
}

fn parse(text: &str, file: String) -> Result<StoreDocument> {
    let written: Written = serde_json::from_str(text).map_err(|error| Error::new("", error.to_string()))?;
    if written.ids == 0 || written.ids.checked_add(IDS).is_none_or(|next| next == u32::MAX) {
        return Err(Error::new("ids", format!("{} does not begin a range of {IDS} host ids", written.ids))
            .hint("0 would have the host's own ids on the disk"));
    }
    let mut overlays = BTreeMap::new();
    for (destination, overlay) in written.overlays {
        let what = format!("overlays {destination:?}");
        let layers = c_path(&destination).and_then(|_path| overlay.layers(written.ids));
        overlays.insert(destination, layers.map_err(|error| error.within(what))?);
    }
    let mut binds = BTreeSet::new();
    for (index, destination) in written.binds.into_iter().enumerate() {
        let what = || format!("binds[{index}] {destination:?}");
        c_path(&destination).map_err(|error| error.within(what()))?;
        if destination == "/" || overlays.contains_key(&destination) || binds.contains(&destination) {
            return Err(Error::new(what(), "the place of something else"));
        }
        binds.insert(destination);
    }
    for (index, place) in written.hidden.iter().enumerate() {
        c_path(place).map_err(|error| error.within(format!("hidden[{index}] {place:?}")))?;
    }
    if let Some(root) = &written.root {
        c_path(root).map_err(|error| error.within(format!("root {root:?}")))?;
        if overlays.contains_key("/") {
            return Err(Error::new(format!("root {root:?}"), "the place of something else"));
        }
    }
    let hidden = written.hidden.into_iter().collect();
    Ok(StoreDocument { ids: written.ids, overlays, root: written.root, binds, hidden, file })
}

impl Overlay {
    fn layers(self, ids: u32) -> Result<Layers> {
        if self.lowers.is_empty() || self.lowers.len() > MOST_LAYERS {
            let why = format!("{} layers, expected 1 to {MOST_LAYERS}", self.lowers.len());
            return Err(Error::new("lowers", why));
        }
        let mut lowers = Vec::with_capacity(self.lowers.len());
        let mut seen = BTreeSet::new();
        for (index, lower) in self.lowers.iter().enumerate() {
            let what = || format!("lowers[{index}] {lower:?}");
            lowers.push(c_path(lower).map_err(|error| error.within(what()))?);
            if !seen.insert(lower) {
                return Err(Error::new(what(), "it is listed twice"));
            }
        }
        let upper = self.upper.as_ref().map(Writable::upper).transpose()?;
        let options = vec![(c"userxattr".into(), None), (c"index".into(), Some(c"off".into()))];
        Ok(Layers { lowers, upper, options, owner: Some(ids) })
    }
}

impl Writable {
    fn upper(&self) -> Result<Upper> {
        for (key, path) in [("upper.fs", &self.fs), ("upper.work", &self.work)] {
            c_path(path).map_err(|error| error.within(format!("{key} {path:?}")))?;
        }
        let parted = (self.fs.rsplit_once('/'), self.work.rsplit_once('/'));
        let (Some((base, fs)), Some((beside, work))) = parted else {
            return Err(Error::new("upper", "not absolute paths"));
        };
        // The kernel wants both in one mount, and a mount shows one directory.
        if base != beside || fs == work || base.is_empty() {
            return Err(Error::new("upper", "fs and work are not two entries of one directory"));
        }
        Ok(Upper { base: c_path(base)?, upper: c_text(fs)?, work: c_text(work)?, quota: self.quota })
    }
}

/// An absolute path as it will be walked: nothing in it goes back up or stays.
fn c_path(path: &str) -> Result<CString> {
    let plain = path == "/" || path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if !Path::new(path).is_absolute() {
        return Err(Error::new("", "not an absolute path"));
    }
    if !plain || Path::new(path).components().any(|part| matches!(part, Component::ParentDir)) {
        return Err(Error::new("", "not a plain path: no . and .., no doubled or closing slash"));
    }
    c_text(path)
}

fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_nul| Error::new("", "it holds a NUL byte"))
}
