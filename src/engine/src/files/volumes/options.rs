//! What the local driver can be told: `type`, `o` and `device`, as mount(8) has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::containers::tmpfs_options;
use crate::{Failure, Result};

/// What stands behind a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Backing {
    /// A directory of the store.
    #[default]
    Store,
    /// Memory, each container's own.
    Tmpfs {
        /// mount(8) options.
        options: Vec<String>,
    },
    /// A place of the host, under the same rules as any bind mount.
    Bind {
        /// Its path.
        source: String,
        /// With what is mounted beneath it.
        recursive: bool,
        /// Nothing may be written to it.
        read_only: bool,
    },
}

/// Reads the options.
///
/// # Errors
/// One is not known, or asks for a mount that the host would have to make.
pub fn backing(options: &BTreeMap<String, String>) -> Result<Backing> {
    if options.is_empty() {
        return Ok(Backing::Store);
    }
    if let Some(option) = options.keys().find(|name| !matches!(name.as_str(), "type" | "o" | "device")) {
        return Err(Failure::invalid(format!("invalid option: {option:?}")));
    }
    let value = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    if let Some(missing) = ["device", "type"].into_iter().find(|name| value(name).is_empty()) {
        return Err(Failure::invalid(format!("missing required option: {missing:?}")));
    }
    let words: Vec<&str> = value("o").split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    match value("type") {
        "tmpfs" => Ok(Backing::Tmpfs { options: tmpfs_options(&words.join(","))? }),
        "none" | "bind" => bind(value("device"), &words),
        kind => Err(Failure::unsupported(format!(
            "type {kind:?} has the host mount a filesystem, which is not done here: mount it on the host, and use \
             type=none, o=bind and its path as the device"
        ))),
    }
}

fn bind(device: &str, words: &[&str]) -> Result<Backing> {
    if !words.iter().any(|word| matches!(*word, "bind" | "rbind")) {
        return Err(Failure::invalid("type none mounts nothing without o=bind"));
    }
    if !device.starts_with('/') || device.chars().any(char::is_control) {
        return Err(Failure::invalid(format!("device {device:?}: expected an absolute path")));
    }
    if let Some(word) = words.iter().find(|word| !matches!(**word, "bind" | "rbind" | "ro" | "rw")) {
        return Err(Failure::invalid(format!("option {word:?} of a bind mount is not known")));
    }
    Ok(Backing::Bind {
        source: device.to_owned(),
        recursive: words.contains(&"rbind"),
        read_only: words.contains(&"ro"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Backing> {
        backing(&options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_the_local_driver_knows() {
        assert_eq!(of(&[]), Ok(Backing::Store));
        let bind = of(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv/data")]);
        let source = "/srv/data".to_owned();
        assert_eq!(bind, Ok(Backing::Bind { source, recursive: false, read_only: true }));
        let Ok(Backing::Tmpfs { options }) = of(&[("type", "tmpfs"), ("o", "size=1m"), ("device", "tmpfs")])
        else {
            panic!("a tmpfs");
        };
        assert!(options.contains(&"size=1m".to_owned()), "{options:?}");
    }

    #[test]
    fn what_it_does_not() {
        let bad: [&[(&str, &str)]; 7] = [
            &[("size", "1m")],
            &[("type", "tmpfs")],
            &[("device", "/x")],
            &[("type", "nfs"), ("o", "addr=1.2.3.4"), ("device", ":/x")],
            &[("type", "none"), ("o", "bind"), ("device", "relative")],
            &[("type", "none"), ("device", "/x")],
            &[("type", "tmpfs"), ("o", "bind"), ("device", "/x")],
        ];
        for options in bad {
            assert!(of(options).is_err(), "{options:?}");
        }
    }
}
