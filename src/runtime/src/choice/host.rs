//! The host's configuration: `runtime.toml` in the configuration directory.

use std::path::{Path, PathBuf};

use casemate_spec::{Error, Result};
use serde::Deserialize;

use super::trusted::{self, Place};
use crate::cli::Global;
use crate::ids;

/// Where the configuration is unless `--config-dir` names another place.
const DIRECTORY: &str = "/etc/casemate";

/// What the host's administrator has decided for every container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// The policy where the command line names none; `None` for [`HostConfig::POLICY`].
    pub policy: Option<String>,
    /// What no container may exceed, whoever chooses its policy.
    pub ceiling: Option<String>,
    /// Policies that the annotation `io.casemate.policy` may choose though they are weaker.
    pub selectable: Vec<String>,
    /// Whether policies are only tried: what they would change or refuse is logged and passes.
    pub audit: bool,
    /// The file that audit lines are appended to.
    pub audit_log: PathBuf,
    /// Where user namespaces get their ids.
    pub ids: ids::Settings,
}

/// `runtime.toml`, every key optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    policy: Option<String>,
    ceiling: Option<String>,
    selectable: Vec<String>,
    audit: bool,
    audit_log: Option<PathBuf>,
    ids: Ids,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ids {
    base: Option<u32>,
    count: Option<u32>,
    state: Option<PathBuf>,
}

impl HostConfig {
    /// The policy where nobody names one.
    pub const POLICY: &'static str = "hardened";

    /// Reads `runtime.toml`; what it leaves out, and a host without one, has the defaults.
    ///
    /// # Errors
    /// It is malformed, somebody else could have written it, or `--config-dir` names a directory that is not there.
    pub fn load(global: &Global) -> Result<Self> {
        let directory = directory(global);
        let path = directory.join("runtime.toml");
        let document = match trusted::read(&path, Place::Configuration)? {
            Some(text) => casemate_policy::document::read(&text, &path.display().to_string())?,
            // A misspelt name must not lift the host's ceiling.
            None if global.config_dir.is_some() && !directory.is_dir() => {
                let what = format!("configuration directory {}", directory.display());
                return Err(Error::new(what, "there is no such directory"));
            }
            None => Document::default(),
        };
        let config = Self::from(document);
        if !config.audit_log.is_absolute() {
            let what = format!("{}: audit_log {}", path.display(), config.audit_log.display());
            return Err(Error::new(what, "not an absolute path"));
        }
        Ok(config)
    }
}

impl From<Document> for HostConfig {
    fn from(document: Document) -> Self {
        let Document { policy, ceiling, selectable, audit, audit_log, ids } = document;
        let audit_log = audit_log.unwrap_or_else(|| PathBuf::from("/var/log/casemate/audit.jsonl"));
        let pool = ids::Settings::default();
        let ids = ids::Settings {
            base: ids.base.unwrap_or(pool.base),
            count: ids.count.unwrap_or(pool.count),
            directory: ids.state.unwrap_or(pool.directory),
        };
        Self { policy, ceiling, selectable, audit, audit_log, ids }
    }
}

/// The configuration directory.
pub fn directory(global: &Global) -> &Path {
    global.config_dir.as_deref().unwrap_or(Path::new(DIRECTORY))
}
