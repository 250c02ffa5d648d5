//! Layers: from a blob to a tree of the store. Which tree it becomes is decided by what was unpacked, never by what
//! somebody said of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use casemate_spec::wire::{Ask, HexId, TaskReply};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::LAYER;
use super::progress::Progress;
use super::record::Layer;
use crate::{Engine, Failure, Result};

/// Unpacked at the same time.
const AT_ONCE: usize = 3;
/// The longest answer of the helper's, in bytes.
const LONGEST_REPLY: u64 = 64 << 10;
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// Who works on what: one at a time for each layer, a few in all.
#[derive(Debug)]
pub struct Workshop {
    one: Mutex<HashMap<HexId, Weak<tokio::sync::Mutex<()>>>>,
    few: Arc<Semaphore>,
}

impl Default for Workshop {
    fn default() -> Self {
        Self { one: Mutex::default(), few: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Workshop {
    /// The lock of one thing, by its digest.
    pub fn of(&self, id: &HexId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = all.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        all.insert(id.clone(), Arc::downgrade(&lock));
        lock
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.few).acquire_owned().await;
        place.map_err(|_| Failure::failed("layers: unpacking has ended"))
    }
}

/// What is to come out.
#[derive(Debug, Clone)]
struct Expected {
    /// The layer.
    diff: Option<HexId>,
    /// Of which blob.
    blob: HexId,
}

/// Makes a blob's archive a layer, unless that is there. It must be the layer of this digest; `archive` is the blob's file
/// where it is not in its place yet. Goes on to its end even when nobody waits any more, so that nothing half done is left.
///
/// # Errors
/// The archive is refused, or is another.
pub async fn ensure(
    engine: &Arc<Engine>,
    (diff, blob): (&HexId, &HexId),
    archive: Option<File>,
    shown: &str,
    progress: Option<&Progress>,
) -> Result<()> {
    let lock = engine.images.workshop.of(diff).lock_owned().await;
    // A layer that is there is nobody's by its name alone: other tenants would read it. It is had by having its blob.
    if engine.images.shelf().layers.get(diff).is_some_and(|layer| layer.is_had_by(diff, blob)) {
        return Ok(());
    }
    let place = engine.images.workshop.place().await?;
    let file = archive.map_or_else(|| engine.images.blobs.file(blob), Ok)?;
    let size = file.metadata()?.len();
    // The helper reads through the same open file: its place in it is how far the helper is.
    let mut watched = file.try_clone()?;
    let (engine, diff, blob) = (Arc::clone(engine), diff.clone(), blob.clone());
    let mut work = tokio::spawn(async move {
        let _held = (lock, place);
        unpack(&engine, file, &Expected { diff: Some(diff), blob }).await.map(drop)
    });
    let mut meter = progress.map(|progress| progress.meter("Extracting", shown, size));
    loop {
        tokio::select! {
            done = &mut work => {
                return done.map_err(|error| Failure::failed(format!("unpacking: {error}")))?;
            }
            () = tokio::time::sleep(LOOK) => {
                if let (Some(meter), Ok(at)) = (meter.as_mut(), watched.stream_position()) {
                    meter.at(at);
                }
            }
        }
    }
}

/// Makes a blob's archive a layer, whichever it is: answers its digest when it is uncompressed, the layer's name.
///
/// # Errors
/// The archive is refused.
pub async fn make(engine: &Arc<Engine>, archive: File, blob: &HexId) -> Result<HexId> {
    let place = engine.images.workshop.place().await?;
    let (engine, blob) = (Arc::clone(engine), blob.clone());
    let work = tokio::spawn(async move {
        let _held = place;
        unpack(&engine, archive, &Expected { diff: None, blob }).await
    });
    work.await.map_err(|error| Failure::failed(format!("unpacking: {error}")))?
}

async fn unpack(engine: &Engine, archive: File, expected: &Expected) -> Result<HexId> {
    let staging = random()?;
    match stage(engine, &staging, archive, expected).await {
        Ok(diff) => Ok(diff),
        Err(failure) => {
            // Where this fails as well, the next start finds it.
            if let Err(second) = engine.broker.done(Ask::DropStaging { staging }, &[]).await {
                eprintln!("casemated: staging place: {second}");
            }
            Err(failure)
        }
    }
}

async fn stage(engine: &Engine, staging: &HexId, archive: File, expected: &Expected) -> Result<HexId> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let ask = Ask::Unpack { staging: staging.clone() };
    let done = async {
        let done = engine.broker.done(ask, &[archive.as_fd(), writer.as_fd()]).await;
        // Ours is the last: without it the reader never comes to the end.
        drop((archive, writer));
        done
    };
    let (done, reply) = tokio::join!(done, reply(reader));
    let (digest, size) = match (done, reply) {
        (Ok(()), Ok(TaskReply::Unpacked { digest, size })) => (digest, size),
        (_, Ok(TaskReply::Failed(failure))) => {
            return Err(Failure::failed(format!("failed to register layer: {}", failure.message)));
        }
        (Err(failure), _) => return Err(failure.within("failed to register layer")),
        (Ok(()), Ok(_)) => {
            return Err(Failure::failed("failed to register layer: the helper said something else"));
        }
        (Ok(()), Err(failure)) => return Err(failure),
    };
    let diff: HexId = digest.strip_prefix("sha256:").unwrap_or(&digest).parse()?;
    if let Some(expected) = expected.diff.as_ref().filter(|expected| **expected != diff) {
        return Err(other(&diff, expected));
    }
    keep(engine, staging, &diff, size, &expected.blob).await?;
    Ok(diff)
}

/// It is another layer than was said.
pub fn other(diff: &HexId, expected: &HexId) -> Failure {
    let message =
        format!("layer sha256:{diff} is not the one of the image's configuration, sha256:{expected}");
    Failure::failed(format!("failed to register layer: {message}"))
}

/// The tree first, the record after: a tree without a record is found at the next start.
async fn keep(engine: &Engine, staging: &HexId, diff: &HexId, size: u64, blob: &HexId) -> Result<()> {
    let ask = Ask::KeepLayer { staging: staging.clone(), layer: diff.clone() };
    engine.broker.done(ask, &[]).await?;
    let mut shelf = engine.images.shelf();
    let proven = shelf.layers.get(diff).map(|layer| layer.proven.clone()).unwrap_or_default();
    let mut layer = Layer { size, proven };
    if blob != diff {
        layer.prove(blob);
    }
    engine.db.put(LAYER, diff.as_str(), &layer)?;
    shelf.orphans.remove(diff);
    shelf.layers.insert(diff.clone(), layer);
    Ok(())
}

async fn reply(reader: OwnedFd) -> Result<TaskReply> {
    let mut bytes = Vec::new();
    pipe::Receiver::from_owned_fd(reader)?.take(LONGEST_REPLY).read_to_end(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::failed(format!("answer of the helper: {error}")))
}

/// A new name for a staging place.
fn random() -> Result<HexId> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::failed("no random bytes can be had"))?;
    Ok(HexId::from_bytes(bytes))
}
