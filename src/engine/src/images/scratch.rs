//! A folder for one test.

use std::path::PathBuf;

/// It goes when it is dropped.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A new and empty one.
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("scratch folder");
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
