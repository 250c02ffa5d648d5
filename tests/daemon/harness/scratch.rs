//! A directory of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// The directory; removed in the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one, whose name nobody else has.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make() -> Self {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/cmt-daemon-{}-{serial}z", std::process::id()));
        fs::create_dir_all(dir.join("capture")).expect("make a scratch directory");
        Self(dir)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its name.
    pub fn id(&self) -> String {
        self.0.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Makes a directory in it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).expect("make a directory");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("CASEMATE_KEEP").is_none() {
            fs::remove_dir_all(&self.0).ok();
        }
    }
}
