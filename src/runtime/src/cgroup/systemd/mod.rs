//! The systemd driver: a transient scope (or slice) owns the container's cgroups, so that systemd leaves them alone.

mod bus;
mod properties;
mod wire;

use std::path::{Path, PathBuf};

use casemate_spec::{Error, Result};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use self::bus::{Bus, Job};
use self::wire::{Body, Property, Value};
use super::devices::Rules;
use super::layout::{Hierarchy, Layout};
use super::place::{Place, Placement, Wish};

/// The unit of a container.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Such as `libpod-0123.scope`.
    pub(super) name: String,
    /// The slice above it, such as `machine.slice`.
    pub(super) slice: String,
    /// Whether the user's own manager has it.
    pub(super) user: bool,
    /// Whether cgroup v2 is all there is: properties have other names on v1.
    pub(super) pure_v2: bool,
}

impl Unit {
    pub(super) fn is_slice(&self) -> bool {
        has_slice_suffix(&self.name)
    }
}

/// Decides on a container's unit and, from it, on its directories.
pub(super) fn place(layout: &Layout, wish: &Wish<'_>) -> Result<Placement> {
    let path = wish.path.filter(|path| !path.as_os_str().is_empty());
    let default_slice = if wish.rootless { "user.slice" } else { "system.slice" };
    let (slice, prefix, name) = match path {
        None => (default_slice.to_owned(), "casemate".to_owned(), wish.id.as_str().to_owned()),
        Some(path) => parse(path, default_slice)?,
    };
    let name = match (has_slice_suffix(&name), prefix.is_empty()) {
        (true, _) => name,
        (false, true) => format!("{name}.scope"),
        (false, false) => format!("{prefix}-{name}.scope"),
    };
    if name.contains('/') || name.contains('\0') || name.len() > 255 {
        return Err(Error::new("linux.cgroupsPath", format!("{name:?} is no name for a systemd unit")));
    }
    let below = expand(&slice)?.join(&name);
    let unit = Unit { name, slice, user: wish.rootless, pure_v2: layout.is_pure_v2() };
    let base = |h: &Hierarchy| -> Result<PathBuf> { h.below_mount(&root_of_manager(h, wish.rootless)?) };
    let v1 = layout.v1.iter().map(|h| Ok::<_, Error>(Place::new(h, base(h)?.join(&below))));
    let unified = layout.unified.as_ref().map(|h| Ok::<_, Error>(Place::new(h, base(h)?.join(&below))));
    Ok(Placement {
        v1: v1.collect::<Result<_>>()?,
        unified: unified.transpose()?,
        systemd: Some(unit),
        rootless: wish.rootless,
        default_path: path.is_none(),
    })
}

/// Starts the unit around `pid` and waits until it is there; a slice is around nobody, and may leave devices to what is
/// in it.
pub(super) fn start(unit: &Unit, pid: i32, resources: &LinuxResources, rules: Option<&Rules>) -> Result<()> {
    let pid = u32::try_from(pid)
        .map_err(|_negative| Error::new("systemd scope", format!("{pid} is no process id")))?;
    let mut properties: Vec<Property> = vec![
        ("Description", Value::Text(format!("casemate container {}", unit.name))),
        ("DefaultDependencies", Value::Flag(false)),
        // A unit that failed would keep its name taken otherwise.
        ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
    ];
    if unit.is_slice() {
        properties.push(("Wants", Value::Texts(vec![unit.slice.clone()])));
    } else {
        properties.push(("Slice", Value::Text(unit.slice.clone())));
        properties.push(("Delegate", Value::Flag(true)));
        properties.push(("PIDs", Value::Numbers(vec![pid])));
    }
    let io = if unit.pure_v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for accounting in ["CPUAccounting", "MemoryAccounting", "TasksAccounting", io] {
        properties.push((accounting, Value::Flag(true)));
    }
    properties.extend(rules.map(properties::devices).into_iter().flatten());
    properties.extend(properties::limits(resources, unit.pure_v2)?);
    let mut bus = Bus::connect(unit.user)?;
    let body = Body::default().text(&unit.name)?.text("replace")?.properties(&properties)?.no_units()?;
    let refused = match bus.job("StartTransientUnit", &body)? {
        Job::Done => return Ok(()),
        Job::Refused(error, _) if error.ends_with(".UnitExists") => {
            // Left over from a container that failed: forget it, once.
            reset(&mut bus, unit);
            bus.job("StartTransientUnit", &body)?
        }
        refused @ Job::Refused(..) => refused,
    };
    match refused {
        Job::Done => Ok(()),
        Job::Refused(error, text) => {
            Err(Error::new(format!("systemd start {}", unit.name), format!("{text} ({error})")))
        }
    }
}

