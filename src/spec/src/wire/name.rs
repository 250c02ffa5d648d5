//! Names that can be nothing but names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// 64 lower-case hexadecimal digits: a container, an exec, a volume's place on the disk, a layer by the SHA-256 of its
/// uncompressed archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HexId(String);

/// Who owns what: 1 to 32 bytes of `[a-z0-9_-]`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// A policy by its name, never by a path: 1 to 64 bytes of `[A-Za-z0-9_-]`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyName(String);

macro_rules! name {
    ($type:ident, $what:literal, $rule:literal, $fits:expr) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                let fits: fn(&[u8]) -> bool = $fits;
                if fits(text.as_bytes()) { Ok(Self(text)) } else { Err(Error::new($what, $rule)) }
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(HexId, "id", "expected 64 lower-case hexadecimal digits", |text| {
    text.len() == 64 && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
});
name!(Tenant, "tenant", "expected 1 to 32 of a-z 0-9 _ -, the first a letter or digit", |text| {
    text.len() <= 32
        && text.first().is_some_and(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'))
        && text.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
});
name!(PolicyName, "policy", "expected 1 to 64 of A-Z a-z 0-9 _ -, the first a letter or digit", |text| {
    text.len() <= 64
        && text.first().is_some_and(u8::is_ascii_alphanumeric)
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
});

impl HexId {
    /// The first twelve digits, as people are shown ids.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// Of 32 bytes: a digest, or random ones.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            // Writing to a String cannot fail.
            if write!(text, "{byte:02x}").is_err() {
                break;
            }
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_path_is_no_name() {
        for bad in ["", ".", "..", "a/b", "A", "-a", "a\0", "ü", &"a".repeat(33)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "../x", "a/b", "-a", &"a".repeat(65)] {
            assert!(bad.parse::<PolicyName>().is_err(), "{bad:?}");
        }
        for bad in ["", "..", &"a".repeat(63), &"A".repeat(64), &"g".repeat(64), &"a".repeat(65)] {
            assert!(bad.parse::<HexId>().is_err(), "{bad:?}");
        }
        let id = HexId::from_bytes([0xab; 32]);
        assert_eq!(id.as_str().parse::<HexId>().expect("an id"), id);
        assert!(serde_json::from_str::<HexId>("\"../../etc\"").is_err());
    }
}
