//! Container ids: bounded, printable, and never a path.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A container's id: 1 to 255 bytes of `[A-Za-z0-9_+.-]`, neither `.` nor `..`.
///
/// runc accepts the same letters (libcontainer's `idRegex`); the length is bounded by what one directory name
/// holds (`NAME_MAX`), since the id names a directory and control groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// The longest id in bytes.
    pub const MAX: usize = 255;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::new("invalid container ID format", why));
        if text.is_empty() {
            return refuse("the id is empty");
        }
        if text.len() > Self::MAX {
            return refuse("the id is longer than 255 bytes");
        }
        if text == "." || text == ".." {
            return refuse("the id is a path component with a meaning of its own");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'.' | b'-')) {
            return refuse("only letters, digits and _ + . - may appear in an id");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "a b", "a\n", "ü", "a\0b"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?} was accepted");
        }
        assert!("a".repeat(256).parse::<ContainerId>().is_err());
    }

    #[test]
    fn ids_of_the_engines_are_accepted() {
        for good in ["a", "a".repeat(255).as_str(), "web-1_x+y.z", "..."] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good:?} was refused");
        }
    }
}
