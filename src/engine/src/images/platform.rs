//! Processors and systems that images are for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Failure, Result};

/// `os/architecture[/variant]`, in the words of the OCI image specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`
    #[serde(default)]
    pub architecture: String,
    /// `linux`
    #[serde(default)]
    pub os: String,
    /// `v7`
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// This host's.
    pub fn host() -> Self {
        let (architecture, variant) = normalized(std::env::consts::ARCH, "");
        Self { architecture, os: "linux".to_owned(), variant }
    }

    /// Reads `os[/architecture[/variant]]`, an architecture alone, or the JSON that newer clients send.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = || {
            let message = format!("{text:?}: unknown operating system or architecture: invalid argument");
            Failure::invalid(message)
        };
        if text.starts_with('{') {
            let platform: Self = serde_json::from_str(text).map_err(|_| refuse())?;
            return Self::of(&platform.os, &platform.architecture, &platform.variant).ok_or_else(refuse);
        }
        let parts: Vec<&str> = text.split('/').collect();
        let host = Self::host();
        let platform = match parts[..] {
            ["linux"] => Some(host),
            [architecture] => Self::of("linux", architecture, ""),
            [os, architecture] => Self::of(os, architecture, ""),
            [os, architecture, variant] => Self::of(os, architecture, variant),
            _ => None,
        };
        platform.ok_or_else(refuse)
    }

    fn of(os: &str, architecture: &str, variant: &str) -> Option<Self> {
        const ARCHITECTURES: &[&str] = &[
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
            "ppc64le", "riscv64", "s390x", "wasm",
        ];
        let (architecture, variant) =
            normalized(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        let known = ARCHITECTURES.contains(&architecture.as_str())
            && word(os)
            && (variant.is_empty() || word(&variant));
        known.then(|| Self { architecture, os: os.to_ascii_lowercase(), variant })
    }

    /// How well something for `offered` suits us; nothing when it does not run at all, and less is better.
    pub fn suits(&self, offered: &Self) -> Option<u8> {
        let (architecture, variant) = normalized(&offered.architecture, &offered.variant);
        if offered.os != self.os || architecture != self.architecture {
            return None;
        }
        if variant == self.variant {
            return Some(0);
        }
        // An older processor's program runs on a newer one; `v7` before `v6`.
        match (level(&self.variant), level(&variant)) {
            (Some(ours), Some(theirs)) if theirs <= ours => Some(ours - theirs),
            (Some(_), None) if variant.is_empty() => Some(u8::MAX),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

fn word(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn level(variant: &str) -> Option<u8> {
    variant.strip_prefix('v')?.parse().ok()
}

/// One word for each: `x86_64` is `amd64`, `arm64/v8` is `arm64`.
fn normalized(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i686" | "x86", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_here_is_told_from_what_does_not() {
        let parse = |text| Platform::parse(text).expect(text);
        assert_eq!(parse("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(parse("linux/arm64/v8").to_string(), "linux/arm64");
        assert_eq!(parse("arm").to_string(), "linux/arm/v7");
        assert_eq!(parse("{\"os\":\"linux\",\"architecture\":\"arm64\"}").to_string(), "linux/arm64");
        assert_eq!(parse("linux/arm/v7").suits(&parse("linux/arm/v6")), Some(1));
        assert_eq!(parse("linux/arm/v6").suits(&parse("linux/arm/v7")), None);
        assert_eq!(parse("linux/amd64").suits(&parse("linux/arm64")), None);
        assert_eq!(parse("linux/amd64").suits(&parse("linux/amd64/v3")), None);
        for bad in ["", "linux/", "plan9/pdp11", "a/b/c/d", "linux/amd64/ v", "{"] {
            assert!(Platform::parse(bad).is_err(), "{bad:?}");
        }
    }
}
