//! The runtime that an engine is given, and the policy it is told by its own command line.

use std::path::{Path, PathBuf};

/// A runtime binary for an engine.
#[derive(Debug, Clone)]
pub struct EngineRuntime {
    path: PathBuf,
    policy: Option<String>,
    ours: bool,
}

impl EngineRuntime {
    /// By name, `runc` or `casemate`, as everywhere; or the one binary named by `CASEMATE_ENGINE_RUNTIME`. Ours is under
    /// `oci`: most cases are about what the engine asks for, to the letter.
    ///
    /// `None` when this one is not to be tried; the other then proves what there is to prove.
    pub fn find(name: &str) -> Option<Self> {
        if let Some(path) = std::env::var_os("CASEMATE_ENGINE_RUNTIME") {
            return (name == "casemate").then(|| Self { path: path.into(), policy: None, ours: true });
        }
        let runtime = crate::runtimes().into_iter().find(|runtime| runtime.name() == name)?;
        let policy = runtime.is_ours().then(|| "oci".to_owned());
        Some(Self { path: runtime.path().to_owned(), policy, ours: runtime.is_ours() })
    }

    /// Ours under another policy; `None` where ours is not to be tried.
    pub fn under(policy: &str) -> Option<Self> {
        Some(Self { policy: Some(policy.to_owned()), ..Self::find("casemate")? })
    }

    /// Ours, told no policy at all: its default applies.
    pub fn untold() -> Option<Self> {
        Some(Self { policy: None, ..Self::find("casemate")? })
    }

    /// The binary.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same runtime at another place.
    #[must_use]
    pub fn at(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Whether it is the runtime under test, not the reference.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Whether no policy is named on its command line.
    pub fn is_told_nothing(&self) -> bool {
        self.ours && self.policy.is_none()
    }

    /// What comes before every command on its command line.
    pub fn args(&self) -> Vec<String> {
        self.flags().into_iter().map(|flag| format!("--{flag}")).collect()
    }

    /// The same in the form `--runtime-flag` of Podman and Buildah takes, which put the dashes before it.
    pub fn flags(&self) -> Vec<String> {
        self.policy.iter().map(|policy| format!("policy={policy}")).collect()
    }
}
