//! One blob on its way here: taken up again where it was cut off, bounded in size and time, right in the end or not kept.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use casemate_spec::wire::HexId;

use super::blobs::{Blobs, Draft};
use super::progress::Progress;
use super::registry::{Limits, Registry, Trouble};
use crate::{Failure, Result};

/// Written at once.
const PIECE: usize = 1 << 20;

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its digest.
    pub digest: HexId,
    /// Its bytes, as the manifest says.
    pub size: u64,
    /// What people see it as: twelve digits.
    pub shown: String,
}

/// Fetches a blob, which is to be kept if it is the one.
///
/// # Errors
/// The registry does not give it, within its limits, or gives another.
pub async fn download(
    registry: &Registry,
    blobs: &Blobs,
    wanted: &Wanted,
    limits: &Limits,
    progress: &Progress,
) -> Result<Draft> {
    let mut draft = blobs.draft()?;
    let mut failed = 0;
    let mut pause = limits.back_off;
    loop {
        let before = draft.size();
        let (returned, outcome) = attempt(registry, draft, wanted, limits, progress).await?;
        draft = returned;
        let trouble = match outcome {
            Ok(()) => break,
            Err(trouble) if trouble.is_passing() => trouble,
            Err(trouble) => return Err(trouble.failure()),
        };
        // Whoever brings something each time comes to an end; bringing nothing is borne a few times.
        if draft.size().saturating_sub(before) < limits.least {
            failed += 1;
        }
        if failed >= limits.attempts {
            return Err(trouble.failure());
        }
        let seconds = pause.as_secs().max(1);
        progress
            .step(
                &format!("Retrying in {seconds} second{}", if seconds == 1 { "" } else { "s" }),
                &wanted.shown,
            )
            .await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(60));
    }
    progress.step("Verifying Checksum", &wanted.shown).await;
    Ok(draft)
}

/// Takes as many bytes as come. The draft comes back with them.
async fn attempt(
    registry: &Registry,
    mut draft: Draft,
    wanted: &Wanted,
    limits: &Limits,
    progress: &Progress,
) -> Result<(Draft, Result<(), Trouble>)> {
    let mut blob = match registry.blob(&wanted.digest, draft.size()).await {
        Ok(blob) => blob,
        Err(trouble) => return Ok((draft, Err(trouble))),
    };
    if blob.offset != draft.size() {
        draft.restart()?;
    }
    let mut meter = progress.meter("Downloading", &wanted.shown, wanted.size);
    let mut pace = Pace::new(limits, draft.size());
    let mut piece = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(limits.silence, blob.answer.chunk()).await;
        let reached = draft.size() + piece.len() as u64;
        let (outcome, last) = match chunk {
            Ok(Ok(Some(chunk))) => {
                let outcome =
                    pace.at(reached + chunk.len() as u64).and_then(|()| bound(wanted, reached, &chunk));
                piece.extend_from_slice(&chunk);
                meter.at(reached + chunk.len() as u64);
                (outcome, false)
            }
            Ok(Ok(None)) => (whole(wanted, reached), true),
            Ok(Err(error)) => (Err(cut(wanted, &error.to_string())), true),
            Err(_) => (Err(cut(wanted, "the registry sends nothing any more")), true),
        };
        let over = last || outcome.is_err();
        // What is past the bound is not written: the draft is of no use then.
        if matches!(outcome, Err(Trouble::Unusable(_))) {
            return Ok((draft, outcome));
        }
        if piece.len() >= PIECE || over {
            draft = write(draft, piece.split()).await?;
        }
        if over {
            return Ok((draft, outcome));
        }
    }
}

async fn write(mut draft: Draft, piece: BytesMut) -> Result<Draft> {
    blocking(move || {
        draft.write_all(&piece)?;
        Ok(draft)
    })
    .await
}

/// Work on files that takes its time.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::failed(format!("work on files: {error}")))?
}

fn bound(wanted: &Wanted, reached: u64, chunk: &[u8]) -> Result<(), Trouble> {
    if reached + chunk.len() as u64 <= wanted.size {
        return Ok(());
    }
    let message =
        format!("blob sha256:{}: longer than the {} bytes of its manifest", wanted.digest, wanted.size);
    Err(Trouble::Unusable(message))
}

fn whole(wanted: &Wanted, reached: u64) -> Result<(), Trouble> {
    if reached == wanted.size {
        return Ok(());
    }
    Err(cut(wanted, &format!("unexpected EOF: {reached} of {} bytes", wanted.size)))
}

fn cut(wanted: &Wanted, why: &str) -> Trouble {
    Trouble::Unreachable(format!("blob sha256:{}: {why}", wanted.digest))
}

/// Whether something comes, and not a byte now and then.
struct Pace {
    window: Duration,
    least: u64,
    since: Instant,
    from: u64,
}

impl Pace {
    fn new(limits: &Limits, from: u64) -> Self {
        Self { window: limits.window, least: limits.least, since: Instant::now(), from }
    }

    fn at(&mut self, reached: u64) -> Result<(), Trouble> {
        if self.since.elapsed() < self.window {
            return Ok(());
        }
        if reached.saturating_sub(self.from) < self.least {
            return Err(Trouble::Unreachable(format!(
                "fewer than {} bytes in {:?}",
                self.least, self.window
            )));
        }
        (self.since, self.from) = (Instant::now(), reached);
        Ok(())
    }
}
