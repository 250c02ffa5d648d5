//! Images out of an archive: as `docker save` writes it (`manifest.json`), or in the OCI layout (`index.json`). Nothing is
//! written under a name that the archive gives; files are numbered, and known by their names in a table.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::Arc;

use casemate_spec::wire::HexId;
use serde::Deserialize;

use super::config::{self, Config};
use super::download::blocking;
use super::make::Leftover;
use super::manifest::{Descriptor, Document, LARGEST, Manifest, choose};
use super::platform::Platform;
use super::progress::Progress;
use super::record::{Image, Packed, Record};
use super::reference::{Reference, parse_digest};
use super::stream::{Pieces, plain};
use super::{Blobs, Draft, layers, packing, register, shelf, tag};
use crate::{Caller, Engine, Failure, Result};

/// Of one archive, entries.
const MOST_ENTRIES: usize = 20_000;
/// Of one archive, images.
const MOST_IMAGES: usize = 1_000;
/// The longest name in an archive, in bytes.
const LONGEST_NAME: usize = 4096;

/// Of names and records before an entry, in bytes.
const LONGEST_HEADER: u64 = 64 << 10;
/// Links that lead to links.
const LINKS: usize = 16;

/// An image of an archive, by names in the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// Its configuration.
    pub config: String,
    /// Its names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// Its layers, lowest first.
    #[serde(default)]
    pub layers: Option<Vec<String>>,
    /// Its manifest, where the archive has it.
    #[serde(skip)]
    pub manifest: Option<Vec<u8>>,
}

/// What an archive holds.
#[derive(Debug, Default)]
struct Files {
    drafts: BTreeMap<String, Draft>,
    /// Links to other entries.
    links: HashMap<String, String>,
}

/// Loads what comes.
///
/// # Errors
/// The archive is refused. Images that came before stay.
pub async fn load(
    engine: &Arc<Engine>,
    caller: &Caller,
    archive: Pieces,
    platform: Option<&Platform>,
    quiet: bool,
    progress: &Progress,
) -> Result<()> {
    let blobs = engine.images.blobs.clone();
    let mut files = blocking(move || read(&blobs, plain(archive)?)).await?;
    let host = Platform::host();
    let entries = files.entries(platform.unwrap_or(&host))?;
    let mut packed = HashMap::new();
    for entry in entries {
        let (image, _leftover) =
            one(engine, caller, &mut files, &entry, &mut packed, (!quiet).then_some(progress)).await?;
        let names = entry.repo_tags.unwrap_or_default();
        for name in &names {
            let reference = Reference::parse(name)?.or_latest();
            let before = engine.images.shelf().named(&caller.tenant, &reference).cloned();
            if let Some(before) = before.filter(|before| *before != image.id) {
                let text = format!(
                    "The image {} already exists, renaming the old one with ID sha256:{before} to empty string\n",
                    reference.familiar()
                );
                progress.stream(&text).await;
            }
            tag(engine, &image, &reference)?;
            progress.stream(&format!("Loaded image: {}\n", reference.familiar())).await;
        }
        if names.is_empty() {
            progress.stream(&format!("Loaded image ID: {}\n", image.name())).await;
        }
        let attributes = shelf::attributes(&image.config, &image.name());
        engine.events.publish(&caller.tenant, "image", "load", image.name(), attributes);
    }
    Ok(())
}

/// The images that an archive has, however it is packed, by what it says of itself. Its files become drafts, and go again.
///
/// # Errors
/// The archive is refused.
pub fn contents(
    blobs: &Blobs,
    archive: impl Read + Send + 'static,
    platform: &Platform,
) -> Result<Vec<Entry>> {
    read(blobs, plain(archive)?)?.entries(platform)
}

/// Takes an archive apart. The crate's own reading of long names and extended headers is left out: it takes them into
/// memory at whatever length they have.
fn read(blobs: &Blobs, from: impl Read) -> Result<Files> {
    let broken = |error: io::Error| Failure::invalid(format!("archive: {error}"));
    let mut archive = tar::Archive::new(from);
    let mut files = Files::default();
    let mut ahead = Ahead::default();
    for (number, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = entry.map_err(broken)?;
        if number >= MOST_ENTRIES {
            return Err(Failure::invalid(format!("archive: more than {MOST_ENTRIES} entries")));
        }
        let kind = entry.header().entry_type();
        if ahead.take(kind, &mut entry)? {
            continue;
        }
        let Ahead { path, link } = std::mem::take(&mut ahead);
        let header = entry.header();
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.to_vec())).unwrap_or_default();
        let Some(name) = clean(&path.unwrap_or_else(|| header.path_bytes().to_vec())) else { continue };
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let mut draft = blobs.draft()?;
                packing::pour(&mut entry, &mut draft).map_err(broken)?;
                files.drafts.insert(name, draft);
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let from = if kind == tar::EntryType::Link { String::new() } else { format!("{folder}/") };
                if let Some(target) = clean(&[from.as_bytes(), &link].concat()) {
                    files.links.insert(name, target);
                }
            }
            _ => {}
        }
    }
    files.check()?;
    Ok(files)
}

