//! What comes out of containers and goes into them: attach, logs, wait, resize, stats, top.

mod attach;
mod logs;
pub(super) mod relay;
mod websocket;

use bytes::Bytes;
use casemate_engine::supervision::stats::{self, Often};
use casemate_engine::supervision::{self, Condition};
use casemate_engine::{Failure, Result};
use futures_util::stream;
use hyper::StatusCode;
use serde_json::json;

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Post,
        path: "/containers/{id}/attach",
        operation: "container.attach",
        subject: Subject::Container,
        handler: |call| Box::pin(attach::attach(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/attach/ws",
        operation: "container.attach",
        subject: Subject::Container,
        handler: |call| Box::pin(websocket::attach(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/logs",
        operation: "container.logs",
        subject: Subject::Container,
        handler: |call| Box::pin(logs::logs(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/wait",
        operation: "container.wait",
        subject: Subject::Container,
        handler: |call| Box::pin(wait(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/resize",
        operation: "container.resize",
        subject: Subject::Container,
        handler: |call| Box::pin(resize(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/stats",
        operation: "container.stats",
        subject: Subject::Container,
        handler: |call| Box::pin(statistics(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/top",
        operation: "container.top",
        subject: Subject::Container,
        handler: |call| Box::pin(top(call)),
    },
];

/// A stream with frames in it that say which output each piece is of.
pub(super) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// A stream without, or one for a client that does not know the other name.
pub(super) const RAW: &str = "application/vnd.docker.raw-stream";

/// What a stream is called, by the version of the API.
pub(super) fn content_type(framed: bool, version: u16) -> &'static str {
    if framed && version >= 42 { MULTIPLEXED } else { RAW }
}

/// The head goes out at once: `docker run` starts the container only when it has seen it.
async fn wait(call: Call) -> Result<Answer> {
    let condition = Condition::parse(call.query.text("condition").unwrap_or_default())?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let waited = supervision::wait(&call.engine, &container, condition);
    let body = stream::once(async move {
        let waited = waited.await;
        let mut body = json!({ "StatusCode": waited.code });
        if let Some(message) = waited.error {
            body["Error"] = json!({ "Message": message });
        }
        Ok(Bytes::from(format!("{body}\n")))
    });
    Ok(Answer::stream("application/json", body))
}

async fn resize(call: Call) -> Result<Answer> {
    let (rows, columns) = size(&call)?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    supervision::resize(&call.engine, &container, rows, columns).await?;
    Ok(Answer::empty(StatusCode::OK))
}

/// `h` and `w` of the query.
///
/// # Errors
/// One is missing, or no number.
pub(super) fn size(call: &Call) -> Result<(u16, u16)> {
    let number = |name: &str, what: &str| {
        let text = call.query.text(name).unwrap_or_default();
        text.parse::<u16>().map_err(|_| Failure::invalid(format!("invalid resize {what} \"{text}\"")))
    };
    Ok((number("h", "height")?, number("w", "width")?))
}

async fn statistics(call: Call) -> Result<Answer> {
    let (streams, one_shot) = (call.query.flag_or("stream", true), call.query.flag("one-shot"));
    let often = match (streams, one_shot) {
        (true, true) => return Err(Failure::invalid("cannot have stream=true and one-shot=true")),
        (true, false) => Often::Stream,
        (false, false) => Often::Once,
        (false, true) => Often::OneShot,
    };
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    Ok(Answer::stream("application/json", stats::stats(&call.engine, &container, often)))
}

async fn top(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let options = call.query.text("ps_args").unwrap_or_default();
    Ok(Answer::ok(&supervision::top(&call.engine, &container, options).await?))
}
