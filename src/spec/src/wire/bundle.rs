//! What the runtime is told beside a container's configuration, and the configurations of our own programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::STORE_IDS;

/// The runtime's store document.
#[derive(Debug, Serialize)]
pub struct StoreDocument {
    ids: u32,
    overlays: BTreeMap<String, Overlay>,
    root: Option<PathBuf>,
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
    quota: Option<u64>,
}

impl StoreDocument {
    /// With nothing but binds.
    pub fn new(binds: Vec<String>) -> Self {
        Self { ids: STORE_IDS, overlays: BTreeMap::new(), root: None, binds, hidden: Vec::new() }
    }

    /// With places that no bind of the asker's may show.
    pub fn hide(&mut self, places: impl IntoIterator<Item = PathBuf>) {
        self.hidden.extend(places);
    }

    /// With one more bind.
    pub fn bind(&mut self, destination: &str) {
        self.binds.push(destination.to_owned());
    }

    /// With an overlay of these layers, the uppermost first, beneath a container's own where it may be written: its place,
    /// and how many bytes may be in it.
    pub fn overlay(&mut self, destination: &str, lowers: Vec<PathBuf>, own: Option<(PathBuf, Option<u64>)>) {
        let upper = own.map(|(place, quota)| Upper { fs: place.join("fs"), work: place.join("work"), quota });
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
    /// The control group; where it is empty, the runtime's choice.
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

    /// Its configuration, on the root at `root`, which `store` is told to be its own: no policy would have a stranger
    /// show a place of the store.
    pub fn config(&self, root: &Path, store: &mut StoreDocument) -> Value {
        store.root = Some(root.to_owned());
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
                "cgroupsPath": (!self.cgroup.is_empty()).then_some(&self.cgroup),
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            },
        })
    }
}

fn safe<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["nosuid", "nodev"], more].concat()
}
