//! What is written down of images, names and layers.

use std::sync::Arc;

use casemate_spec::wire::{HexId, Tenant};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::reference::Reference;

/// An image, as a tenant has it. One that changes is replaced by another.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration.
    pub id: HexId,
    /// Its configuration.
    pub config: Arc<Config>,
    /// Its layers by the digests of their uncompressed archives, lowest first.
    pub layers: Vec<HexId>,
    /// What is written down.
    pub record: Record,
}

/// What is written down of an image, beside its blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Whose.
    pub tenant: Tenant,
    /// Its configuration's digest.
    pub id: HexId,
    /// The manifest that it came with, or was pushed with first.
    pub manifest: Option<HexId>,
    /// The image that it was made from, here.
    pub parent: Option<HexId>,
    /// Its layers as they are packed, lowest first.
    pub packed: Vec<Packed>,
    /// Bytes of content of all layers.
    pub size: u64,
    /// When it got a name last, in nanoseconds since 1970; 0 is never.
    pub tagged: u64,
    /// Signatures that were found good when it was pulled.
    #[serde(default)]
    pub verified: Vec<Verified>,
}

/// A signature that was found good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The repository that the image was pulled from.
    pub repository: String,
    /// The SHA-256 of the key's point: whether it is still trusted is asked each time.
    pub key: HexId,
}

/// A layer's archive as it came, or was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packed {
    /// Of the blob.
    pub digest: HexId,
    /// Its bytes.
    pub size: u64,
    /// What a manifest calls it.
    pub media_type: String,
}

/// A layer of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Bytes of content.
    pub size: u64,
    /// Blobs of which it is known that they unpack to it. Whoever has one of them has the layer; whoever only knows its
    /// name has nothing.
    pub proven: Vec<HexId>,
}

/// A name of a tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// Whose.
    pub tenant: Tenant,
    /// The name, in whole.
    pub name: String,
    /// The image that it names.
    pub image: HexId,
}

/// Packings of one layer that are remembered.
const MOST_PROVEN: usize = 16;

impl Packed {
    /// It is not compressed, and so its digest is the layer's name.
    pub fn is_plain(&self) -> bool {
        self.media_type.ends_with(".tar")
    }
}

/// Good signatures of one image that are remembered.
const MOST_VERIFIED: usize = 16;

impl Record {
    /// Remembers a good signature.
    pub fn verify(&mut self, verified: Verified) {
        if !self.verified.contains(&verified) {
            self.verified.truncate(MOST_VERIFIED - 1);
            self.verified.insert(0, verified);
        }
    }
}

impl Layer {
    /// Whether who has this blob has the layer. Whoever has bytes of the very digest that is its name does.
    pub fn is_had_by(&self, own: &HexId, blob: &HexId) -> bool {
        own == blob || self.proven.contains(blob)
    }

    /// Remembers that a blob unpacks to it.
    pub fn prove(&mut self, blob: &HexId) {
        if !self.proven.contains(blob) {
            self.proven.truncate(MOST_PROVEN - 1);
            self.proven.push(blob.clone());
        }
    }
}

impl Image {
    /// `sha256:…`, as clients are told it.
    pub fn name(&self) -> String {
        format!("sha256:{}", self.id)
    }

    /// The blobs without which it is not whole.
    pub fn blobs(&self) -> impl Iterator<Item = &HexId> {
        let packed = self.record.packed.iter().map(|packed| &packed.digest);
        std::iter::once(&self.id).chain(self.record.manifest.as_ref()).chain(packed)
    }
}

/// The key of an image's document.
pub fn image_key(tenant: &Tenant, id: &HexId) -> String {
    format!("{tenant}/{id}")
}

/// The key of a name's document.
pub fn name_key(tenant: &Tenant, reference: &Reference) -> String {
    format!("{tenant}/{reference}")
}
