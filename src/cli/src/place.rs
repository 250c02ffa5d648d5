//! Where a data root's things are.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use casemate_spec::wire::{DAEMON, STORE_IDS};
use casemate_spec::{Error, Result};
use sha2::{Digest, Sha256};

use crate::rootless;

/// The data root of a host that has one.
const DEFAULT: &str = "/var/lib/casemate";

/// The group that the daemon has on the disk: it may read its configuration, and nobody else's process has it.
pub const DAEMON_GROUP: u32 = STORE_IDS + DAEMON;

/// A data root.
#[derive(Debug, Clone)]
pub struct Place {
    /// Everything that lasts.
    pub data: PathBuf,
    /// Configuration, and the server's certificates.
    pub etc: PathBuf,
    /// The authority's key, and clients' certificates.
    pub pki: PathBuf,
    /// What lives as long as the host runs.
    pub run: PathBuf,
}

impl Place {
    /// Makes the folders that are missing.
    ///
    /// # Errors
    /// Not root, or one cannot be made.
    pub fn make(data: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new(data.display().to_string(), "only root may set up a data root"));
        }
        folder(data, 0o711, None)?;
        let place = Self::find(data)?;
        folder(&place.etc, 0o750, Some(DAEMON_GROUP))?;
        folder(&place.pki, 0o700, None)?;
        folder(&rootless::run_dir()?, 0o711, None)?;
        folder(&place.run, 0o700, None)?;
        Ok(place)
    }

    /// A data root that is there.
    ///
    /// # Errors
    /// It is not.
    pub fn find(data: &Path) -> Result<Self> {
        let data = fs::canonicalize(data).map_err(|e| Error::io(data.display().to_string(), &e))?;
        let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
        let instance: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let run = rootless::run_dir()?.join(instance);
        let etc = if data == Path::new(DEFAULT) { PathBuf::from("/etc/casemate") } else { data.join("etc") };
        Ok(Self { pki: data.join("pki"), run, data, etc })
    }

    /// The certificates of a client, in the form of `DOCKER_CERT_PATH`.
    pub fn client(&self, name: &str) -> PathBuf {
        self.pki.join("clients").join(name)
    }
}

/// Makes a folder where there is none.
///
/// # Errors
/// It cannot be made.
pub fn folder(path: &Path, mode: u32, group: Option<u32>) -> Result<()> {
    let failed = |error: &std::io::Error| Error::io(path.display().to_string(), error);
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|e| failed(&e))?;
    match group {
        Some(group) => chown(path, Some(0), Some(group)).map_err(|e| failed(&e)),
        None => Ok(()),
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, content: &[u8], mode: u32, group: Option<u32>) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let failed = |error: &std::io::Error| Error::io(path.display().to_string(), error);
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let attempt = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        if let Some(group) = group {
            std::os::unix::fs::fchown(&file, Some(0), Some(group))?;
        }
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|error| {
        // What is left of the attempt must not be in the way of the next.
        fs::remove_file(&temporary).ok();
        failed(&error)
    })
}
