//! From a registry to a tenant's images.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use casemate_spec::wire::{HexId, Tenant};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::config::{self, Config};
use super::download::{Wanted, blocking, download};
use super::manifest::{Descriptor, Document, Manifest, choose};
use super::pins::{Hold, Pin};
use super::platform::Platform;
use super::progress::Progress;
use super::record::{Packed, Record};
use super::reference::Reference;
use super::registry::{Credentials, Found, Registry};
use super::{blobs::sha256, collect, layers, name, packing, register, signature};
use crate::{Caller, Engine, Failure, Kind, Result};

/// Layers of one image that come at the same time.
const AT_ONCE: usize = 3;

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The image; without tag and digest, `latest`.
    pub reference: Reference,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// Which of several; this host's unless it is said.
    pub platform: Option<Platform>,
    /// Who we are to the registry.
    pub credentials: Option<Credentials>,
}

/// Pulls. A future that is dropped has stopped: nothing that is half there stays.
///
/// # Errors
/// In Docker's words.
pub async fn pull(engine: &Arc<Engine>, caller: &Caller, wish: Pull, progress: &Progress) -> Result<()> {
    let of_pull = |trouble: super::registry::Trouble| trouble.of_pull(&wish.reference.clone().or_latest());
    let limits = engine.images.limits;
    let credentials = wish.credentials.clone();
    let registry = Registry::connect(&engine.settings, &wish.reference, credentials, false, limits).await;
    let registry = registry.map_err(of_pull)?;
    let pulled = from(engine, caller, &registry, &wish, progress).await;
    let lacks =
        |failure: &Failure| matches!(failure.kind, Kind::NotFound | Kind::Unauthorized | Kind::Forbidden);
    if !registry.is_mirror || !pulled.as_ref().is_err_and(lacks) {
        return pulled;
    }
    // What a mirror does not have, or not with its signature, the registry itself may.
    let credentials = wish.credentials.clone();
    let origin = Registry::connect_to_origin(&engine.settings, &wish.reference, credentials, limits).await;
    from(engine, caller, &origin.map_err(of_pull)?, &wish, progress).await
}

/// Pulls all that is wanted from there.
async fn from(
    engine: &Arc<Engine>,
    caller: &Caller,
    registry: &Registry,
    wish: &Pull,
    progress: &Progress,
) -> Result<()> {
    let of_pull = |trouble: super::registry::Trouble| trouble.of_pull(&wish.reference.clone().or_latest());
    let references = if wish.all_tags {
        let tags = registry.tags().await.map_err(of_pull)?;
        tags.iter().map(|tag| wish.reference.clone().with_tag(tag)).collect::<Result<Vec<_>>>()?
    } else {
        vec![wish.reference.clone().or_latest()]
    };
    let mut newer = false;
    for reference in &references {
        newer |= one(engine, caller, registry, reference, wish.platform.as_ref(), progress).await?;
    }
    let shown = match &references[..] {
        [only] => only.familiar(),
        _ => wish.reference.familiar_name(),
    };
    let status = if newer { "Downloaded newer image for" } else { "Image is up to date for" };
    progress.status(&format!("Status: {status} {shown}")).await;
    Ok(())
}

/// Pulls one; answers whether its name means something new now.
async fn one(
    engine: &Arc<Engine>,
    caller: &Caller,
    registry: &Registry,
    reference: &Reference,
    platform: Option<&Platform>,
    progress: &Progress,
) -> Result<bool> {
    let wanted = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => format!("sha256:{digest}"),
        (None, tag) => tag.clone().unwrap_or_default(),
    };
    let found = registry.manifest(&wanted).await.map_err(|trouble| trouble.of_pull(reference))?;
    let verified = signature::demand(&engine.settings, registry, reference, &found.digest).await?;
    progress.status_of(&format!("Pulling from {}", reference.path), &wanted).await;

    let host = Platform::host();
    let (manifest, bytes) = resolve(registry, &found, platform.unwrap_or(&host)).await?;
    manifest.image()?;
    let id = manifest.config.hex()?;
    let known = engine.images.shelf().image(&caller.tenant, &id).cloned();
    let image = match known {
        Some(image) => {
            fits(&image.config, reference, platform)?;
            image
        }
        None => {
            let mut fetching = Fetching::new(engine, &caller.tenant);
            let record = fetching.fetch(registry, &manifest, bytes, (reference, platform), progress).await?;
            register(engine, record)?
        }
    };
    let image = match verified {
        Some(verified) => {
            let mut record = image.record.clone();
            record.verify(verified);
            register(engine, record)?
        }
        None => image,
    };
    progress.status(&format!("Digest: sha256:{}", found.digest)).await;

    let before = engine.images.shelf().named(&caller.tenant, reference).cloned();
    let by_digest = reference.by_digest(found.digest.clone());
    name(engine, &image, &by_digest)?;
    if reference.digest.is_none() && before.as_ref() != Some(&image.id) {
        name(engine, &image, reference)?;
    }
    let shown = reference.familiar();
    let attributes = super::shelf::attributes(&image.config, &reference.familiar_name());
    engine.events.publish(&caller.tenant, "image", "pull", shown, attributes);
    Ok(before.as_ref() != Some(&image.id))
}

