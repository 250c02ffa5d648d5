//! Bundles: what the runtime is told about a container, a helper or the daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_spec::wire::{HexId, STORE_IDS};
use casemate_spec::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::places::ROOT;
use crate::tree;

/// The runtime's store document.
#[derive(Debug, Serialize)]
pub struct StoreDocument {
    ids: u32,
    overlays: BTreeMap<String, Overlay>,
    binds: Vec<String>,
    hidden: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Overlay {
    lowers: Vec<PathBuf>,
    upper: Option<Upper>,
}

#[derive(Debug, Serialize)]
struct Upper {
    fs: PathBuf,
    work: PathBuf,
}

impl StoreDocument {
    /// With nothing but binds.
    pub fn new(binds: Vec<String>) -> Self {
        Self { ids: STORE_IDS, overlays: BTreeMap::new(), binds, hidden: Vec::new() }
    }

    /// With places that no bind of the asker's may show.
    pub fn hide(&mut self, places: impl IntoIterator<Item = PathBuf>) {
        self.hidden.extend(places);
    }

    /// With one more bind.
    pub fn bind(&mut self, destination: &str) {
        self.binds.push(destination.to_owned());
    }

    /// With an overlay of these layers, the uppermost first, beneath a container's own where it may be written.
    pub fn overlay(&mut self, destination: &str, lowers: Vec<PathBuf>, own: Option<PathBuf>) {
        let upper = own.map(|place| Upper { fs: place.join("fs"), work: place.join("work") });
        self.overlays.insert(destination.to_owned(), Overlay { lowers, upper });
    }
}

/// What a helper or the daemon is started with.
#[derive(Debug, Default)]
pub struct Program {
    /// The command line.
    pub args: Vec<String>,
    /// User and group.
    pub user: u32,
    /// Capabilities.
    pub capabilities: &'static [&'static str],
    /// Whether it has a network of its own, with nothing in it.
    pub alone: bool,
    /// The control group.
    pub cgroup: String,
    /// Destination, source, and whether it may be written.
    pub binds: Vec<(String, PathBuf, bool)>,
    /// Overlays of the store's: destination, and whether it may be written.
    pub overlays: Vec<(String, bool)>,
}

impl Program {
    /// Its process.
    pub fn process(&self) -> Value {
        let sets = self.capabilities;
        json!({
            "user": { "uid": self.user, "gid": self.user },
            "args": self.args, "env": ["PATH=/usr/sbin"], "cwd": "/", "noNewPrivileges": true,
            "capabilities": { "bounding": sets, "effective": sets, "permitted": sets },
        })
    }

    /// Its configuration, on the root at `root`.
    pub fn config(&self, root: &Path) -> Value {
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": safe(&["noexec"]) }),
            json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] }),
        ];
        let access = |writable: &bool| if *writable { "rw" } else { "ro" };
        for (destination, writable) in &self.overlays {
            mounts.push(json!({ "destination": destination, "type": "overlay", "source": "overlay", "options": safe(&[access(writable)]) }));
        }
        for (destination, source, writable) in &self.binds {
            mounts.push(json!({ "destination": destination, "type": "bind", "source": source, "options": safe(&["rbind", "rprivate", access(writable)]) }));
        }
        let own = ["pid", "ipc", "uts", "mount", "cgroup"].into_iter().chain(self.alone.then_some("network"));
        json!({
            "ociVersion": "1.3.0",
            "root": { "path": root, "readonly": true },
            "process": self.process(),
            "mounts": mounts,
            "linux": {
                "namespaces": own.map(|kind| json!({ "type": kind })).collect::<Vec<_>>(),
                "cgroupsPath": self.cgroup,
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            },
        })
    }
}

impl Broker {
    /// Writes a bundle in place of one of that name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_bundle(&self, name: &str, config: &impl Serialize, store: &StoreDocument) -> Result<()> {
        let bundle = tree::ensure_dir(&self.places.bundles, name, ROOT, 0o700)?;
        tree::ensure_dir(&bundle, "rootfs", ROOT, 0o755)?;
        self.write_document(name, "config.json", config)?;
        self.write_document(name, "store.json", store)
    }

    /// Writes one more document into a bundle.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_document(&self, bundle: &str, name: &str, document: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(document).map_err(|error| Error::new(name, error.to_string()))?;
        tree::write(tree::open_dir(&self.places.bundles, bundle)?, name, &bytes, ROOT, 0o600, false)
    }

    /// The layers beneath a container's own, the uppermost first: the places to mount on above the image.
    pub fn lowers(&self, layers: &[HexId]) -> Vec<PathBuf> {
        let image = layers.iter().rev().map(|layer| self.places.stored("layers", layer));
        std::iter::once(self.places.in_store("init")).chain(image).collect()
    }

    /// The runtime's command line for a container, up to its command.
    pub fn runtime_words(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words = vec![
            text(&self.arguments.libexec.join("runtime")),
            "--exit-by-cause".to_owned(),
            "--root".to_owned(),
            text(&self.places.run.join("runtime")),
            "--config-dir".to_owned(),
            text(&self.places.config),
        ];
        if let Some(policy) = &self.arguments.policy {
            words.extend(["--policy".to_owned(), policy.to_string()]);
        }
        words
    }

    /// The runtime, about a container.
    pub fn runtime(&self, arguments: &[&str]) -> Command {
        command(self.runtime_words().iter().map(String::as_str).chain(arguments.iter().copied()))
    }

    /// The runtime, for what is ours: under a policy that nobody chooses, and no ceiling of the operator's for containers.
    pub fn own_runtime(&self, policy: &str, arguments: &[&str]) -> Command {
        let own = self.places.run.join("own");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (root, config) = (text(self.places.run.join("runtime")), text(own.clone()));
        let policy = text(own.join(policy));
        let program = text(self.arguments.libexec.join("runtime"));
        let words = [&program, "--root", &root, "--config-dir", &config, "--policy", &policy];
        command(words.into_iter().chain(arguments.iter().copied()))
    }
}

fn safe<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["nosuid", "nodev"], more].concat()
}

/// A command with nothing of ours but its words.
pub fn command<'a>(mut words: impl Iterator<Item = &'a str>) -> Command {
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command
}
