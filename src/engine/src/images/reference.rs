//! Names of images, as people write them and as they are kept.

use std::fmt;
use std::str::FromStr;

use casemate_spec::wire::HexId;

use crate::{Failure, Result};

/// The registry that a name without one means.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// Its older name.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// Where its images without a folder are.
const OFFICIAL: &str = "library/";
/// The longest name without tag and digest.
const LONGEST_NAME: usize = 255;
/// The longest tag.
const LONGEST_TAG: usize = 128;

/// A name of an image: registry, path, and a tag, a digest, both or none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry, `docker.io` or `host[:port]`.
    pub domain: String,
    /// What it calls the repository: `library/busybox`.
    pub path: String,
    /// A tag.
    pub tag: Option<String>,
    /// The digest of a manifest, SHA-256 alone.
    pub digest: Option<HexId>,
}

/// Whatever may stand for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// An image's id, whole.
    Id(HexId),
    /// A name.
    Reference(Reference),
}

impl Reference {
    /// Reads a name with Docker's defaults: `busybox` is `docker.io/library/busybox`.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn parse(text: &str) -> Result<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if HexId::from_str(name).is_ok() {
            let message =
                format!("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings");
            return Err(Failure::invalid(message));
        }
        let (domain, path) = split_domain(name);
        let reference = Self { domain, path, tag: None, digest };
        reference.check()?;
        match tag {
            Some(tag) => reference.with_tag(tag),
            None => Ok(reference),
        }
    }

    fn check(&self) -> Result<()> {
        if self.path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let message =
                format!("invalid reference format: repository name ({}) must be lowercase", self.path);
            return Err(Failure::invalid(message));
        }
        if !domain_fits(&self.domain) || !self.path.split('/').all(component_fits) {
            return Err(malformed());
        }
        if self.domain.len() + 1 + self.path.len() > LONGEST_NAME {
            let message = format!("repository name must not be more than {LONGEST_NAME} characters");
            return Err(Failure::invalid(message));
        }
        Ok(())
    }

    /// The same with this tag.
    ///
    /// # Errors
    /// It is none.
    pub fn with_tag(mut self, tag: &str) -> Result<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = tag.len() <= LONGEST_TAG
            && tag.bytes().next().is_some_and(word)
            && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if !fits {
            return Err(Failure::invalid("invalid tag format"));
        }
        self.tag = Some(tag.to_owned());
        Ok(self)
    }

    /// The same with the tag `latest` where it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same by digest alone.
    #[must_use]
    pub fn by_digest(&self, digest: HexId) -> Self {
        Self { digest: Some(digest), tag: None, ..self.clone() }
    }

    /// The repository in whole: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as people write it: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// As people write it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@sha256:{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl Named {
    /// Reads a whole id, with or without its algorithm, or a name.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(id) = text.strip_prefix("sha256:").unwrap_or(text).parse() {
            return Ok(Self::Id(id));
        }
        Reference::parse(text).map(Self::Reference)
    }
}

/// Reads `sha256:…`.
///
/// # Errors
/// It is none, or of another algorithm.
pub fn parse_digest(text: &str) -> Result<HexId> {
    let (algorithm, hex) = text.split_once(':').ok_or_else(malformed)?;
    if algorithm != "sha256" {
        let message = format!("unsupported digest algorithm {algorithm:?}: expected sha256");
        return Err(if algorithm.is_empty() { malformed() } else { Failure::invalid(message) });
    }
    hex.parse().map_err(|_| Failure::invalid("invalid checksum digest format"))
}

fn malformed() -> Failure {
    Failure::invalid("invalid reference format")
}

/// The first part is a registry when it could be no folder: a dot, a colon, `localhost`, or upper-case letters.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    let path = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    (domain.to_owned(), path)
}

fn domain_fits(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_fits = port.is_none_or(|port| !port.is_empty() && port.parse::<u16>().is_ok());
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    port_fits && host_fits
}

/// Lower-case letters and digits, with single `.`, one or two `_` or any number of `-` between them.
fn component_fits(component: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = component.bytes().next().is_some_and(plain) && component.bytes().last().is_some_and(plain);
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    ends && separators.into_iter().all(fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let cases = [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("a/b:1", "docker.io/a/b:1", "a/b:1"),
            ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("127.0.0.1:5000/t/bb:1", "127.0.0.1:5000/t/bb:1", "127.0.0.1:5000/t/bb:1"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
            ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ];
        for (text, whole, familiar) in cases {
            let reference = Reference::parse(text).expect(text);
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (whole, familiar));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("a/{}", "b".repeat(300));
        for bad in [
            "",
            ":x",
            "a:",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a..b",
            "a___b",
            "A",
            "a/B",
            "a:b:c",
            "a@sha256:12",
            "a@md5:00",
            "a@",
            "../a",
            "a/../b",
            "a b",
            "a:-x",
            "x.y:99999/a",
            "x.-y/a",
            &long,
            &"a".repeat(64),
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_survives_its_own_text(text in "[a-zA-Z0-9./:@_-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).expect("whole"), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).expect("familiar"), &reference);
            }
        }
    }
}
