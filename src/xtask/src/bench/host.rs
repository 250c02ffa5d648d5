//! What must be lent to the host so that every contender runs on it.

use std::fs;
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::failure::{Doing as _, Outcome};

/// crun refuses a hybrid host that has hugetlb on the v2 side. While this lives, it is on the v1 side.
pub struct Hugetlb {
    place: Option<PathBuf>,
}

impl Hugetlb {
    /// Mounts the controller where it is needed, and says so.
    pub fn lend() -> Outcome<Self> {
        let unified = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
        if !unified.split_whitespace().any(|controller| controller == "hugetlb") {
            return Ok(Self { place: None });
        }
        let place = PathBuf::from("/sys/fs/cgroup/hugetlb");
        fs::create_dir_all(&place).doing(place.display())?;
        mount("cgroup", &place, "cgroup", MountFlags::empty(), Some(c"hugetlb"))
            .doing("mount hugetlb as cgroup v1")?;
        eprintln!("hugetlb is moved to cgroup v1 for this run: crun refuses a host that has it on v2");
        Ok(Self { place: Some(place) })
    }
}

impl Drop for Hugetlb {
    fn drop(&mut self) {
        let Some(place) = &self.place else { return };
        if let Err(error) = unmount(place, UnmountFlags::empty()) {
            eprintln!("xtask: unmounting {}: {error}", place.display());
        } else if let Err(error) = fs::remove_dir(place) {
            eprintln!("xtask: removing {}: {error}", place.display());
        }
    }
}
