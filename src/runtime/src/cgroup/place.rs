//! Where a container's cgroups will be: plain data, written to the state before anything is made.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use casemate_spec::{ContainerId, Error, Result};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::layout::{Hierarchy, Layout};
use super::systemd::{self, Unit};

/// What decides on a container's place.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The container's id; the name of its cgroup when no path is asked for.
    pub id: &'a ContainerId,
    /// `linux.cgroupsPath`: from the root of each hierarchy when absolute, else from our own cgroup
    /// (on pure v2 from its parent, whose "no internal processes" rule we would break otherwise).
    /// With `systemd` it is `slice:prefix:name`.
    pub path: Option<&'a Path>,
    /// Use the systemd driver.
    pub systemd: bool,
    /// We lack the right over the host's cgroups: do without those that were not asked for.
    pub rootless: bool,
}

/// Every directory of a container, per hierarchy, and its systemd unit.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One for each v1 hierarchy.
    pub(super) v1: Vec<Place>,
    /// The v2 hierarchy.
    pub(super) unified: Option<Place>,
    /// The unit that owns the directories, under the systemd driver.
    pub(super) systemd: Option<Unit>,
    /// We act without the rights of root.
    pub(super) rootless: bool,
    /// No path was asked for, so that a rootless container may go without what it may not make.
    pub(super) default_path: bool,
}

/// One directory of a container.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Controllers of v1; empty for v2.
    pub(super) controllers: Vec<String>,
    /// The hierarchy's mount point.
    pub(super) mount: PathBuf,
    /// Which cgroup of the hierarchy is mounted there.
    pub(super) root: PathBuf,
    /// The container's directory below the mount point; never empty.
    pub(super) below: PathBuf,
}

impl Place {
    /// The directory's path on this host.
    pub(super) fn path(&self) -> PathBuf {
        self.mount.join(&self.below)
    }

    /// Whether the hierarchy has this v1 controller.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    pub(super) fn new(hierarchy: &Hierarchy, below: PathBuf) -> Self {
        let Hierarchy { controllers, mount, root, .. } = hierarchy.clone();
        Self { controllers, mount, root, below }
    }
}

impl Layout {
    /// Decides where a container's cgroups go. Makes nothing.
    ///
    /// # Errors
    /// When the path names no cgroup of its own (the root of a hierarchy), is not `slice:prefix:name` for the systemd
    /// driver, or no hierarchy that could confine devices is mounted and we are not rootless.
    pub fn place(&self, wish: &Wish<'_>) -> Result<Placement> {
        if self.v1.is_empty() && self.unified.is_none() && !wish.rootless {
            return Err(Error::new("cgroups", "no cgroup hierarchy is mounted")
                .hint("mount -t cgroup2 none /sys/fs/cgroup"));
        }
        if self.unified.is_none()
            && !self.v1.iter().any(|h| h.controllers.iter().any(|c| c == "devices"))
            && !wish.rootless
        {
            return Err(Error::new(
                "cgroups",
                "the devices controller is not mounted, devices would be open",
            )
            .hint("mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices"));
        }
        if wish.systemd {
            return systemd::place(self, wish);
        }
        let asked = wish.path.filter(|path| !path.as_os_str().is_empty());
        let path = asked.unwrap_or(Path::new(wish.id.as_str()));
        let (absolute, inner) = clean(path)?;
        let v1 = self.v1.iter().map(|h| {
            let base = if absolute { PathBuf::new() } else { h.own_below_mount()? };
            Ok::<_, Error>(Place::new(h, base.join(&inner)))
        });
        let unified = self.unified.as_ref().map(|h| {
            let base = if absolute { PathBuf::new() } else { self.unified_base(h)? };
            Ok::<_, Error>(Place::new(h, base.join(&inner)))
        });
        Ok(Placement {
            v1: v1.collect::<Result<_>>()?,
            unified: unified.transpose()?,
            systemd: None,
            rootless: wish.rootless,
            default_path: asked.is_none(),
        })
    }

    fn unified_base(&self, hierarchy: &Hierarchy) -> Result<PathBuf> {
        let mut own = hierarchy.own_below_mount()?;
        if self.is_pure_v2() {
            own.pop();
        }
        Ok(own)
    }
}

impl Placement {
    /// Whether a process enters by [`super::Cgroup::adopt`] alone, and has to wait for it.
    pub fn is_adopted(&self) -> bool {
        self.systemd.is_some()
    }

    /// Each controller's directory on this host; `""` stands for cgroup v2, as in runc's state.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let v1 = self.v1.iter().flat_map(|p| p.controllers.iter().map(|c| (c.clone(), p.path())));
        v1.chain(self.unified.iter().map(|p| (String::new(), p.path()))).collect()
    }

    /// Each hierarchy's controllers (none for cgroup v2), mount point and the container's directory, for the bind
    /// mounts that make up a container's `/sys/fs/cgroup`. A rootless container that has to go without a cgroup of
    /// its own is shown the one it stays in.
    pub fn hierarchies(&self) -> impl Iterator<Item = (&[String], &Path, PathBuf)> {
        self.v1
            .iter()
            .chain(&self.unified)
            .map(|p| (p.controllers.as_slice(), p.mount.as_path(), self.shown(p)))
    }

    fn shown(&self, place: &Place) -> PathBuf {
        let own = place.path();
        let denied = |parent: &&Path| access(*parent, Access::WRITE_OK).is_err();
        match own.parent().filter(|_| self.rootless && self.default_path).filter(denied) {
            Some(parent) => parent.to_owned(),
            None => own,
        }
    }

    /// Whether a container has to go without control groups, and so without limits: we may not make them, and nobody
    /// asked for them by path.
    pub fn is_refused(&self) -> bool {
        let refused = |place: &Place| {
            place.path().parent().is_none_or(|parent| access(parent, Access::WRITE_OK).is_err())
        };
        let dispensable = self.rootless && self.default_path && self.systemd.is_none();
        let mut places = self.v1.iter().chain(&self.unified).peekable();
        dispensable && (places.peek().is_none() || places.any(refused))
    }

    /// Whether cgroup v2 is all there is.
    pub fn is_pure_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// The systemd unit's name, under the systemd driver.
    pub fn unit(&self) -> Option<&str> {
        self.systemd.as_ref().map(|unit| unit.name.as_str())
    }
}

/// The path without `.`, `..` and doubled slashes, and whether it started at a hierarchy's root.
///
/// `..` never climbs out: the path comes from the bundle, which may be hostile.
pub(super) fn clean(path: &Path) -> Result<(bool, PathBuf)> {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir => {
                inner.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if inner.as_os_str().is_empty() {
        return Err(Error::new(
            format!("linux.cgroupsPath {}", path.display()),
            "it names no cgroup of the container's own: deleting the container would end everything in it",
        ));
    }
    Ok((path.is_absolute(), inner))
}
