//! Manifests and lists of them: Docker's (schema 2) and OCI's.

use std::collections::BTreeMap;

use casemate_spec::wire::HexId;
use serde::{Deserialize, Serialize};

use super::config::MOST_LAYERS;
use super::platform::Platform;
use super::record::Packed;
use super::reference::parse_digest;
use crate::{Failure, Result};

/// The largest manifest that is read, in bytes: what registries take.
pub const LARGEST: usize = 4 << 20;
/// Of a list, entries.
const MOST_ENTRIES: usize = 1000;

/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's list.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// OCI's image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's layer, in gzip.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's layer, uncompressed.
pub const DOCKER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// What we take from a registry.
pub const ACCEPTED: [&str; 4] = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];

/// Where something is, by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// `sha256:…`
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// In a list: what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Its digest.
    ///
    /// # Errors
    /// It is none that we know.
    pub fn hex(&self) -> Result<HexId> {
        parse_digest(&self.digest)
    }
}

/// An image's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it calls itself, or what it was called.
    pub media_type: String,
    /// The image's configuration.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image.
    Image(Manifest),
    /// Images, for several platforms.
    List(String, Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    /// Reads a manifest or a list; `called` is the content type that it came with.
    ///
    /// # Errors
    /// It is neither, could be taken for both, or is of a kind that is no image.
    pub fn parse(bytes: &[u8], called: &str) -> Result<Self> {
        if bytes.len() > LARGEST {
            return Err(Failure::invalid(format!("manifest: larger than {LARGEST} bytes")));
        }
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|error| Failure::invalid(format!("manifest: {error}")))?;
        if raw.schema_version != 2 {
            let message = "manifest: Docker Image Format v1 and Docker Image manifest version 2, schema 1 are \
                           not supported: push the image again in a newer format";
            return Err(Failure::unsupported(message));
        }
        let called = called.split(';').next().unwrap_or_default().trim();
        if ACCEPTED.contains(&called) && !raw.media_type.is_empty() && raw.media_type != called {
            let message = format!("manifest: it calls itself {}, but came as {called}", raw.media_type);
            return Err(Failure::invalid(message));
        }
        let known = |name: &str| ACCEPTED.contains(&name).then(|| name.to_owned());
        let name = known(&raw.media_type).or_else(|| known(called).filter(|_| raw.media_type.is_empty()));
        Self::sort(raw, name)
    }

    /// A document that could be read in two ways would be verified in one and used in the other.
    fn sort(raw: Raw, name: Option<String>) -> Result<Self> {
        let unknown = || {
            Failure::invalid(format!(
                "unsupported manifest media type and no default available: {}",
                raw.media_type
            ))
        };
        let listed = |name: &str| name == DOCKER_LIST || name == OCI_INDEX;
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) => {
                let media_type = match name {
                    Some(name) if listed(&name) => return Err(unknown()),
                    Some(name) => name,
                    None if raw.media_type.is_empty() => OCI_MANIFEST.to_owned(),
                    None => return Err(unknown()),
                };
                let manifest = Manifest { media_type, config, layers };
                manifest.check()?;
                Ok(Self::Image(manifest))
            }
            (None, None, Some(entries)) => {
                let name = match name {
                    Some(name) if !listed(&name) => return Err(unknown()),
                    Some(name) => name,
                    None if raw.media_type.is_empty() => OCI_INDEX.to_owned(),
                    None => return Err(unknown()),
                };
                if entries.len() > MOST_ENTRIES {
                    return Err(Failure::invalid(format!("manifest list: more than {MOST_ENTRIES} entries")));
                }
                Ok(Self::List(name, entries))
            }
            _ => Err(Failure::invalid("manifest: neither an image's manifest nor a list of them")),
        }
    }
}

impl Manifest {
    fn check(&self) -> Result<()> {
        if self.layers.len() > MOST_LAYERS {
            return Err(Failure::invalid(format!("manifest: more than {MOST_LAYERS} layers")));
        }
        self.config.hex()?;
        self.layers.iter().try_for_each(|layer| layer.hex().map(drop))
    }

    /// It is an image's: Helm charts, signatures and other artifacts have manifests as well.
    ///
    /// # Errors
    /// In Docker's words.
    pub fn image(&self) -> Result<()> {
        let config = self.config.media_type.as_str();
        if !matches!(config, "" | DOCKER_CONFIG | OCI_CONFIG | "application/octet-stream") {
            let message =
                format!("invalid media type {config:?} of an image's configuration: it is no image");
            return Err(Failure::invalid(message));
        }
        for layer in &self.layers {
            let name = layer.media_type.as_str();
            if !name.contains("tar") || name.contains("foreign") || name.contains("nondistributable") {
                let message = format!("unsupported media type {name:?} of layer {}", layer.digest);
                return Err(Failure::invalid(message));
            }
        }
        Ok(())
    }

