//! Making a container's cgroups, and taking back what was made when a later step fails.

use std::ffi::OsString;
use std::path::Component;

use casemate_spec::{Error, Result};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::dir::{Dir, os};
use super::place::{Place, Placement};
use super::{Cgroup, V1, apply, devices};

impl Placement {
    /// Makes the directories and sets the limits; the container's init has yet to enter (see [`Cgroup::entry`]).
    ///
    /// With the systemd driver only the directories on v1 are made, which a container's mounts may need: its unit cannot
    /// be started before there is a process. The rest is kept until
    /// [`Cgroup::adopt`], which has to be called between the birth of init and its release.
    ///
    /// # Errors
    /// When a directory cannot be made or a limit cannot be set; what was made is removed again.
    pub fn create(&self, resources: Option<&LinuxResources>) -> Result<Cgroup> {
        if let Some(resources) = resources {
            apply::check(resources)?;
        }
        let devices = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
        let rules = devices::Rules::new(devices)?;
        let mut made = Made::default();
        if self.systemd.is_some() {
            make_v1(&mut Cgroup::empty(self), &mut made, true).inspect_err(|_| made.undo())?;
            let pending = Some((resources.cloned().unwrap_or_default(), rules));
            return Ok(Cgroup { pending, ..Cgroup::empty(self) });
        }
        make(self, &mut made)
            .and_then(|cgroup| cgroup.limit(resources, &rules).map(|()| cgroup))
            .inspect_err(|_| made.undo())
    }

    /// The container's existing directories; those that are missing are left out.
    ///
    /// # Errors
    /// When a directory cannot be opened.
    pub fn open(&self) -> Result<Cgroup> {
        let mut cgroup = Cgroup::empty(self);
        for place in &self.v1 {
            if let Some(dir) = open_place(place)? {
                cgroup.v1.push(V1 { controllers: place.controllers.clone(), dir });
            }
        }
        cgroup.unified = self.unified.as_ref().map(open_place).transpose()?.flatten();
        Ok(cgroup)
    }
}

fn open_place(place: &Place) -> Result<Option<Dir>> {
    let mount = Dir::open_if_mounted(&place.mount);
    match mount.map_err(|e| os(format!("open cgroup mount {}", place.mount.display()), e))? {
        Some(mount) => mount.beneath(&place.below),
        None => Ok(None),
    }
}

impl Cgroup {
    /// Sets what a new container is allowed, devices included.
    pub(super) fn limit(&self, resources: Option<&LinuxResources>, rules: &devices::Rules) -> Result<()> {
        let rootless = self.placement.rootless;
        match devices::confine(self, rules) {
            // Without privilege neither v1 nor the bpf program is ours to set; the user namespace confines instead.
            Err(_refused) if rootless => {}
            other => other?,
        }
        resources.map_or(Ok(()), |resources| apply::apply(self, resources)).map_err(|e| match &self.denied {
            Some(denied) => Error::new(
                "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
                denied.to_string(),
            ),
            None => e,
        })
    }
}

/// Makes every directory, without a limit.
pub(super) fn make(placement: &Placement, made: &mut Made) -> Result<Cgroup> {
    let mut cgroup = Cgroup::empty(placement);
    // systemd has put init into its unit's directories already.
    let fresh = placement.systemd.is_none();
    make_v1(&mut cgroup, made, fresh)?;
    let Some(place) = &placement.unified else { return Ok(cgroup) };
    match make_unified(place, made, fresh) {
        Ok(dir) => cgroup.unified = Some(dir),
        Err(e) if is_dispensable(placement, &e) => cgroup.denied = Some(e),
        // In a hybrid the limits live on v1: a v2 side we may not write is no loss.
        Err(e) if placement.rootless && !placement.v1.is_empty() && is_denial(&e) => {}
        Err(e) => return Err(e),
    }
    Ok(cgroup)
}