/// Tells systemd the new limits, lest it put the old ones back at its next reload.
pub(super) fn update(unit: &Unit, resources: &LinuxResources) -> Result<()> {
    let properties = properties::limits(resources, unit.pure_v2)?;
    if properties.is_empty() {
        return Ok(());
    }
    let body = Body::default().text(&unit.name)?.flag(true).properties(&properties)?;
    Bus::connect(unit.user)?.manager("SetUnitProperties", &body).map(|_answer| ())
}

/// Stops the unit, which kills what is left in it; a missing one is a success.
pub(super) fn stop(unit: &Unit) -> Result<()> {
    let mut bus = Bus::connect(unit.user)?;
    let body = Body::default().text(&unit.name)?.text("replace")?;
    match bus.job("StopUnit", &body)? {
        Job::Refused(error, text) if !error.ends_with(".NoSuchUnit") => {
            Err(Error::new(format!("systemd stop {}", unit.name), format!("{text} ({error})")))
        }
        Job::Done | Job::Refused(..) => {
            reset(&mut bus, unit);
            Ok(())
        }
    }
}

fn reset(bus: &mut Bus, unit: &Unit) {
    // Only a failed unit has something to reset; all others answer with an error.
    if let Ok(body) = Body::default().text(&unit.name) {
        match bus.manager("ResetFailedUnit", &body) {
            Ok(_) | Err(_) => {}
        }
    }
}

/// `slice:prefix:name`
fn parse(path: &Path, default_slice: &str) -> Result<(String, String, String)> {
    let text = path.to_string_lossy();
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts.as_slice() else {
        let why = format!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead"
        );
        return Err(Error::new("linux.cgroupsPath", why));
    };
    if name.is_empty() {
        return Err(Error::new("linux.cgroupsPath", format!("{text:?} names no unit")));
    }
    let slice = if slice.is_empty() { default_slice } else { slice };
    Ok((slice.to_owned(), (*prefix).to_owned(), (*name).to_owned()))
}

/// The directories of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)); `-.slice` is the root.
fn expand(slice: &str) -> Result<PathBuf> {
    let wrong = || Error::new("linux.cgroupsPath", format!("invalid slice name: {slice:?}"));
    let stem = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if stem == "-" {
        return Ok(PathBuf::new());
    }
    if stem.contains('/') || stem.contains('\0') {
        return Err(wrong());
    }
    let mut path = PathBuf::new();
    let mut name = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(part);
        path.push(format!("{name}.slice"));
    }
    Ok(path)
}

/// The cgroup below which the manager keeps its slices: the user's manager tells; the system's is where process 1 is.
fn root_of_manager(hierarchy: &Hierarchy, user: bool) -> Result<PathBuf> {
    if user {
        return Ok(Bus::connect(true)?.property("ControlGroup")?.into());
    }
    let file = "/proc/1/cgroup";
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(format!("read {file}"), &e))?;
    let wanted = hierarchy.controllers.join(",");
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        (fields.next()? == wanted).then(|| fields.next()).flatten()
    });
    let path = Path::new(path.unwrap_or("/"));
    Ok(if path.ends_with("init.scope") { path.parent().unwrap_or(path).to_owned() } else { path.to_owned() })
}

fn has_slice_suffix(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "slice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_nested_by_their_names() {
        assert_eq!(expand("test-a-b.slice").unwrap(), Path::new("test.slice/test-a.slice/test-a-b.slice"));
        assert_eq!(expand("-.slice").unwrap(), Path::new(""));
        for bad in ["", "x", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", ".slice"] {
            assert!(expand(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_path_has_three_parts() {
        let parsed = parse(Path::new("machine.slice:libpod:0123"), "system.slice").unwrap();
        assert_eq!(parsed, ("machine.slice".into(), "libpod".into(), "0123".into()));
        assert_eq!(parse(Path::new(":docker:x"), "system.slice").unwrap().0, "system.slice");
        assert!(parse(Path::new("/docker/x"), "system.slice").is_err());
    }
}
