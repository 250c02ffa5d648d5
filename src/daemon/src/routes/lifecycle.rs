//! Containers on and off: start, stop, restart, kill, pause, unpause.

use casemate_engine::Result;
use casemate_engine::supervision::{self, DetachKeys, signal};

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::{Call, Query};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Post,
        path: "/containers/{id}/start",
        operation: "container.start",
        subject: Subject::Container,
        handler: |call| Box::pin(start(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/stop",
        operation: "container.stop",
        subject: Subject::Container,
        handler: |call| Box::pin(stop(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/restart",
        operation: "container.restart",
        subject: Subject::Container,
        handler: |call| Box::pin(restart(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/kill",
        operation: "container.kill",
        subject: Subject::Container,
        handler: |call| Box::pin(kill(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/pause",
        operation: "container.pause",
        subject: Subject::Container,
        handler: |call| Box::pin(pause(call)),
    },
    Route {
        method: Verb::Post,
        path: "/containers/{id}/unpause",
        operation: "container.unpause",
        subject: Subject::Container,
        handler: |call| Box::pin(unpause(call)),
    },
];

/// 204 once it runs; what very old clients send in the body was obsolete long before the first version that we accept.
async fn start(call: Call) -> Result<Answer> {
    DetachKeys::parse(call.query.text("detachKeys").unwrap_or_default())?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    supervision::start(&call.engine, &container).await?;
    Ok(Answer::done())
}

/// Which signal, and how many seconds until KILL, where the client says so.
fn how(query: &Query) -> Result<(Option<i32>, Option<i64>)> {
    Ok((query.text("signal").map(signal).transpose()?, query.number("t")?))
}

async fn stop(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let (signal, timeout) = how(&call.query)?;
    supervision::stop(&call.engine, &container, signal, timeout).await?;
    Ok(Answer::done())
}

async fn restart(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let (signal, timeout) = how(&call.query)?;
    supervision::restart(&call.engine, &container, signal, timeout).await?;
    Ok(Answer::done())
}

async fn kill(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let signal = signal(call.query.text("signal").unwrap_or("KILL"))?;
    supervision::kill(&call.engine, &container, signal).await?;
    Ok(Answer::done())
}

async fn pause(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    supervision::pause(&call.engine, &container).await?;
    Ok(Answer::done())
}

async fn unpause(call: Call) -> Result<Answer> {
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    supervision::resume(&call.engine, &container).await?;
    Ok(Answer::done())
}
