//! The bundles that are measured: one root filesystem, and for each contender its own configurations and overlays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};
use serde_json::json;

use crate::bench::case::Profile;
use crate::bench::contender::Contender;
use crate::failure::{Doing as _, Outcome};
use crate::{bundle, command, moby};

const PROGRAMS: [(&str, &[&str]); 2] = [("true", &["/bin/true"]), ("sleep", &["/bin/sleep", "3600"])];

/// Mounted overlays; unmounted when dropped.
pub struct Overlays(Vec<PathBuf>);

/// Writes every bundle, and mounts the overlays, as an engine does before it calls a runtime.
pub fn write(folder: &Path, contenders: &[Contender]) -> Outcome<Overlays> {
    let rootfs = bundle::root_filesystem(folder, &["true", "sleep"])?;
    let seccomp = moby::default_seccomp()?;
    let mut overlays = Overlays(Vec::new());
    for contender in contenders {
        for profile in Profile::ALL {
            for (program, args) in PROGRAMS {
                let place = profile.bundle(folder, contender.name(), program);
                fs::create_dir_all(&place).doing(place.display())?;
                let mut config = bundle::config(&rootfs, args);
                if profile != Profile::None {
                    config["linux"]["seccomp"] = seccomp.clone();
                }
                if profile == Profile::Overlay {
                    config["root"] = json!({ "path": overlays.mount(&rootfs, &place)? });
                    config["process"]["capabilities"] = bundle::docker_capabilities();
                    config["process"]["noNewPrivileges"] = json!(false);
                }
                bundle::write_config(&place, &config)?;
            }
        }
    }
    Ok(overlays)
}

impl Overlays {
    /// An overlay over the root filesystem that all share, with an empty layer to write to.
    fn mount(&mut self, rootfs: &Path, place: &Path) -> Outcome<PathBuf> {
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| place.join(name));
        // A run that was killed has left it.
        if unmount(&merged, UnmountFlags::DETACH).is_ok() {
            eprintln!("xtask: unmounted {}, which an earlier run has left", merged.display());
        }
        for folder in [&upper, &work, &merged] {
            if folder.exists() {
                fs::remove_dir_all(folder).doing(folder.display())?;
            }
            fs::create_dir(folder).doing(folder.display())?;
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", rootfs.display(), upper.display(), work.display());
        command::output(
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged),
        )?;
        self.0.push(merged.clone());
        Ok(merged)
    }
}

impl Drop for Overlays {
    fn drop(&mut self) {
        for merged in &self.0 {
            if let Err(error) = unmount(merged, UnmountFlags::DETACH) {
                eprintln!("xtask: cleaning up: {}: {error}", merged.display());
            }
        }
    }
}
