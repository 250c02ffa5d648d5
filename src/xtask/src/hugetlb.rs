//! The controller for huge pages, moved between the two sides of a hybrid host, and always given back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::failure::{Doing as _, Failure, Outcome};
use crate::workspace;

/// crun refuses a hybrid host that has hugetlb on the v2 side. While this lives, it is on the v1 side.
pub struct OnV1 {
    place: Option<PathBuf>,
}

impl OnV1 {
    /// Mounts the controller where it is needed, and says so.
    pub fn lend() -> Outcome<Self> {
        give_back()?;
        let unified = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
        if !unified.split_whitespace().any(|controller| controller == "hugetlb") {
            return Ok(Self { place: None });
        }
        let place = PathBuf::from("/sys/fs/cgroup/hugetlb");
        fs::create_dir_all(&place).doing(place.display())?;
        if let Err(failure) = attach(&place) {
            // A folder there looks like a hierarchy to engines.
            fs::remove_dir(&place).doing(place.display())?;
            return Err(failure);
        }
        eprintln!("hugetlb is moved to cgroup v1 for this run: crun refuses a host that has it on v2");
        Ok(Self { place: Some(place) })
    }
}

impl Drop for OnV1 {
    fn drop(&mut self) {
        let Some(place) = &self.place else { return };
        if let Err(error) = unmount(place, UnmountFlags::empty()) {
            eprintln!("xtask: unmounting {}: {error}", place.display());
        } else if let Err(error) = fs::remove_dir(place) {
            eprintln!("xtask: removing {}: {error}", place.display());
        } else if let Err(failure) = give_back() {
            eprintln!("xtask: {failure}");
        }
    }
}

/// Frees the controller from a v1 hierarchy that nobody has mounted.
///
/// The kernel destroys a hierarchy at its last unmount only when it has no child groups, and a removed group
/// counts until it is released (kernel/cgroup/cgroup.c, `cgroup_kill_sb`): an unmount right after an `rmdir`
/// leaves one behind that neither side can use. Mounting and unmounting it again ends it.
pub fn give_back() -> Outcome {
    if !is_stranded()? {
        return Ok(());
    }
    eprintln!("hugetlb is in a cgroup v1 hierarchy that is mounted nowhere: it is given back");
    let place = workspace::scratch("hugetlb")?;
    for _ in 0..5 {
        attach(&place)?;
        unmount(&place, UnmountFlags::empty()).doing(place.display())?;
        // The end of a hierarchy is the work of a kernel thread: mounting too early would begin a new one.
        for _ in 0..20 {
            if !is_stranded()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Err(Failure::new("hugetlb", "stays in a cgroup v1 hierarchy that is mounted nowhere"))
}

fn is_stranded() -> Outcome<bool> {
    let groups = fs::read_to_string("/proc/self/cgroup").doing("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts").doing("/proc/self/mounts")?;
    let attached = groups.lines().any(|line| line.split(':').nth(1) == Some("hugetlb"));
    let mounted = mounts.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some("cgroup")
            && fields.next().is_some_and(|options| options.split(',').any(|option| option == "hugetlb"))
    });
    Ok(attached && !mounted && rustix::process::geteuid().is_root())
}

fn attach(place: &Path) -> Outcome {
    mount("cgroup", place, "cgroup", MountFlags::empty(), Some(c"hugetlb"))
        .doing("mount hugetlb as cgroup v1")
}