    /// The manifest of an image that came without one, in Docker's form.
    pub fn of(config: &HexId, size: u64, packed: &[Packed]) -> Vec<u8> {
        let layer = |packed: &Packed| {
            serde_json::json!({
                "mediaType": packed.media_type, "size": packed.size, "digest": format!("sha256:{}", packed.digest)
            })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": { "mediaType": DOCKER_CONFIG, "size": size, "digest": format!("sha256:{config}") },
            "layers": packed.iter().map(layer).collect::<Vec<_>>(),
        });
        // With indentation, as everybody's are; a `Value` always has text.
        format!("{manifest:#}").into_bytes()
    }
}

/// Of a list, the entry for a platform.
///
/// # Errors
/// There is none, in Docker's words.
pub fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor> {
    let image = |entry: &&Descriptor| matches!(entry.media_type.as_str(), DOCKER_MANIFEST | OCI_MANIFEST);
    let suited = entries.iter().filter(image).filter_map(|entry| {
        let platform = entry.platform.as_ref()?;
        Some((wanted.suits(platform)?, entry))
    });
    if let Some((_, entry)) = suited.min_by_key(|(distance, _)| *distance) {
        return Ok(entry);
    }
    // Archives and small registries list a single image without saying what it is for.
    match entries {
        [only] if only.platform.is_none() && image(&only) => Ok(only),
        _ => Err(Failure::not_found(format!(
            "no matching manifest for {wanted} in the manifest list entries: no match for platform in manifest: \
             not found"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn digest(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    fn parse(value: &serde_json::Value, called: &str) -> Result<Document> {
        Document::parse(value.to_string().as_bytes(), called)
    }

    #[test]
    fn a_document_of_two_readings_is_refused() {
        let config = json!({ "mediaType": OCI_CONFIG, "digest": digest("a"), "size": 2 });
        let image = json!({ "schemaVersion": 2, "config": config, "layers": [] });
        assert!(matches!(parse(&image, OCI_MANIFEST), Ok(Document::Image(_))));
        assert!(matches!(parse(&image, ""), Ok(Document::Image(_))));
        assert!(parse(&image, OCI_INDEX).is_err());
        let list = json!({ "schemaVersion": 2, "manifests": [] });
        assert!(matches!(parse(&list, "application/json"), Ok(Document::List(..))));
        assert!(parse(&list, DOCKER_MANIFEST).is_err());
        let both = json!({ "schemaVersion": 2, "config": config, "layers": [], "manifests": [] });
        assert!(parse(&both, OCI_MANIFEST).is_err());
        let liar = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "config": config, "layers": [] });
        assert!(parse(&liar, "").is_err());
        assert!(parse(&json!({ "schemaVersion": 1, "fsLayers": [] }), "").is_err());
        let traversal = json!({ "schemaVersion": 2, "layers": [],
            "config": { "digest": "sha256:../../../etc/passwd", "size": 1 } });
        assert!(parse(&traversal, "").is_err());
        let negative =
            json!({ "schemaVersion": 2, "layers": [], "config": { "digest": digest("a"), "size": -1 } });
        assert!(parse(&negative, "").is_err());
    }

    #[test]
    fn the_entry_for_the_platform_is_chosen() {
        let entry = |digit: &str, architecture: &str, variant: &str| Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: digest(digit),
            size: 1,
            platform: Some(Platform {
                architecture: architecture.to_owned(),
                os: if architecture == "unknown" { "unknown" } else { "linux" }.to_owned(),
                variant: variant.to_owned(),
            }),
            annotations: BTreeMap::new(),
        };
        let entries = [
            entry("a", "unknown", ""),
            entry("b", "amd64", ""),
            entry("c", "arm", "v6"),
            entry("d", "arm", "v7"),
        ];
        let chosen = |platform: &str| {
            choose(&entries, &Platform::parse(platform).expect("platform")).map(|entry| entry.digest.clone())
        };
        assert_eq!(chosen("linux/amd64").expect("amd64"), digest("b"));
        assert_eq!(chosen("linux/arm").expect("arm"), digest("d"));
        assert_eq!(chosen("linux/arm/v6").expect("v6"), digest("c"));
        assert!(
            chosen("linux/s390x")
                .expect_err("none")
                .message
                .starts_with("no matching manifest for linux/s390x")
        );
    }

    #[test]
    fn our_own_manifests_are_read_again() {
        let id = HexId::from_bytes([7; 32]);
        let packed = Packed { digest: id.clone(), size: 5, media_type: DOCKER_LAYER.to_owned() };
        let text = Manifest::of(&id, 3, &[packed]);
        let Ok(Document::Image(manifest)) = Document::parse(&text, DOCKER_MANIFEST) else {
            panic!("no image")
        };
        manifest.image().expect("an image");
        assert_eq!(manifest.layers[0].hex().expect("digest"), id);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Document::parse(&bytes, "").ok();
        }
    }
}
