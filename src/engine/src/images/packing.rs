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
use super::record::{Image, Packed};
use super::stream::{media_type, plain};
use super::{IMAGE, LAYER, image_key};
use crate::{Engine, Result};

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

/// Makes a blob of a layer's archive: as it came, if a manifest has a word for that, otherwise uncompressed.
///
/// # Errors
/// It cannot be read, or there is no room.
pub async fn keep(engine: &Engine, archive: Draft) -> Result<Packed> {
    let mut into = engine.images.blobs.draft()?;
    blocking(move || {
        let mut file = archive.reader()?;
        let (media_type, draft) = match media_type(&mut file)? {
            Some(media_type) => (media_type, archive),
            None => {
                pour(&mut plain(file)?, &mut into)?;
                (super::manifest::DOCKER_TAR, into)
            }
        };
        let (digest, size) = draft.keep(None)?;
        Ok(Packed { digest, size, media_type: media_type.to_owned() })
    })
    .await
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
        Ok(packer.finish()?.keep(None)?)
    });
    let (digest, size) = kept.await?;
    let _leftover = Leftover::new(engine, digest.clone());
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
