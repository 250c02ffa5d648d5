//! `source:destination[:options]`, the form of `docker run -v`.

use super::{VolumeWanted, Wanted, clean, destination, propagation, volume_name};
use crate::containers::{MountPoint, PointKind};
use crate::{Failure, Result};

/// Reads one.
///
/// # Errors
/// In Docker's words.
pub fn read(text: &str, driver: &str) -> Result<Wanted> {
    let refuse = || Failure::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, place, options) = match parts[..] {
        [place] => (None, place, ""),
        [_, second] if Options::read(second, true).is_ok() => return Err(refuse()),
        [source, place] => (Some(source), place, ""),
        [source, place, options] => (Some(source), place, options),
        _ => return Err(refuse()),
    };
    if source == Some("") || place.is_empty() {
        return Err(refuse());
    }
    let bind = source.filter(|source| source.starts_with('/'));
    let kind = if bind.is_some() { "bind" } else { "volume" };
    let within = |failure: Failure| {
        failure
            .within(format!("invalid volume specification: '{text}': invalid mount config for type {kind:?}"))
    };
    let place = destination(place).map_err(within)?;
    if source.is_some_and(|source| source.chars().any(char::is_control)) {
        return Err(refuse());
    }
    let read = Options::read(options, bind.is_some())?;
    if let Some(source) = bind {
        return Ok(Wanted::Point(MountPoint {
            kind: PointKind::Bind {
                source: clean(source),
                create: true,
                recursive: true,
                propagation: read.propagation.unwrap_or_else(|| "rprivate".to_owned()),
            },
            destination: place,
            read_only: read.read_only,
            mode: options.to_owned(),
            listed: true,
        }));
    }
    let name = source.map(volume_name).transpose()?.map(str::to_owned);
    // Docker shows a named volume as relabelled where nothing was said.
    let mode = if name.is_some() && options.is_empty() { "z" } else { options };
    Ok(Wanted::Volume(VolumeWanted {
        name,
        destination: place,
        read_only: read.read_only,
        copy: read.copy,
        mode: mode.to_owned(),
        driver: driver.to_owned(),
        ..Default::default()
    }))
}

#[derive(Debug)]
struct Options {
    read_only: bool,
    copy: bool,
    propagation: Option<String>,
}

impl Options {
    fn read(text: &str, bind: bool) -> Result<Self> {
        let refuse = || Failure::invalid(format!("invalid mode: {text}"));
        let mut read = Self { read_only: false, copy: true, propagation: None };
        let (mut access, mut label, mut copies) = (0, 0, 0);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word {
                "ro" | "rw" => (read.read_only, access) = (word == "ro", access + 1),
                // There are no labels: both are as good as done.
                "z" | "Z" => label += 1,
                "nocopy" if !bind => (read.copy, copies) = (false, copies + 1),
                // For other systems, and without a meaning here.
                "consistent" | "cached" | "delegated" if bind => {}
                word if bind && propagation(word) && read.propagation.is_none() => {
                    read.propagation = Some(word.to_owned());
                }
                _ => return Err(refuse()),
            }
        }
        if access > 1 || label > 1 || copies > 1 { Err(refuse()) } else { Ok(read) }
    }
}
