//! What is to be mounted: `Binds`, `Mounts`, `Tmpfs`, `VolumesFrom` and `Volumes`, as Docker reads them.

mod long;
mod short;
mod tmpfs;

use std::collections::BTreeMap;

use super::{Config, HostConfig, MountPoint, PointKind};
use crate::{Failure, Result};

pub(crate) use tmpfs::options as tmpfs_options;

/// One mount, before its volume is looked up or made.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Known in whole.
    Point(MountPoint),
    /// A volume.
    Volume(VolumeWanted),
}

/// A volume, by what was said of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VolumeWanted {
    /// Its name; none is an anonymous one.
    pub name: Option<String>,
    /// An absolute path in the container.
    pub destination: String,
    /// Nothing may be written to it.
    pub read_only: bool,
    /// The image's content is copied into it while it is empty.
    pub copy: bool,
    /// The options as they were written.
    pub mode: String,
    /// A directory beneath it.
    pub subpath: Option<String>,
    /// For one that is made.
    pub driver: String,
    /// For one that is made.
    pub options: BTreeMap<String, String>,
    /// For one that is made.
    pub labels: BTreeMap<String, String>,
}

impl Wanted {
    /// Where.
    pub fn destination(&self) -> &str {
        match self {
            Self::Point(point) => &point.destination,
            Self::Volume(volume) => &volume.destination,
        }
    }
}

/// Everything that is to be mounted, but for what other containers lend. `lent` are their mounts; what is asked for by
/// name takes their place.
///
/// # Errors
/// In Docker's words.
pub fn wanted(config: &Config, host_config: &HostConfig, lent: Vec<MountPoint>) -> Result<Vec<Wanted>> {
    let mut list: Vec<Wanted> = Vec::new();
    let mut add = |wanted: Wanted| {
        if list.iter().any(|other| other.destination() == wanted.destination()) {
            return Err(Failure::invalid(format!("Duplicate mount point: {}", wanted.destination())));
        }
        list.push(wanted);
        Ok(())
    };
    for (path, options) in host_config.tmpfs.iter().flatten() {
        add(Wanted::Point(tmpfs::point(path, options)?))?;
    }
    for text in host_config.binds.iter().flatten() {
        add(short::read(text, &host_config.volume_driver)?)?;
    }
    for asked in host_config.mounts.iter().flatten() {
        add(long::read(asked)?)?;
    }
    let taken = |list: &[Wanted], place: &str| list.iter().any(|other| other.destination() == place);
    for point in lent {
        if !taken(&list, &point.destination) {
            list.push(Wanted::Point(point));
        }
    }
    for path in config.volumes.iter().flat_map(BTreeMap::keys) {
        let destination = destination(path)?;
        if !taken(&list, &destination) {
            let driver = host_config.volume_driver.clone();
            list.push(Wanted::Volume(VolumeWanted { destination, copy: true, driver, ..Default::default() }));
        }
    }
    // What lies above is mounted first, whatever the order in which it was asked for.
    list.sort_by_key(|wanted| wanted.destination().matches('/').count());
    Ok(list)
}

/// `container[:ro|rw]` of `VolumesFrom`: the container, and whether what it lends is read-only here.
///
/// # Errors
/// In Docker's words.
pub fn volumes_from(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(Failure::invalid("volumes-from specification cannot be an empty string"));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    match mode {
        "rw" | "z" | "Z" | "nocopy" => Ok((container, false)),
        "ro" => Ok((container, true)),
        _ => Err(Failure::invalid(format!("invalid mode for volumes-from: {mode}"))),
    }
}

/// A container's mounts as another one gets them.
pub fn lend(points: &[MountPoint], read_only: bool) -> Vec<MountPoint> {
    let lent = points.iter().filter(|point| !matches!(point.kind, PointKind::Tmpfs { .. }));
    lent.cloned()
        .map(|mut point| {
            point.read_only |= read_only;
            if let PointKind::Volume { anonymous, .. } = &mut point.kind {
                // Whoever borrows it does not take it along.
                *anonymous = false;
            }
            point
        })
        .collect()
}

/// Where something is mounted: absolute, plain, and not the root itself.
fn destination(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Failure::invalid(format!("invalid mount path: '{path}' mount path must be absolute")));
    }
    match clean(path).as_str() {
        "/" => Err(Failure::invalid("invalid specification: destination can't be '/'")),
        plain if plain.chars().any(char::is_control) => {
            Err(Failure::invalid(format!("invalid mount path: {path:?}: a control character")))
        }
        plain => Ok(plain.to_owned()),
    }
}

/// An absolute path without what is superfluous.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// A volume's name.
///
/// # Errors
/// In Docker's words.
pub(crate) fn volume_name(name: &str) -> Result<&str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() > 1 && name.len() <= 255 && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(Failure::invalid(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// How mounts travel, for a bind.
fn propagation(word: &str) -> bool {
    matches!(word, "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared")
}

#[cfg(test)]
mod tests;
