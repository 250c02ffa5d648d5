//! Control groups that hold those of containers: made and limited by themselves, with no process in them.

use casemate_spec::{Error, Result};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::apply;
use super::create::{Made, make};
use super::dir::{Dir, os};
use super::place::{Place, Placement};
use super::systemd;

impl Placement {
    /// Makes the directories where they are missing and sets limits; what is not named stays as it is. What the
    /// kernel shares out to containers beneath is passed on when they are made.
    ///
    /// # Errors
    /// A limit makes no sense or cannot be set here, or processes are in the group itself; what was made is removed.
    pub fn set(&self, resources: &LinuxResources) -> Result<()> {
        apply::check(resources)?;
        if resources.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
            return Err(Error::new(
                "linux.resources.devices",
                "a parent control group has no rules for devices",
            ));
        }
        if let Some(unit) = &self.systemd {
            if !unit.is_slice() {
                return Err(Error::new(format!("unit {}", unit.name), "only a slice holds other units")
                    .hint("PARENT.slice::PARENT-NAME.slice"));
            }
            if self.open()?.is_empty() {
                systemd::start(unit, 0, resources, None)?;
            }
        }
        let mut made = Made::default();
        let set = make(self, &mut made).and_then(|cgroup| cgroup.apply(resources));
        set.inspect_err(|_| made.undo())
    }

    /// Removes the directories; one that is not there is as good. Unlike a container's own, they are not emptied first:
    /// what is beneath is somebody's.
    ///
    /// # Errors
    /// There are control groups or processes in it.
    pub fn vacate(&self) -> Result<()> {
        let places: Vec<&Place> = self.v1.iter().chain(&self.unified).collect();
        // All are looked at before any is removed: one that is in use keeps its limits on every hierarchy.
        for place in &places {
            if let Some(dir) = opened(place)? {
                refuse_used(&dir)?;
            }
        }
        if let Some(unit) = &self.systemd {
            systemd::stop(unit)?;
        }
        places.into_iter().try_for_each(removed)
    }
}

fn opened(place: &Place) -> Result<Option<Dir>> {
    let mount = Dir::open_if_mounted(&place.mount);
    match mount.map_err(|e| os(format!("open cgroup mount {}", place.mount.display()), e))? {
        Some(mount) => mount.beneath(&place.below),
        None => Ok(None),
    }
}

fn refuse_used(dir: &Dir) -> Result<()> {
    let refuse = |why: String| Err(Error::new(format!("remove cgroup {}", dir.path().display()), why));
    if let Some(child) = dir.children()?.first() {
        return refuse(format!("it holds others: {}", child.to_string_lossy()));
    }
    match dir.read_if_there("cgroup.procs")?.unwrap_or_default().lines().count() {
        0 => Ok(()),
        count => refuse(format!("{count} processes are in it")),
    }
}

fn removed(place: &Place) -> Result<()> {
    let (Some(above), Some(name)) = (place.below.parent(), place.below.file_name()) else {
        return Err(Error::new(format!("cgroup path {}", place.below.display()), "it names no cgroup"));
    };
    let parent = Place { below: above.to_owned(), ..place.clone() };
    let Some(parent) = opened(&parent)? else { return Ok(()) };
    parent.remove(name).map_err(|errno| {
        let error = os(format!("remove cgroup {}", parent.path().join(name).display()), errno);
        if errno == Errno::BUSY { error.hint("a container was started in it meanwhile") } else { error }
    })
}
