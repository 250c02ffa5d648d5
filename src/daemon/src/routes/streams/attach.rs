//! `POST /containers/{id}/attach`.

use casemate_engine::containers::Container;
use casemate_engine::supervision::logs::{self, Asked};
use casemate_engine::supervision::{self, Attachment, DetachKeys, Wanted};
use casemate_engine::{Engine, Result, clock};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::{content_type, relay};
use crate::answer::Answer;
use crate::call::{Call, Query};
use crate::hijack::hijack;

/// What was written before, as it is read.
pub(super) type Past = BoxStream<'static, std::io::Result<bytes::Bytes>>;

pub(super) async fn attach(mut call: Call) -> Result<Answer> {
    let keys = DetachKeys::parse(call.query.text("detachKeys").unwrap_or_default())?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let framed = !container.config.tty;
    let (attachment, past) = open(&call.engine, &container, &call.query, framed)?;
    let kind = content_type(framed, call.version);
    let (answer, pending) = hijack(&mut call, kind);
    tokio::spawn(async move {
        if let Ok(hijacked) = pending.stream().await {
            let (reader, writer) = hijacked.split();
            relay::Relay { attachment, past, framed, keys }.run(reader, writer).await;
        }
    });
    Ok(answer)
}

/// Attaches by what the query asks for: what was written before, and what is to come.
///
/// # Errors
/// The container is in no state to be attached to, or its log cannot be read.
pub(super) fn open(
    engine: &Engine,
    container: &Container,
    query: &Query,
    framed: bool,
) -> Result<(Attachment, Past)> {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    let wanted = Wanted { stdin: query.flag("stdin"), stdout, stderr };
    let streams = query.flag("stream");
    let mut attachment = supervision::attach(engine, container, wanted)?;
    let past = if query.flag("logs") && (stdout || stderr) {
        // Up to now: what comes from now on comes by the attachment.
        let until = Some(clock::now());
        past(logs::logs(engine, container, &Asked { stdout, stderr, framed, until, ..Asked::default() })?)
    } else {
        past(stream::empty())
    };
    if !streams {
        (attachment.output, attachment.input) = (mpsc::channel(1).1, None);
    }
    Ok((attachment, past))
}

fn past(stream: impl Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static) -> Past {
    stream.boxed()
}
