//! Ping, version, info, events, df.

use bytes::Bytes;
use casemate_engine::Result;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};

use super::{API_VERSION, MIN_API_VERSION, Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Get,
        path: "/_ping",
        operation: "system.ping",
        subject: Subject::Nothing,
        handler: |call| Box::pin(ping(call)),
    },
    Route {
        method: Verb::Head,
        path: "/_ping",
        operation: "system.ping",
        subject: Subject::Nothing,
        handler: |call| Box::pin(ping(call)),
    },
    Route {
        method: Verb::Get,
        path: "/version",
        operation: "system.version",
        subject: Subject::Nothing,
        handler: |call| Box::pin(version(call)),
    },
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
                "Arch": super::architecture(),
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
        "Arch": super::architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    })))
}
