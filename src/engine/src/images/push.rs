//! From a tenant's images to a registry.

use std::io::{Read, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use casemate_spec::wire::HexId;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream;
use tokio::sync::{Semaphore, mpsc};

use super::manifest::{DOCKER_MANIFEST, Document, LARGEST, Manifest};
use super::progress::Progress;
use super::record::{Image, Packed};
use super::reference::Reference;
use super::registry::{Credentials, Registry, Trouble};
use super::{config, image_key, name, packing, shelf};
use crate::{Caller, Engine, Failure, Result};

/// Layers of one image that go at the same time.
const AT_ONCE: usize = 5;
/// Read at once.
const PIECE: usize = 256 << 10;

/// Pushes a tag, or with none every tag of a repository.
///
/// # Errors
/// In Docker's words.
pub async fn push(
    engine: &Arc<Engine>,
    caller: &Caller,
    reference: &Reference,
    credentials: Option<Credentials>,
    progress: &Progress,
) -> Result<()> {
    let names = engine.images.shelf().repository(&caller.tenant, reference);
    let none = names.is_empty();
    let tagged = names.into_iter().filter(|(name, _)| match &reference.tag {
        Some(_) => name == reference,
        None => name.tag.is_some(),
    });
    let wanted: Vec<(Reference, HexId)> = tagged.collect();
    if wanted.is_empty() {
        let name = reference.familiar_name();
        return Err(Failure::not_found(match &reference.tag {
            Some(tag) if !none => format!("tag does not exist: {name}:{tag}"),
            _ => format!("An image does not exist locally with the tag: {name}"),
        }));
    }
    progress.status(&format!("The push refers to repository [{}]", reference.repository())).await;
    let limits = engine.images.limits;
    let registry = Registry::connect(&engine.settings, reference, credentials, true, limits).await?;
    for (name, id) in wanted {
        let image = engine.images.shelf().image(&caller.tenant, &id).cloned();
        let image = image.ok_or_else(|| Failure::not_found(format!("No such image: {}", name.familiar())))?;
        // Nothing of it may go while it is on its way.
        let _hold = engine.images.hold(&image);
        one(engine, &registry, &image, &name, progress).await?;
    }
    Ok(())
}

async fn one(
    engine: &Arc<Engine>,
    registry: &Registry,
    image: &Arc<Image>,
    reference: &Reference,
    progress: &Progress,
) -> Result<()> {
    for diff in &image.layers {
        progress.step("Preparing", diff.short()).await;
    }
    let image = &packing::pack(engine, image).await?;
    let _hold = engine.images.hold_blobs(image);
    let (manifest, bytes) = manifest(engine, image)?;
    let places = Semaphore::new(AT_ONCE);
    let mut seen = std::collections::HashSet::new();
    let layers = image.layers.iter().zip(&image.record.packed);
    let distinct = layers.filter(|(_, packed)| seen.insert(packed.digest.clone()));
    try_join_all(distinct.map(|(diff, packed)| async {
        let _place = places.acquire().await.map_err(|_| Failure::failed("push: it has ended"))?;
        layer(engine, registry, image, (packed, diff.short()), reference, progress).await
    }))
    .await?;
    if !registry.has(&image.id).await? {
        let document = Bytes::from(engine.images.blobs.read(&image.id, config::LARGEST)?);
        let (to, size) = (registry.begin().await?, document.len() as u64);
        registry.upload(to, &image.id, size, stream::iter([Ok(document)])).await?;
    }
    let digest = super::sha256(&bytes);
    let (tag, size) = (reference.tag.clone().unwrap_or_default(), bytes.len());
    registry.put_manifest(&tag, &manifest.media_type, bytes).await?;
    name(engine, image, &reference.by_digest(digest.clone()))?;
    progress.status(&format!("{tag}: digest: sha256:{digest} size: {size}")).await;
    let aux = serde_json::json!({ "Tag": tag, "Digest": format!("sha256:{digest}"), "Size": size });
    progress.aux(&aux).await;
    let attributes = shelf::attributes(&image.config, &reference.familiar_name());
    engine.events.publish(&image.record.tenant, "image", "push", reference.familiar(), attributes);
    Ok(())
}

/// The manifest that the image came with, so that its digest stays; or one made once and kept.
///
/// # Errors
/// A blob is missing.
pub fn manifest(engine: &Engine, image: &Image) -> Result<(Manifest, Vec<u8>)> {
    let bytes = match &image.record.manifest {
        Some(digest) => engine.images.blobs.read(digest, LARGEST)?,
        None => {
            let bytes = packing::manifest(engine, image)?;
            let digest = engine.images.blobs.put(&bytes)?;
            let mut shelf = engine.images.shelf();
            let now = shelf.image(&image.record.tenant, &image.id).map(|now| Image::clone(now));
            let mut now = now.unwrap_or_else(|| image.clone());
            now.record.manifest = Some(digest);
            engine.db.put(super::IMAGE, &image_key(&now.record.tenant, &now.id), &now.record)?;
            shelf.put(now);
            bytes
        }
    };
    match Document::parse(&bytes, DOCKER_MANIFEST).or_else(|_| Document::parse(&bytes, ""))? {
        Document::Image(manifest) => Ok((manifest, bytes)),
        Document::List(..) => Err(Failure::failed(format!("image {}: its manifest is a list", image.id))),
    }
}

async fn layer(
    engine: &Arc<Engine>,
    registry: &Registry,
    image: &Image,
    (packed, shown): (&Packed, &str),
    reference: &Reference,
    progress: &Progress,
) -> Result<()> {
    if registry.has(&packed.digest).await? {
        progress.step("Layer already exists", shown).await;
        return Ok(());
    }
    let to = match neighbour(engine, image, packed, reference) {
        Some(from) => match registry.mount(&packed.digest, &from).await? {
            None => {
                progress.step(&format!("Mounted from {from}"), shown).await;
                return Ok(());
            }
            Some(to) => to,
        },
        None => registry.begin().await?,
    };
    // A begun upload that breaks off is begun anew: what the registry has of it is not asked for.
    let mut to = Some(to);
    let limits = engine.images.limits;
    let mut pause = limits.back_off;
    for attempt in 1.. {
        let place = match to.take() {
            Some(place) => place,
            None => registry.begin().await?,
        };
        match send(engine, registry, (packed, shown), place, progress).await {
            Ok(()) => break,
            Err(trouble) if trouble.is_passing() && attempt < limits.attempts => {
                progress.step(&format!("Retrying in {} seconds", pause.as_secs()), shown).await;
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(trouble) => return Err(trouble.failure()),
        }
    }
    progress.step("Pushed", shown).await;
    Ok(())
}

async fn send(
    engine: &Engine,
    registry: &Registry,
    (packed, shown): (&Packed, &str),
    to: reqwest::Url,
    progress: &Progress,
) -> Result<(), Trouble> {
    let unusable = |failure: Failure| Trouble::Unusable(failure.message);
    let mut file = engine.images.blobs.file(&packed.digest).map_err(unusable)?;
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    let size = packed.size;
    tokio::task::spawn_blocking(move || {
        let mut read = |at: u64| -> std::io::Result<Bytes> {
            let mut piece = vec![0; PIECE.min(usize::try_from(size - at).unwrap_or(PIECE))];
            std::io::Seek::seek(&mut file, SeekFrom::Start(at))?;
            file.read_exact(&mut piece)?;
            Ok(piece.into())
        };
        let mut at = 0;
        while at < size {
            let piece = read(at);
            at += piece.as_ref().map_or(size, |piece| piece.len() as u64);
            if sender.blocking_send(piece).is_err() {
                break;
            }
        }
    });
    let (told, mut sent) = mpsc::unbounded_channel::<u64>();
    let bytes = stream::unfold((receiver, 0_u64, told), |(mut receiver, at, told)| async move {
        let piece = receiver.recv().await?;
        let at = at + piece.as_ref().map_or(0, |piece| piece.len() as u64);
        told.send(at).ok();
        Some((piece, (receiver, at, told)))
    });
    let mut meter = progress.meter("Pushing", shown, size);
    let upload = registry.upload(to, &packed.digest, size, bytes.boxed());
    tokio::pin!(upload);
    loop {
        tokio::select! {
            done = &mut upload => return done,
            Some(at) = sent.recv() => meter.at(at),
        }
    }
}

/// Another repository of the same registry that has this layer, as far as this tenant has been told.
fn neighbour(engine: &Engine, image: &Image, packed: &Packed, reference: &Reference) -> Option<String> {
    let tenant = &image.record.tenant;
    let shelf = engine.images.shelf();
    let with =
        shelf.of(tenant).filter(|other| other.record.packed.iter().any(|its| its.digest == packed.digest));
    let names = with.flat_map(|other| shelf.names(tenant, &other.id));
    // A name by digest is one that a registry has confirmed.
    let mut there = names.filter(|name| {
        name.digest.is_some() && name.domain == reference.domain && name.path != reference.path
    });
    there.next().map(|name| name.path)
}