/// What headers before an entry say of it.
#[derive(Debug, Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Ahead {
    /// Reads such a header, if this is one.
    fn take(&mut self, kind: tar::EntryType, entry: &mut impl Read) -> Result<bool> {
        let mut bytes = Vec::new();
        let mut read = || -> Result<()> {
            entry.take(LONGEST_HEADER + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > LONGEST_HEADER {
                return Err(Failure::invalid(format!(
                    "archive: a header of more than {LONGEST_HEADER} bytes"
                )));
            }
            Ok(())
        };
        let text = |bytes: Vec<u8>| bytes.into_iter().take_while(|byte| *byte != 0).collect();
        match kind {
            tar::EntryType::GNULongName => {
                read()?;
                self.path = Some(text(bytes));
            }
            tar::EntryType::GNULongLink => {
                read()?;
                self.link = Some(text(bytes));
            }
            tar::EntryType::XHeader => {
                read()?;
                self.extended(&bytes)?;
            }
            tar::EntryType::XGlobalHeader => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Records of PAX: `LENGTH NAME=VALUE\n`.
    fn extended(&mut self, bytes: &[u8]) -> Result<()> {
        for record in tar::PaxExtensions::new(bytes) {
            let record = record.map_err(|error| Failure::invalid(format!("archive: {error}")))?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => return Err(Failure::unsupported("archive: a file of more than 8 GiB")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A name without dots and doubled slashes; none where it leads out.
fn clean(name: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(name).ok().filter(|text| text.len() <= LONGEST_NAME)?;
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

impl Files {
    /// Every file that is named by a digest has it.
    fn check(&self) -> Result<()> {
        for (name, draft) in &self.drafts {
            if let Some(Ok(digest)) = name.strip_prefix("blobs/sha256/").map(str::parse::<HexId>)
                && draft.digest() != digest
            {
                return Err(Failure::invalid(format!("archive: {name}: its content has another digest")));
            }
        }
        Ok(())
    }

    /// Where a name leads, behind links: to a file, or to what was taken from here.
    fn place<T>(&self, name: &str, taken: &HashMap<String, T>) -> Option<String> {
        let mut name = clean(name.as_bytes())?;
        for _ in 0..LINKS {
            if self.drafts.contains_key(&name) || taken.contains_key(&name) {
                return Some(name);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    /// A small file.
    fn document(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>> {
        let place = self.place::<()>(name, &HashMap::new());
        let Some(draft) = place.and_then(|place| self.drafts.get(&place)) else { return Ok(None) };
        if draft.size() > most as u64 {
            return Err(Failure::invalid(format!("archive: {name}: larger than {most} bytes")));
        }
        let mut bytes = Vec::new();
        draft.reader()?.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn blob(&self, descriptor: &Descriptor, most: usize) -> Result<Option<Vec<u8>>> {
        self.document(&format!("blobs/sha256/{}", descriptor.hex()?), most)
    }

    /// The images.
    fn entries(&self, platform: &Platform) -> Result<Vec<Entry>> {
        let layout = match self.document("index.json", LARGEST)? {
            Some(index) => self.layout(&index, platform)?,
            None => Vec::new(),
        };
        let Some(manifest) = self.document("manifest.json", LARGEST)? else {
            return match layout.is_empty() {
                true => Err(Failure::invalid(
                    "archive: neither manifest.json nor index.json names an image in it",
                )),
                false => Ok(layout),
            };
        };
        let mut entries = entries(&manifest)?;
        for entry in &mut entries {
            // The layout knows the manifest that the image was pulled with.
            let same =
                layout.iter().find(|other| clean(other.config.as_bytes()) == clean(entry.config.as_bytes()));
            entry.manifest = same.and_then(|same| same.manifest.clone());
        }
        Ok(entries)
    }

    fn layout(&self, index: &[u8], platform: &Platform) -> Result<Vec<Entry>> {
        let Document::List(_, descriptors) = Document::parse(index, "")? else {
            return Err(Failure::invalid("archive: index.json is no list of manifests"));
        };
        let mut entries: Vec<Entry> = Vec::new();
        for descriptor in descriptors {
            let Some((manifest, bytes)) = self.image(&descriptor, platform)? else { continue };
            let path = |descriptor: &Descriptor| Ok(format!("blobs/sha256/{}", descriptor.hex()?));
            let config = path(&manifest.config)?;
            let names = named(&descriptor);
            if let Some(there) = entries.iter_mut().find(|entry| entry.config == config) {
                there.repo_tags.get_or_insert_default().extend(names);
                continue;
            }
            let layers = Some(manifest.layers.iter().map(path).collect::<Result<_>>()?);
            entries.push(Entry { config, repo_tags: Some(names), layers, manifest: Some(bytes) });
        }
        if entries.len() > MOST_IMAGES {
            return Err(Failure::invalid(format!("archive: more than {MOST_IMAGES} images")));
        }
        Ok(entries)
    }

    /// The image of a descriptor, directly or through one list.
    fn image(&self, descriptor: &Descriptor, platform: &Platform) -> Result<Option<(Manifest, Vec<u8>)>> {
        let Some(bytes) = self.blob(descriptor, LARGEST)? else { return Ok(None) };
        let entries = match Document::parse(&bytes, "")? {
            Document::Image(manifest) => return Ok(manifest.image().is_ok().then_some((manifest, bytes))),
            Document::List(_, entries) => entries,
        };
        let Some(bytes) = self.blob(choose(&entries, platform)?, LARGEST)? else { return Ok(None) };
        match Document::parse(&bytes, "")? {
            Document::Image(manifest) => Ok(Some((manifest, bytes))),
            Document::List(..) => Err(Failure::invalid("archive: a list of manifests leads to another list")),
        }
    }
}

/// Reads `manifest.json`.
///
/// # Errors
/// It is none, or names too much.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid(format!("archive: manifest.json: {error}")))?;
    if entries.len() > MOST_IMAGES {
        return Err(Failure::invalid(format!("archive: more than {MOST_IMAGES} images")));
    }
    Ok(entries)
}

/// The names that a layout gives: whole ones, as containerd and we write them; a tag alone names nothing.
fn named(descriptor: &Descriptor) -> Vec<String> {
    let whole =
        |key: &str| descriptor.annotations.get(key).filter(|name| name.contains('/') || name.contains(':'));
    let name = whole("io.containerd.image.name").or_else(|| whole("org.opencontainers.image.ref.name"));
    name.filter(|name| Reference::parse(name).is_ok()).cloned().into_iter().collect()
}

async fn one(
    engine: &Arc<Engine>,
    caller: &Caller,
    files: &mut Files,
    entry: &Entry,
    done: &mut HashMap<String, Packed>,
    progress: Option<&Progress>,
) -> Result<(Arc<Image>, Leftover)> {
    let missing = |name: &str| Failure::invalid(format!("archive: {name}: it is not there"));
    let document = files.document(&entry.config, config::LARGEST)?.ok_or_else(|| missing(&entry.config))?;
    let config = Config::parse(&document)?;
    let diffs = config.diff_ids()?;
    let names = entry.layers.clone().unwrap_or_default();
    if names.len() != diffs.len() {
        let message = format!(
            "invalid manifest, layers length mismatch: expected {}, got {}",
            names.len(),
            diffs.len()
        );
        return Err(Failure::invalid(message));
    }
    let id = engine.images.blobs.put(&document)?;
    let mut leftover = Leftover::new(engine);
    leftover.add_blob(id.clone());
    let mut packed = Vec::new();
    for (name, diff) in names.iter().zip(&diffs) {
        let place = files.place(name, done).ok_or_else(|| missing(name))?;
        // The same layer may have become a blob already, of this image or of one before.
        let blob = match (done.get(&place), files.drafts.remove(&place)) {
            (Some(blob), _) => {
                leftover.add_blob(blob.digest.clone());
                leftover.add(diff.clone());
                layers::ensure(engine, (diff, &blob.digest), None, diff.short(), progress).await?;
                blob.clone()
            }
            (None, Some(draft)) => packing::keep(engine, draft, Some(diff), &mut leftover, progress).await?.1,
            (None, None) => return Err(missing(name)),
        };
        done.insert(place, blob.clone());
        packed.push(blob);
    }
    let manifest = manifest(engine, entry.manifest.as_deref(), &id, &packed)?;
    leftover.add_blob(manifest.clone().unwrap_or_else(|| id.clone()));
    let (tenant, size) = (caller.tenant.clone(), super::size(engine, &diffs));
    let record = Record { tenant, id, manifest, parent: None, packed, size, tagged: 0, verified: Vec::new() };
    Ok((register(engine, record)?, leftover))
}

/// The manifest that the archive has, if its layers are packed as ours are now, and as a registry should have them.
fn manifest(engine: &Engine, bytes: Option<&[u8]>, id: &HexId, packed: &[Packed]) -> Result<Option<HexId>> {
    let Some(bytes) = bytes else { return Ok(None) };
    let Document::Image(manifest) = Document::parse(bytes, "")? else { return Ok(None) };
    let same = manifest.layers.len() == packed.len()
        && !packed.iter().any(Packed::is_plain)
        && parse_digest(&manifest.config.digest).is_ok_and(|config| config == *id)
        && manifest
            .layers
            .iter()
            .zip(packed)
            .all(|(layer, packed)| layer.hex().is_ok_and(|hex| hex == packed.digest));
    if !same {
        return Ok(None);
    }
    engine.images.blobs.put(bytes).map(Some)
}
