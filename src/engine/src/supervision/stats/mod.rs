//! What a container uses, in Docker's numbers (`docker stats`).

mod host;
mod sample;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use casemate_spec::wire::Ask;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;

use super::funnel::Funnel;
use crate::containers::Container;
use crate::{Engine, Failure, Result, clock};
use sample::{Sample, Usage};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// The longest document.
const LONGEST: usize = 1 << 20;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Often {
    /// Each second, until the client has enough.
    Stream,
    /// Once, with the second before it to compare with.
    Once,
    /// Once and at once, with nothing to compare with.
    OneShot,
}

/// What a container uses: one line of JSON after the other.
pub fn stats(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    often: Often,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    let watch = Watch {
        engine: Arc::clone(engine),
        container: Arc::clone(container),
        often,
        before: None,
        lines: None,
        given: 0,
    };
    stream::unfold(watch, |mut watch| async move {
        let document = watch.next().await?;
        let line = Bytes::from(format!("{document}\n"));
        Some((Ok(line), watch))
    })
}

/// One client's view.
struct Watch {
    engine: Arc<Engine>,
    container: Arc<Container>,
    often: Often,
    before: Option<Sample>,
    lines: Option<Lines<BufReader<Receiver>>>,
    given: u64,
}

impl Watch {
    /// The next document; nothing when that was all, or the container is gone.
    async fn next(&mut self) -> Option<Value> {
        if self.often != Often::Stream && self.given > 0 {
            return None;
        }
        if self.often == Often::Once && self.container.is_running() {
            self.before = self.once().await.ok();
            tokio::time::sleep(EVERY).await;
        }
        let sample = match self.often {
            Often::Stream if self.given > 0 => self.following().await?,
            _ => self.once().await.ok(),
        };
        self.given += 1;
        let document = match &sample {
            Some(sample) => sample.document(self.before.as_ref(), &self.engine.host),
            None => sample::nothing(),
        };
        self.before = sample;
        Some(self.named(document))
    }

    fn named(&self, mut document: Value) -> Value {
        document["name"] = json!(format!("/{}", self.container.name()));
        document["id"] = json!(self.container.id.as_str());
        document
    }

    async fn once(&self) -> Result<Sample> {
        if !self.container.is_running() {
            return Err(super::not_running(&self.container));
        }
        let ask = Ask::Stats { id: self.container.id.clone(), every: None };
        let document = Funnel::ask(&self.engine.broker, ask)?.whole(LONGEST).await?;
        read(&document)
    }

    /// A second later: from a program that goes on by itself, or nothing while the container does not run.
    async fn following(&mut self) -> Option<Option<Sample>> {
        loop {
            if let Some(lines) = &mut self.lines {
                match lines.next_line().await {
                    Ok(Some(line)) => match read(line.as_bytes()) {
                        Ok(sample) => return Some(Some(sample)),
                        Err(_other_kind) => continue,
                    },
                    _ => self.lines = None,
                }
            }
            self.engine.containers.by_id(&self.container.id)?;
            if !self.container.is_running() {
                tokio::time::sleep(EVERY).await;
                if !self.container.is_running() {
                    return Some(None);
                }
            }
            let ask = Ask::Stats { id: self.container.id.clone(), every: Some(1) };
            match Funnel::ask(&self.engine.broker, ask) {
                Ok(funnel) => self.lines = Some(BufReader::new(funnel.reader).lines()),
                Err(_) => return None,
            }
        }
    }
}

fn read(document: &[u8]) -> Result<Sample> {
    let line = document.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let usage = Usage::parse(line).ok_or_else(|| Failure::failed("statistics that cannot be read"))?;
    Ok(Sample { at: clock::now(), processors: host::processors(), memory: host::memory(), usage })
}
