//! A small disk of a test's own, for what happens when it is full.

use std::path::PathBuf;

use rustix::mount::{UnmountFlags, unmount};

use super::scratch::Scratch;

/// An ext4 file system in a file, mounted. Root's reserve is kept small but real: the privileged side writes on for a
/// while when the unprivileged one no longer can, as on any host.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of this size at a directory of the scratch directory.
    ///
    /// # Errors
    /// This host has no loop devices, or no ext4: what the programs said.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn mount(scratch: &Scratch, at: &str, mebibytes: u64) -> Result<Self, String> {
        let file = scratch.path().join("disk.img");
        let image = std::fs::File::create(&file).expect("make a file");
        image.set_len(mebibytes << 20).expect("give it a size");
        let at = scratch.dir(at);
        run("mkfs.ext4", &["-q", "-F", "-m", "2", "-N", "8192", &file.to_string_lossy()])?;
        run("mount", &["-o", "loop", &file.to_string_lossy(), &at.to_string_lossy()])?;
        Ok(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Somebody may still be ending in it; what is detached goes when they have.
        if unmount(&self.0, UnmountFlags::empty()).is_err() {
            unmount(&self.0, UnmountFlags::DETACH).ok();
        }
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or_else(|| format!("{program}: {said}"))
}
