//! Layers' archives as blobs: kept as they came, compressed only for a registry. An uncompressed archive is its layer's
//! name itself (its digest is the diff id), and costs no processor time on its way in; most images that are made or loaded
//! here are never pushed.

use std::collections::HashMap;
use std::io::{Read, Seek as _, Write};
use std::sync::Arc;

use casemate_spec::wire::{HexId, Tenant};

use super::blobs::Draft;
use super::collect;
use super::download::blocking;
use super::make::Leftover;
use super::manifest::{DOCKER_LAYER, Manifest};
use super::progress::Progress;
use super::record::{Image, Packed};
use super::stream::{media_type, plain};
use super::{IMAGE, LAYER, image_key, layers};
use crate::{Engine, Failure, Result};

/// Read and written at once.
const PIECE: usize = 256 << 10;
/// Of gzip: what registries' clients use, or near it.
const LEVEL: u32 = 5;

/// Writes all that comes, in large pieces: each is hashed and written in one go.
///
/// # Errors
/// It cannot be read, or there is no room.
pub fn pour(from: &mut impl Read, into: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        into.write_all(buffer.get(..read).unwrap_or_default())?;
    }
}

/// Makes a blob and a layer of a layer's archive, both at once. The blob is as it came, if a manifest has a word for that,
/// otherwise uncompressed. What becomes no image's goes with `leftover`; the layer is `expected`, or whichever it is.
///
/// # Errors
/// It cannot be read, is another, or there is no room.
pub async fn keep(
    engine: &Arc<Engine>,
    archive: Draft,
    expected: Option<&HexId>,
    leftover: &mut Leftover,
    progress: Option<&Progress>,
) -> Result<(HexId, Packed)> {
    let mut into = engine.images.blobs.draft()?;
    let sorted = blocking(move || {
        let mut file = archive.reader()?;
        if let Some(media_type) = media_type(&mut file)? {
            return Ok((media_type, archive, file));
        }
        pour(&mut plain(file)?, &mut into)?;
        let file = into.reader()?;
        Ok((super::manifest::DOCKER_TAR, into, file))
    });
    let (media_type, draft, file) = sorted.await?;
    let packed = Packed { digest: draft.digest(), size: draft.size(), media_type: media_type.to_owned() };
    let diff = if packed.is_plain() { Some(packed.digest.clone()) } else { expected.cloned() };
    leftover.add_blob(packed.digest.clone());
    if let Some(expected) = expected.filter(|expected| diff.as_ref() != Some(expected)) {
        return Err(layers::other(&packed.digest, expected));
    }
    let unpacked = async {
        let Some(diff) = &diff else { return layers::make(engine, file, &packed.digest).await };
        leftover.add(diff.clone());
        let work = (diff, &packed.digest);
        layers::ensure(engine, work, Some(file), diff.short(), progress).await.map(|()| diff.clone())
    };
    // The blob is on its way to the disk while its files are made.
    let (kept, unpacked) = tokio::join!(settle(engine, draft, packed.digest.clone()), unpacked);
    kept?;
    let diff = unpacked?;
    leftover.add(diff.clone());
    Ok((diff, packed))
}

/// Makes a draft the blob that it is. Should nobody wait any more when it is in its place, it goes again.
///
/// # Errors
/// It is another, or cannot be made durable.
pub async fn settle(engine: &Arc<Engine>, draft: Draft, expected: HexId) -> Result<()> {
    let engine = Arc::clone(engine);
    let work = tokio::spawn(async move {
        let digest = expected.clone();
        let kept = blocking(move || draft.keep(Some(&expected)).map(drop)).await;
        collect::unless_needed(&engine, vec![digest], Vec::new()).await;
        kept
    });
    work.await.map_err(|error| Failure::failed(format!("blob: {error}")))?
}

/// The image as a registry is to have it: what is kept uncompressed is compressed once, so that its digest stays the same
/// however often it is pushed. One that came with a manifest goes as that says.
///
/// # Errors
/// A blob cannot be read, or there is no room.
pub async fn pack(engine: &Arc<Engine>, image: &Arc<Image>) -> Result<Arc<Image>> {
    let (tenant, id) = (&image.record.tenant, &image.id);
    let known = || engine.images.shelf().image(tenant, id).cloned().unwrap_or_else(|| Arc::clone(image));
    loop {
        // Another push may have packed it meanwhile.
        let image = known();
        let mut layers = image.layers.iter().zip(&image.record.packed);
        let plain = layers.find(|(_, packed)| packed.is_plain());
        let Some((diff, plain)) = plain.filter(|_| image.record.manifest.is_none()) else { return Ok(image) };
        let lock = engine.images.workshop.of(diff).lock_owned().await;
        if known().record.packed == image.record.packed {
            one(engine, tenant, diff, plain).await?;
        }
        drop(lock);
    }
}

/// Compresses a layer's archive, and lets every image of the tenant's that is not bound by a manifest have it so.
async fn one(engine: &Arc<Engine>, tenant: &Tenant, diff: &HexId, from: &Packed) -> Result<()> {
    let into = engine.images.blobs.draft()?;
    let mut file = engine.images.blobs.file(&from.digest)?;
    let kept = blocking(move || {
        file.rewind()?;
        let mut packer = flate2::write::GzEncoder::new(into, flate2::Compression::new(LEVEL));
        pour(&mut file, &mut packer)?;
        packer.finish()?.keep(None)
    });
    let (digest, size) = kept.await?;
    let mut leftover = Leftover::new(engine);
    leftover.add_blob(digest.clone());
    let packed = Packed { digest, size, media_type: DOCKER_LAYER.to_owned() };
    {
        let mut shelf = engine.images.shelf();
        let theirs = shelf.of(tenant).filter(|image| image.record.manifest.is_none());
        let mut changed: HashMap<String, Image> = HashMap::new();
        for image in theirs.filter(|image| image.record.packed.contains(from)) {
            let mut image = Image::clone(image);
            for its in image.record.packed.iter_mut().filter(|its| *its == from) {
                its.clone_from(&packed);
            }
            changed.insert(image_key(tenant, &image.id), image);
        }
        // It was made from the layer's own archive: whoever has this blob has the layer.
        let mut layer = shelf.layers.get(diff).cloned();
        if let Some(layer) = &mut layer {
            layer.prove(&packed.digest);
        }
        engine.db.write(|batch| {
            layer.iter().try_for_each(|layer| batch.put(LAYER, diff.as_str(), layer))?;
            changed.iter().try_for_each(|(key, image)| batch.put(IMAGE, key, &image.record))
        })?;
        changed.into_values().for_each(|image| drop(shelf.put(image)));
        shelf.layers.extend(layer.map(|layer| (diff.clone(), layer)));
    }
    collect::unless_needed(engine, vec![from.digest.clone()], Vec::new()).await;
    Ok(())
}

/// The manifest of an image that came without one.
///
/// # Errors
/// Its configuration is missing.
pub fn manifest(engine: &Engine, image: &Image) -> Result<Vec<u8>> {
    let size = engine.images.blobs.file(&image.id)?.metadata()?.len();
    Ok(Manifest::of(&image.id, size, &image.record.packed))
}