/// The manifest of the image itself, and its bytes. A list leads to images, never to another list.
async fn resolve(registry: &Registry, found: &Found, platform: &Platform) -> Result<(Manifest, Vec<u8>)> {
    let entries = match Document::parse(&found.bytes, &found.media_type)? {
        Document::Image(manifest) => return Ok((manifest, found.bytes.clone())),
        Document::List(_, entries) => entries,
    };
    let entry = choose(&entries, platform)?;
    let chosen = registry.manifest(&format!("sha256:{}", entry.hex()?)).await?;
    match Document::parse(&chosen.bytes, &chosen.media_type)? {
        Document::Image(manifest) => Ok((manifest, chosen.bytes)),
        Document::List(..) => Err(Failure::invalid("manifest list: it leads to another list")),
    }
}

/// One image on its way. What has come without becoming part of an image goes when this is dropped.
struct Fetching {
    engine: Arc<Engine>,
    tenant: Tenant,
    hold: Option<Hold>,
    blobs: Vec<HexId>,
    layers: Vec<HexId>,
    /// Fetched in this pull: the same layer may appear twice.
    here: Mutex<HashSet<HexId>>,
    places: Semaphore,
}

impl Fetching {
    fn new(engine: &Arc<Engine>, tenant: &Tenant) -> Self {
        Self {
            engine: Arc::clone(engine),
            tenant: tenant.clone(),
            hold: Some(engine.images.pins.hold([])),
            blobs: Vec::new(),
            layers: Vec::new(),
            here: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }

    async fn fetch(
        &mut self,
        registry: &Registry,
        manifest: &Manifest,
        bytes: Vec<u8>,
        (reference, platform): (&Reference, Option<&Platform>),
        progress: &Progress,
    ) -> Result<Record> {
        let id = manifest.config.hex()?;
        let document = registry.document(&id, config::LARGEST).await?;
        let config = Config::parse(&document)?;
        let diffs = config.diff_ids()?;
        check(&config, manifest, reference, platform)?;
        let mut packed = Vec::new();
        for layer in &manifest.layers {
            packed.push(Packed {
                digest: layer.hex()?,
                size: layer.size,
                media_type: layer.media_type.clone(),
            });
        }
        let manifest = sha256(&bytes);
        self.blobs.extend(packed.iter().map(|packed| packed.digest.clone()));
        self.blobs.extend([id.clone(), manifest.clone()]);
        self.layers.clone_from(&diffs);
        if let Some(hold) = &mut self.hold {
            hold.extend(
                self.blobs.iter().cloned().map(Pin::Blob).chain(diffs.iter().cloned().map(Pin::Layer)),
            );
        }
        for layer in &packed {
            progress.step("Pulling fs layer", layer.digest.short()).await;
        }
        let layers = diffs.iter().zip(&packed);
        try_join_all(layers.map(|(diff, packed)| self.layer(registry, diff, packed, progress))).await?;
        let blobs = self.engine.images.blobs.clone();
        blocking(move || {
            blobs.put(&bytes)?;
            blobs.put(&document).map(drop)
        })
        .await?;
        let (tenant, size) = (self.tenant.clone(), super::size(&self.engine, &diffs));
        Ok(Record {
            tenant,
            id,
            manifest: Some(manifest),
            parent: None,
            packed,
            size,
            tagged: 0,
            verified: Vec::new(),
        })
    }

    async fn layer(
        &self,
        registry: &Registry,
        diff: &HexId,
        packed: &Packed,
        progress: &Progress,
    ) -> Result<()> {
        let shown = packed.digest.short();
        // Of another tenant's layer one may not even learn that it is here: only one's own need not come again.
        let lock =
            self.engine.images.workshop.of(&sha256(format!("{}/{}", self.tenant, packed.digest).as_bytes()));
        let guard = lock.lock().await;
        if self.own(diff, packed) {
            progress.step("Already exists", shown).await;
            return layers::ensure(&self.engine, (diff, &packed.digest), None, shown, None).await;
        }
        if !self.is_here(&packed.digest) {
            let _place = self.places.acquire().await.map_err(|_| Failure::failed("pull: it has ended"))?;
            let wanted = Wanted { digest: packed.digest.clone(), size: packed.size, shown: shown.to_owned() };
            let images = &self.engine.images;
            let draft = download(registry, &images.blobs, &wanted, &images.limits, progress).await?;
            packing::settle(&self.engine, draft, packed.digest.clone()).await?;
            progress.step("Download complete", shown).await;
            self.here.lock().unwrap_or_else(PoisonError::into_inner).insert(packed.digest.clone());
        }
        drop(guard);
        layers::ensure(&self.engine, (diff, &packed.digest), None, shown, Some(progress)).await?;
        progress.step("Pull complete", shown).await;
        Ok(())
    }

    fn is_here(&self, digest: &HexId) -> bool {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    /// One of this tenant's images has this very layer, packed in this very way.
    fn own(&self, diff: &HexId, packed: &Packed) -> bool {
        let has = {
            let shelf = self.engine.images.shelf();
            shelf.of(&self.tenant).any(|image| {
                let mut layers = image.layers.iter().zip(&image.record.packed);
                layers.any(|(its, blob)| its == diff && blob.digest == packed.digest)
            })
        };
        has && self.engine.images.blobs.find(&packed.digest).is_ok_and(|file| file.is_some())
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let (engine, blobs, layers) =
            (Arc::clone(&self.engine), std::mem::take(&mut self.blobs), std::mem::take(&mut self.layers));
        self.hold.take();
        tokio::spawn(async move { collect::unless_needed(&engine, blobs, layers).await });
    }
}

/// The configuration fits the manifest, and what was asked for.
fn check(
    config: &Config,
    manifest: &Manifest,
    reference: &Reference,
    asked: Option<&Platform>,
) -> Result<()> {
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let (has, says) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        let message = format!("layer count mismatch: the manifest has {has}, the configuration {says}");
        return Err(Failure::invalid(message));
    }
    if !matches!(config.os.as_str(), "" | "linux") {
        let message = format!("image operating system {:?} cannot be used on this platform", config.os);
        return Err(Failure::unsupported(message));
    }
    fits(config, reference, asked)
}

/// It is for the platform that was asked for.
fn fits(config: &Config, reference: &Reference, asked: Option<&Platform>) -> Result<()> {
    let is = Platform {
        architecture: config.architecture.clone(),
        os: "linux".to_owned(),
        variant: config.variant.clone(),
    };
    match asked {
        Some(asked) if asked.suits(&is).is_none() => Err(Failure::not_found(format!(
            "image with reference {} was found but its platform ({is}) does not match the specified platform \
             ({asked})",
            reference.familiar()
        ))),
        _ => Ok(()),
    }
}

/// What a registry has under a name, without fetching more of it.
///
/// # Errors
/// In Docker's words.
pub async fn look(
    engine: &Engine,
    reference: &Reference,
    credentials: Option<Credentials>,
) -> Result<(Descriptor, Vec<Platform>)> {
    let reference = reference.clone().or_latest();
    let of_pull = |trouble: super::registry::Trouble| trouble.of_pull(&reference);
    let limits = engine.images.limits;
    let registry = Registry::connect(&engine.settings, &reference, credentials, false, limits).await;
    let registry = registry.map_err(of_pull)?;
    let wanted = reference.digest.as_ref().map(|digest| format!("sha256:{digest}"));
    let wanted = wanted.or_else(|| reference.tag.clone()).unwrap_or_default();
    let found = registry.manifest(&wanted).await.map_err(of_pull)?;
    let document = Document::parse(&found.bytes, &found.media_type)?;
    let (media_type, platforms) = match &document {
        Document::List(media_type, entries) => {
            (media_type.clone(), entries.iter().filter_map(|entry| entry.platform.clone()).collect())
        }
        Document::Image(manifest) => {
            let config = registry.document(&manifest.config.hex()?, config::LARGEST).await?;
            let config = Config::parse(&config)?;
            let (architecture, os, variant) = (config.architecture, config.os, config.variant);
            (manifest.media_type.clone(), vec![Platform { architecture, os, variant }])
        }
    };
    let descriptor = Descriptor {
        media_type,
        digest: format!("sha256:{}", found.digest),
        size: found.bytes.len() as u64,
        platform: None,
        annotations: Default::default(),
    };
    Ok((descriptor, platforms))
}