fn make_v1(cgroup: &mut Cgroup, made: &mut Made, fresh: bool) -> Result<()> {
    let placement = cgroup.placement.clone();
    for place in &placement.v1 {
        let fill = if place.has("cpuset") { inherit_cpuset } else { |_: &Dir, _: &Dir| Ok(()) };
        match chain(place, made, fresh, fill) {
            Ok(dir) => cgroup.v1.push(V1 { controllers: place.controllers.clone(), dir }),
            Err(e) if is_dispensable(&placement, &e) => cgroup.denied = Some(e),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether a container may do without what was refused: nobody asked for this place, and we are not root.
fn is_dispensable(placement: &Placement, refusal: &Error) -> bool {
    placement.rootless && placement.default_path && is_denial(refusal)
}

/// What was made so far: the directory that holds it, and its name.
#[derive(Default)]
pub(super) struct Made(Vec<(Dir, OsString)>);

impl Made {
    /// Removes it, last made first. A directory that others have come to use meanwhile stays.
    pub(super) fn undo(&mut self) {
        while let Some((parent, name)) = self.0.pop() {
            match parent.remove(&name) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Opens the directories from the mount point down to the container's, making those that are missing.
fn chain(
    place: &Place,
    made: &mut Made,
    fresh: bool,
    ready: impl Fn(&Dir, &Dir) -> Result<()>,
) -> Result<Dir> {
    // Another container's end may remove a shared parent between any two steps: then it is made anew.
    let mut tries = 0;
    loop {
        match descend(place, made, fresh, &ready) {
            Err(e) if tries < 100 && is_absence(&e) => tries += 1,
            other => return other,
        }
    }
}

fn descend(
    place: &Place,
    made: &mut Made,
    fresh: bool,
    ready: &impl Fn(&Dir, &Dir) -> Result<()>,
) -> Result<Dir> {
    let mut at = Dir::open_mount(&place.mount)?;
    let mut parts = place.below.components().peekable();
    while let Some(Component::Normal(name)) = parts.next() {
        let (next, new) = enter(&at, name, parts.peek().is_none())?;
        let readied = ready(&at, &next);
        let parent = std::mem::replace(&mut at, next);
        if new {
            made.0.push((parent, name.to_owned()));
        }
        readied?;
        if fresh && !new && parts.peek().is_none() {
            refuse_occupied(&at)?;
        }
    }
    Ok(at)
}

/// The child directory, and whether it had to be made; the last one of a path most often has to be, the others not.
fn enter(at: &Dir, name: &std::ffi::OsStr, last: bool) -> Result<(Dir, bool)> {
    let failed = |e| os(format!("mkdir {}", at.path().join(name).display()), e);
    let mut new = last && at.make(name).map_err(failed)?;
    let child = match at.child(name) {
        Err(Errno::NOENT) => {
            new = at.make(name).map_err(failed)?;
            at.child(name)
        }
        other => other,
    };
    Ok((child.map_err(failed)?, new))
}

/// Two containers in one cgroup would be limited, frozen and killed together.
fn refuse_occupied(dir: &Dir) -> Result<()> {
    let held = dir.read_if_there("cgroup.procs")?.unwrap_or_default();
    match held.lines().count() {
        0 => Ok(()),
        count => Err(Error::new(
            format!("cgroup {}", dir.path().display()),
            format!("container's cgroup is not empty: {count} process(es) found"),
        )),
    }
}

/// A new v1 cpuset has neither CPUs nor memory nodes, and no process may enter it (cpuset(7)).
fn inherit_cpuset(parent: &Dir, child: &Dir) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if child.read(file)?.trim().is_empty() {
            let inherited = parent.read(file)?;
            let inherited = inherited.trim();
            if !inherited.is_empty() {
                child.write(file, inherited)?;
            }
        }
    }
    Ok(())
}

fn make_unified(place: &Place, made: &mut Made, fresh: bool) -> Result<Dir> {
    let root = Dir::open_mount(&place.mount)?;
    let offered = root.read_if_there("cgroup.controllers")?.unwrap_or_default();
    let offered: Vec<&str> = offered.split_whitespace().collect();
    let dir = chain(place, made, fresh, |parent, _child| enable(parent, &offered))?;
    join_threaded(&dir)?;
    Ok(dir)
}

/// Passes the controllers on to the children of `parent`, as far as the kernel lets us.
fn enable(parent: &Dir, offered: &[&str]) -> Result<()> {
    if offered.is_empty() {
        return Ok(());
    }
    let on = parent.read_if_there("cgroup.subtree_control")?.unwrap_or_default();
    let missing: Vec<String> = offered
        .iter()
        .filter(|name| !on.split_whitespace().any(|have| have == **name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() || parent.try_write("cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return Ok(());
    }
    // One controller that may not be passed on (rootless, or held by a v1 mount) must not keep the others away;
    // a limit that needs a missing one is refused when it is set.
    for name in missing {
        match parent.try_write("cgroup.subtree_control", &name) {
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Below a cgroup with processes of its own a new one is "domain invalid": only as a threaded one can it be entered.
fn join_threaded(dir: &Dir) -> Result<()> {
    match dir.read_if_there("cgroup.type")? {
        Some(kind) if kind.trim() == "domain invalid" => dir.write("cgroup.type", "threaded"),
        _ => Ok(()),
    }
}

fn is_denial(error: &Error) -> bool {
    let denials = [Errno::ACCESS, Errno::PERM, Errno::ROFS];
    error.errno().is_some_and(|number| denials.iter().any(|e| e.raw_os_error() == number))
}

fn is_absence(error: &Error) -> bool {
    let absences = [Errno::NOENT, Errno::NODEV];
    error.errno().is_some_and(|number| absences.iter().any(|e| e.raw_os_error() == number))
}
