//! A process's control groups, on every hierarchy that is mounted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories of one process's control groups.
#[derive(Debug, Clone)]
pub struct Cgroups {
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

/// One mounted hierarchy: where, and its controllers (none for v2).
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The v1 controllers (or `name=…`) bound to it; empty for v2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// All that are mounted, each once.
    ///
    /// # Panics
    /// When `/proc/self/mountinfo` cannot be read.
    pub fn all() -> Vec<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
        let mut found: Vec<Self> = Vec::new();
        for line in table.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<_> = left.split(' ').collect();
            let right: Vec<_> = right.split(' ').collect();
            let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first()) else {
                continue;
            };
            // Bind mounts of a part of a hierarchy, as containers have them, are not the hierarchy.
            if *root != "/" || found.iter().any(|h| h.mount == Path::new(mount)) {
                continue;
            }
            let options = right.get(2).copied().unwrap_or_default();
            let controllers: Vec<_> = match *kind {
                "cgroup" => options
                    .split(',')
                    .filter(|o| !["rw", "ro", "xattr"].contains(o))
                    .map(str::to_owned)
                    .collect(),
                "cgroup2" => Vec::new(),
                _ => continue,
            };
            if found.iter().any(|h| h.controllers == controllers) {
                continue;
            }
            found.push(Self { mount: mount.into(), controllers });
        }
        found
    }
}

impl Cgroups {
    /// Those of the process `pid`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn of(pid: i32) -> Self {
        let text =
            fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the process's control groups");
        let hierarchies = Hierarchy::all();
        let mut cgroups = Self { v1: BTreeMap::new(), v2: None };
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
            let names: Vec<String> = names.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect();
            let Some(hierarchy) = hierarchies.iter().find(|h| h.controllers.iter().eq(names.iter())) else {
                continue;
            };
            let dir = hierarchy.mount.join(path.trim_start_matches('/'));
            match names.is_empty() {
                true => cgroups.v2 = Some(dir),
                false => cgroups.v1.extend(names.into_iter().map(|name| (name, dir.clone()))),
            }
        }
        cgroups
    }

    /// The directory for a controller: its v1 one, else v2's where v2 has the controller.
    pub fn dir(&self, controller: &str) -> Option<PathBuf> {
        if let Some(dir) = self.v1.get(controller) {
            return Some(dir.clone());
        }
        let dir = self.v2.as_ref()?;
        let has = fs::read_to_string(dir.join("cgroup.controllers")).ok()?;
        has.split_whitespace().any(|name| name == controller).then(|| dir.clone())
    }

    /// Whether a controller is on v1 here.
    pub fn is_v1(&self, controller: &str) -> bool {
        self.v1.contains_key(controller)
    }

    /// The unified hierarchy's directory.
    pub fn unified(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// A controller's file, without the newline at its end.
    ///
    /// # Panics
    /// When the controller or the file is missing.
    pub fn read(&self, controller: &str, file: &str) -> String {
        let dir =
            self.dir(controller).unwrap_or_else(|| panic!("no control group for {controller}: {self:?}"));
        let path = dir.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    /// Every directory, each once.
    pub fn all(&self) -> Vec<PathBuf> {
        let mut dirs: Vec<_> = self.v1.values().cloned().chain(self.v2.clone()).collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }
}
