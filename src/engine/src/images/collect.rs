//! What nothing needs any more, and what a crash has left. Records are the truth: what they name is kept, everything else
//! goes; and a record goes before the thing, so that a crash in between leaves a thing without a record at most.

use std::collections::HashSet;
use std::sync::Arc;

use casemate_spec::wire::{Answer, Ask, HexId};

use super::LAYER;
use super::pins::Pin;
use super::record::Image;
use crate::{Engine, Failure, Kind, Result};

/// Brings blobs, layers and records in line, before anything is asked of them.
///
/// # Errors
/// The broker is gone, or the database cannot be written.
pub async fn reconcile(engine: &Arc<Engine>) -> Result<()> {
    let stored = match engine.broker.ask(Ask::List).await? {
        (Answer::Stored(stored), _) => stored,
        (other, _) => return Err(Failure::failed(format!("the broker answered something else: {other:?}"))),
    };
    for staging in stored.staging {
        report("staging place", engine.broker.done(Ask::DropStaging { staging }, &[]).await);
    }
    let present: HashSet<HexId> = stored.layers.into_iter().collect();
    let lost: Vec<HexId> = {
        let shelf = engine.images.shelf();
        shelf.layers.keys().filter(|id| !present.contains(*id)).cloned().collect()
    };
    for id in &lost {
        engine.db.remove(LAYER, id.as_str())?;
        engine.images.shelf().layers.remove(id);
    }
    {
        let mut shelf = engine.images.shelf();
        let unknown: Vec<HexId> = present.into_iter().filter(|id| !shelf.layers.contains_key(id)).collect();
        shelf.orphans.extend(unknown);
    }
    let known: Vec<HexId> = engine.images.shelf().layers.keys().cloned().collect();
    layers(engine, known).await?;
    sweep(engine).await;
    blobs(engine, engine.images.blobs.all()?);
    restore(engine).await;
    Ok(())
}

/// Unpacks again what an image needs and the store has lost.
async fn restore(engine: &Arc<Engine>) {
    let images: Vec<Arc<Image>> = engine.images.shelf().every().cloned().collect();
    for image in images {
        for (diff, packed) in image.layers.iter().zip(&image.record.packed) {
            let shown = diff.short();
            report(
                &format!("image {}: layer {shown}", image.id),
                super::layers::ensure(engine, (diff, &packed.digest), None, shown, None).await,
            );
        }
    }
}

/// Tries again to remove layers that a container still stood on when the last image that had them went. To be called
/// when a container has gone.
pub async fn sweep(engine: &Arc<Engine>) {
    let orphans: Vec<HexId> = engine.images.shelf().orphans.iter().cloned().collect();
    for orphan in orphans {
        drop_layer(engine, &orphan).await;
    }
}

/// Removes those of an image's layers and blobs that nothing else needs.
///
/// # Errors
/// The database cannot be written.
pub async fn after(engine: &Arc<Engine>, image: &Image) -> Result<()> {
    layers(engine, image.layers.clone()).await?;
    blobs(engine, image.blobs().cloned().collect());
    Ok(())
}

/// Removes those of some blobs and layers that nothing needs: what an undertaking that has failed leaves behind.
pub async fn unless_needed(engine: &Arc<Engine>, candidates: Vec<HexId>, of_layers: Vec<HexId>) {
    report("layers", layers(engine, of_layers).await);
    blobs(engine, candidates);
}

async fn layers(engine: &Arc<Engine>, candidates: Vec<HexId>) -> Result<()> {
    for id in candidates {
        // Whoever wants to unpack the same waits for us, and then finds it gone.
        let lock = engine.images.workshop.of(&id);
        let _guard = lock.lock().await;
        {
            let mut shelf = engine.images.shelf();
            let needed = shelf.every().any(|image| image.layers.contains(&id));
            if needed || engine.images.pins.held(&Pin::Layer(id.clone())) || !shelf.layers.contains_key(&id) {
                continue;
            }
            engine.db.remove(LAYER, id.as_str())?;
            shelf.layers.remove(&id);
            shelf.orphans.insert(id.clone());
        }
        remove_layer(engine, &id).await;
    }
    Ok(())
}

async fn drop_layer(engine: &Arc<Engine>, id: &HexId) {
    let lock = engine.images.workshop.of(id);
    let _guard = lock.lock().await;
    if engine.images.shelf().orphans.contains(id) {
        remove_layer(engine, id).await;
    }
}

async fn remove_layer(engine: &Arc<Engine>, id: &HexId) {
    match engine.broker.done(Ask::DropLayer { layer: id.clone() }, &[]).await {
        Ok(()) => {
            engine.images.shelf().orphans.remove(id);
        }
        Err(failure) if failure.kind == Kind::NotFound => {
            engine.images.shelf().orphans.remove(id);
        }
        // A container stands on it: it goes with that.
        Err(failure) if failure.kind == Kind::Conflict => {}
        Err(failure) => eprintln!("casemated: layer {id}: {failure}"),
    }
}

fn blobs(engine: &Engine, candidates: Vec<HexId>) {
    for id in candidates {
        let needed = {
            let shelf = engine.images.shelf();
            shelf.every().any(|image| image.blobs().any(|blob| *blob == id))
        };
        if !needed && !engine.images.pins.held(&Pin::Blob(id.clone())) {
            report("blob", engine.images.blobs.remove(&id));
        }
    }
}

fn report(what: &str, result: Result<()>) {
    if let Err(failure) = result {
        eprintln!("casemated: {what}: {failure}");
    }
}
