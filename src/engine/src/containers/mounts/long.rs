//! `Mounts`, the form of `docker run --mount`.

use super::{VolumeWanted, Wanted, clean, destination, propagation, tmpfs, volume_name};
use crate::containers::{BindOptions, MountAsked, MountPoint, PointKind};
use crate::{Failure, Result};

/// Reads one.
///
/// # Errors
/// In Docker's words.
pub fn read(asked: &MountAsked) -> Result<Wanted> {
    let within = |failure: Failure| failure.within(format!("invalid mount config for type {:?}", asked.kind));
    match asked.kind.as_str() {
        "bind" => bind(asked).map_err(within),
        "volume" => volume(asked).map_err(within),
        "tmpfs" => tmpfs(asked).map_err(within),
        other => Err(Failure::invalid(format!("mount type unknown: {other:?}"))),
    }
}

fn target(asked: &MountAsked) -> Result<String> {
    if asked.target.is_empty() {
        return Err(Failure::invalid("field Target must not be empty"));
    }
    destination(&asked.target)
}

fn foreign(asked: &MountAsked, bind: bool, volume: bool, tmpfs: bool) -> Result<()> {
    let given = [
        ("BindOptions", bind, asked.bind_options.is_some()),
        ("VolumeOptions", volume, asked.volume_options.is_some()),
        ("TmpfsOptions", tmpfs, asked.tmpfs_options.is_some()),
    ];
    match given.iter().find(|(_, fits, given)| *given && !fits) {
        Some((name, ..)) => Err(Failure::invalid(format!("field {name} must not be specified"))),
        None => Ok(()),
    }
}

fn bind(asked: &MountAsked) -> Result<Wanted> {
    let destination = target(asked)?;
    if asked.source.is_empty() {
        return Err(Failure::invalid("field Source must not be empty"));
    }
    foreign(asked, true, false, false)?;
    if !asked.source.starts_with('/') || asked.source.chars().any(char::is_control) {
        let message = format!("invalid mount path: '{}' mount path must be absolute", asked.source);
        return Err(Failure::invalid(message));
    }
    let options = asked.bind_options.clone().unwrap_or_default();
    let travel = read_only_as_asked(asked, &options)?;
    Ok(Wanted::Point(MountPoint {
        kind: PointKind::Bind {
            source: clean(&asked.source),
            create: options.create_mountpoint,
            recursive: !options.non_recursive,
            propagation: travel,
        },
        destination,
        read_only: asked.read_only,
        mode: String::new(),
        listed: true,
    }))
}

fn read_only_as_asked(asked: &MountAsked, options: &BindOptions) -> Result<String> {
    if (options.read_only_non_recursive || options.read_only_force_recursive) && !asked.read_only {
        return Err(Failure::invalid(
            "mount must be read-only for ReadOnlyNonRecursive or ReadOnlyForceRecursive",
        ));
    }
    if options.read_only_force_recursive {
        return Err(Failure::invalid("ReadOnlyForceRecursive is not available in this version"));
    }
    match options.propagation.as_str() {
        "" => Ok("rprivate".to_owned()),
        word if propagation(word) => Ok(word.to_owned()),
        word => Err(Failure::invalid(format!("invalid propagation mode: {word}"))),
    }
}

fn volume(asked: &MountAsked) -> Result<Wanted> {
    let destination = target(asked)?;
    foreign(asked, false, true, false)?;
    let options = asked.volume_options.clone().unwrap_or_default();
    let named = !asked.source.is_empty();
    if !named && !options.subpath.is_empty() {
        return Err(Failure::invalid("must not set Subpath when using anonymous volumes"));
    }
    let subpath = Some(options.subpath).filter(|path| !path.is_empty());
    if let Some(path) = &subpath {
        let inward = !path.starts_with('/') && path.split('/').all(|name| !matches!(name, "" | "." | ".."));
        if !inward || path.chars().any(char::is_control) {
            return Err(Failure::invalid("subpath must be a relative path within the volume"));
        }
    }
    let driver = options.driver_config.unwrap_or_default();
    Ok(Wanted::Volume(VolumeWanted {
        name: if named { Some(volume_name(&asked.source)?.to_owned()) } else { None },
        destination,
        read_only: asked.read_only,
        copy: !options.no_copy,
        mode: if named { "z".to_owned() } else { String::new() },
        subpath,
        driver: driver.name,
        options: driver.options.unwrap_or_default(),
        labels: options.labels.unwrap_or_default(),
    }))
}

fn tmpfs(asked: &MountAsked) -> Result<Wanted> {
    let destination = target(asked)?;
    if !asked.source.is_empty() {
        return Err(Failure::invalid("field Source must not be specified"));
    }
    foreign(asked, false, false, true)?;
    let options = asked.tmpfs_options.clone().unwrap_or_default();
    if options.size_bytes < 0 {
        return Err(Failure::invalid("invalid tmpfs size: it is less than nothing"));
    }
    let mut words = Vec::new();
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode & 0o7777));
    }
    if options.size_bytes != 0 {
        words.push(format!("size={}", options.size_bytes));
    }
    for option in options.options.iter().flatten() {
        match &option[..] {
            [name] => words.push(name.clone()),
            [name, value] => words.push(format!("{name}={value}")),
            _ => return Err(Failure::invalid("invalid option array length")),
        }
    }
    Ok(Wanted::Point(MountPoint {
        kind: PointKind::Tmpfs { options: tmpfs::options(&words.join(","))? },
        destination,
        read_only: asked.read_only,
        mode: String::new(),
        listed: true,
    }))
}
