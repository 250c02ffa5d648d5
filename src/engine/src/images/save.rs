//! Images into an archive: the OCI layout, and beside it the `manifest.json` that Docker reads. Blobs go as they are
//! kept, so that who loads it has the same digests.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use casemate_spec::wire::HexId;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::manifest::{DOCKER_MANIFEST, OCI_INDEX};
use super::pins::Hold;
use super::record::Image;
use super::reference::{Named, Reference};
use super::{Blobs, packing, push, shelf};
use crate::{Caller, Engine, Result};

/// An archive to be written.
#[derive(Debug)]
pub struct Save {
    images: Vec<Saved>,
    blobs: Blobs,
    _holds: Vec<Hold>,
}

#[derive(Debug)]
struct Saved {
    image: Arc<Image>,
    names: Vec<Reference>,
    /// What it is called by, what it is, and itself.
    manifest: (HexId, String, Vec<u8>),
}

impl Save {
    /// Finds what is to be saved. Nothing of it goes until it is written.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn of(engine: &Engine, caller: &Caller, names: &[String]) -> Result<Self> {
        let mut images: Vec<Saved> = Vec::new();
        let mut holds = Vec::new();
        for text in names {
            for (image, name) in meant(engine, caller, text)? {
                holds.push(engine.images.hold_blobs(&image));
                if let Some(there) = images.iter_mut().find(|saved| saved.image.id == image.id) {
                    there.names.extend(name.filter(|name| !there.names.contains(name)));
                    continue;
                }
                let (media_type, bytes) = manifest(engine, &image)?;
                let attributes = shelf::attributes(&image.config, &image.name());
                engine.events.publish(&caller.tenant, "image", "save", image.name(), attributes);
                let manifest = (super::sha256(&bytes), media_type, bytes);
                images.push(Saved { image, names: name.into_iter().collect(), manifest });
            }
        }
        Ok(Self { images, blobs: engine.images.blobs.clone(), _holds: holds })
    }

    /// Writes the archive; takes its time.
    ///
    /// # Errors
    /// A blob cannot be read, or nobody takes the bytes any more.
    pub fn write(self, to: impl Write) -> Result<()> {
        let mut archive = Builder::new(to);
        for folder in ["blobs/", "blobs/sha256/"] {
            let mut header = header(EntryType::Directory, 0, 0);
            archive.append_data(&mut header, folder, std::io::empty())?;
        }
        let mut written = BTreeSet::new();
        for saved in &self.images {
            let created = saved.image.config.created_at() / 1_000_000_000;
            let packed = saved.image.record.packed.iter().map(|packed| &packed.digest);
            let (manifest, _, bytes) = &saved.manifest;
            if written.insert(manifest) {
                let mut header = header(EntryType::Regular, bytes.len() as u64, created);
                archive.append_data(&mut header, format!("blobs/sha256/{manifest}"), bytes.as_slice())?;
            }
            for blob in std::iter::once(&saved.image.id).chain(packed) {
                if !written.insert(blob) {
                    continue;
                }
                let file = self.blobs.file(blob)?;
                let mut header = header(EntryType::Regular, file.metadata()?.len(), created);
                archive.append_data(&mut header, format!("blobs/sha256/{blob}"), file)?;
            }
        }
        let documents = [
            ("index.json", self.index()),
            ("manifest.json", self.docker()),
            ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
        ];
        for (name, document) in documents {
            let text = document.to_string();
            let mut header = header(EntryType::Regular, text.len() as u64, 0);
            archive.append_data(&mut header, name, text.as_bytes())?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }

    fn index(&self) -> Value {
        let manifests = self.images.iter().flat_map(|saved| {
            let (digest, media_type, bytes) = &saved.manifest;
            let (digest, size) = (format!("sha256:{digest}"), bytes.len());
            let plain = json!({ "mediaType": media_type, "digest": digest, "size": size });
            let named = |name: &Reference| {
                let mut entry = plain.clone();
                entry["annotations"] = json!({
                    "io.containerd.image.name": name.to_string(), "org.opencontainers.image.ref.name": name.tag
                });
                entry
            };
            if saved.names.is_empty() { vec![plain] } else { saved.names.iter().map(named).collect() }
        });
        json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests.collect::<Vec<_>>() })
    }

    fn docker(&self) -> Value {
        let entry = |saved: &Saved| {
            let path = |digest: &HexId| format!("blobs/sha256/{digest}");
            let layers: Vec<String> =
                saved.image.record.packed.iter().map(|packed| path(&packed.digest)).collect();
            let names: Vec<String> = saved.names.iter().map(Reference::familiar).collect();
            let names = if names.is_empty() { Value::Null } else { json!(names) };
            json!({ "Config": path(&saved.image.id), "RepoTags": names, "Layers": layers })
        };
        Value::Array(self.images.iter().map(entry).collect())
    }
}

/// The manifest that the image came with or was pushed with; or one for this archive alone, of its layers as they are kept:
/// a registry gets another, once they are compressed.
fn manifest(engine: &Engine, image: &Image) -> Result<(String, Vec<u8>)> {
    match &image.record.manifest {
        Some(_) => push::manifest(engine, image).map(|(manifest, bytes)| (manifest.media_type, bytes)),
        None => Ok((DOCKER_MANIFEST.to_owned(), packing::manifest(engine, image)?)),
    }
}

fn header(kind: EntryType, size: u64, modified: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_mtime(modified);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The images that a text stands for: a repository without a tag is all its tags, an id has no name.
fn meant(engine: &Engine, caller: &Caller, text: &str) -> Result<Vec<(Arc<Image>, Option<Reference>)>> {
    if let Ok(Named::Reference(reference)) = Named::parse(text)
        && reference.digest.is_none()
    {
        let shelf = engine.images.shelf();
        let names = shelf.repository(&caller.tenant, &reference);
        let tagged = names.into_iter().filter(|(name, _)| match &reference.tag {
            Some(_) => *name == reference,
            None => name.tag.is_some(),
        });
        let found: Vec<_> = tagged
            .filter_map(|(name, id)| Some((shelf.image(&caller.tenant, &id)?.clone(), Some(name))))
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }

    Ok(vec![(engine.images.find(caller, text)?, None)])
}
