//! Answers that take their time: a line for every step, and the failure last, unless it comes first.

use bytes::Bytes;
use casemate_engine::images::Progress;
use casemate_engine::images::registry::Credentials;
use casemate_engine::{Failure, Result};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::call::Call;

/// The work of a client. It ends when the client goes.
struct Work(JoinHandle<Result<()>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who the client is to a registry: the header `X-Registry-Auth`.
///
/// # Errors
/// It cannot be read.
pub fn credentials(call: &Call) -> Result<Option<Credentials>> {
    let header = call.headers().get("x-registry-auth").and_then(|value| value.to_str().ok());
    header.map_or(Ok(None), Credentials::parse)
}

/// Starts the work and answers with its lines. What fails before the first of them is an answer of its own.
///
/// # Errors
/// The work's, when it said nothing before.
pub async fn told<W>(work: impl FnOnce(Progress) -> W) -> Result<Answer>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let (progress, mut lines) = Progress::channel();
    let last = progress.clone();
    let mut work = Work(tokio::spawn(work(progress)));
    let first = tokio::select! {
        biased;
        line = lines.recv() => line,
        done = &mut work.0 => match ended(done) {
            // The lines that it sent at its end are still there.
            Ok(()) => lines.try_recv().ok(),
            Err(failure) => match lines.try_recv() {
                Ok(line) => {
                    let rest = drain(lines, last, Some(failure)).await;
                    return Ok(lines_of(std::iter::once(line).chain(rest)));
                }
                Err(_) => return Err(failure),
            },
        },
    };
    let first = first.into_iter().map(Ok).collect::<Vec<_>>();
    let state = Some((work, lines, last));
    let rest = stream::unfold(state, |state| async move {
        let (mut work, mut lines, last) = state?;
        tokio::select! {
            biased;
            line = lines.recv() => Some((Ok(line?), Some((work, lines, last)))),
            done = &mut work.0 => {
                let rest = drain(lines, last, ended(done).err()).await;
                Some((Ok(rest.concat().into()), None))
            }
        }
    });
    Ok(Answer::stream("application/json", futures_util::StreamExt::chain(stream::iter(first), rest)))
}

fn ended(done: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    done.unwrap_or_else(|error| Err(Failure::failed(format!("it was broken off: {error}"))))
}

/// What is still on its way, and the failure after it.
async fn drain(mut lines: mpsc::Receiver<Bytes>, last: Progress, failure: Option<Failure>) -> Vec<Bytes> {
    let mut rest = Vec::new();
    while let Ok(line) = lines.try_recv() {
        rest.push(line);
    }
    if let Some(failure) = failure {
        last.failure(&failure).await;
        rest.extend(lines.try_recv().ok());
    }
    rest
}

fn lines_of(lines: impl Iterator<Item = Bytes>) -> Answer {
    let lines: Vec<std::io::Result<Bytes>> = lines.map(Ok).collect();
    Answer::stream("application/json", stream::iter(lines))
}
