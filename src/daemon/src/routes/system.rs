//! Ping, version, metrics.

use std::sync::Arc;

use bytes::Bytes;
use casemate_engine::{Failure, Result};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};

use super::{API_VERSION, MIN_API_VERSION, Route, Subject, Verb, architecture};
use crate::answer::Answer;
use crate::call::Call;
use crate::service::Daemon;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/_ping", "system.ping", Subject::Nothing, |call| Box::pin(ping(call))),
    Route::new(Verb::Head, "/_ping", "system.ping", Subject::Nothing, |call| Box::pin(ping(call))),
    Route::new(Verb::Get, "/version", "system.version", Subject::Nothing, |call| Box::pin(version(call))),
    Route::new(Verb::Get, "/metrics", "system.metrics", Subject::Tenant, |call| Box::pin(metrics(call))),
];

async fn ping(call: Call) -> Result<Answer> {
    let body = if call.request.method() == hyper::Method::HEAD { "" } else { "OK" };
    Ok(Answer::bytes(StatusCode::OK, Some("text/plain; charset=utf-8"), Bytes::from_static(body.as_bytes()))
        .header(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"))
        .header(PRAGMA, HeaderValue::from_static("no-cache"))
        .header(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"))
        .header(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive")))
}

async fn version(_call: Call) -> Result<Answer> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let version = env!("CARGO_PKG_VERSION");
    Ok(Answer::ok(&serde_json::json!({
        "Platform": { "Name": "Casemate" },
        "Components": [{
            "Name": "Engine",
            "Version": version,
            "Details": {
                "ApiVersion": API_VERSION,
                "MinAPIVersion": MIN_API_VERSION,
                "Arch": architecture(),
                "Os": "linux",
                "KernelVersion": kernel,
                "Experimental": "false",
            },
        }],
        "Version": version,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    })))
}

async fn metrics(call: Call) -> Result<Answer> {
    let daemon = call.request.extensions().get::<Arc<Daemon>>();
    let daemon = daemon.ok_or_else(|| Failure::failed("metrics: there are none"))?;
    let text = daemon.metrics.encode(daemon).map_err(|error| Failure::failed(format!("metrics: {error}")))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(Answer::bytes(StatusCode::OK, Some(kind), text.into()))
}
