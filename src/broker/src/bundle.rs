//! Bundles: what the runtime is told about a container, a helper or the daemon.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_spec::wire::{HexId, StoreDocument};
use casemate_spec::{Error, Result};
use serde::Serialize;

use crate::broker::Broker;
use crate::places::ROOT;
use crate::start::words;
use crate::tree;

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
        let (program, root) = (self.arguments.libexec.join("runtime"), self.places.run.join("runtime"));
        let (program, root, config) = (text(&program), text(&root), text(&self.places.config));
        let mut words = words(&[&program, "--exit-by-cause", "--root", &root, "--config-dir", &config]);
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

/// A command with nothing of ours but its words.
pub fn command<'a>(mut words: impl Iterator<Item = &'a str>) -> Command {
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command
}
