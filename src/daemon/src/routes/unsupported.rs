//! What this engine answers clearly and does not do: swarm, plugins, builds.

use casemate_engine::Failure;
use hyper::StatusCode;
use serde_json::json;

use super::{Answering, Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// A route of the swarm's.
const fn swarm(method: Verb, path: &'static str) -> Route {
    Route::new(method, path, "system.unsupported", Subject::Tenant, no_swarm)
}

/// A route of what is not in this version.
const fn missing(method: Verb, path: &'static str) -> Route {
    Route::new(method, path, "system.unsupported", Subject::Tenant, not_here)
}

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    swarm(Verb::Get, "/swarm"),
    swarm(Verb::Post, "/swarm/init"),
    swarm(Verb::Post, "/swarm/join"),
    swarm(Verb::Post, "/swarm/leave"),
    swarm(Verb::Post, "/swarm/update"),
    swarm(Verb::Get, "/swarm/unlockkey"),
    swarm(Verb::Post, "/swarm/unlock"),
    swarm(Verb::Get, "/nodes"),
    swarm(Verb::Get, "/nodes/{id}"),
    swarm(Verb::Delete, "/nodes/{id}"),
    swarm(Verb::Post, "/nodes/{id}/update"),
    swarm(Verb::Get, "/services"),
    swarm(Verb::Post, "/services/create"),
    swarm(Verb::Get, "/services/{id}"),
    swarm(Verb::Delete, "/services/{id}"),
    swarm(Verb::Post, "/services/{id}/update"),
    swarm(Verb::Get, "/services/{id}/logs"),
    swarm(Verb::Get, "/tasks"),
    swarm(Verb::Get, "/tasks/{id}"),
    swarm(Verb::Get, "/tasks/{id}/logs"),
    swarm(Verb::Get, "/secrets"),
    swarm(Verb::Post, "/secrets/create"),
    swarm(Verb::Get, "/secrets/{id}"),
    swarm(Verb::Delete, "/secrets/{id}"),
    swarm(Verb::Post, "/secrets/{id}/update"),
    swarm(Verb::Get, "/configs"),
    swarm(Verb::Post, "/configs/create"),
    swarm(Verb::Get, "/configs/{id}"),
    swarm(Verb::Delete, "/configs/{id}"),
    swarm(Verb::Post, "/configs/{id}/update"),
    // Volumes of a cluster alone can be changed.
    swarm(Verb::Put, "/volumes/{name}"),
    Route::new(Verb::Get, "/plugins", "plugin.list", Subject::Tenant, |_| {
        Box::pin(async { Ok(Answer::ok(&json!([]))) })
    }),
    Route::new(Verb::Get, "/plugins/{name*}/json", "plugin.inspect", Subject::Tenant, |call| {
        Box::pin(plugin(call))
    }),
    missing(Verb::Get, "/plugins/privileges"),
    missing(Verb::Post, "/plugins/pull"),
    missing(Verb::Post, "/plugins/create"),
    missing(Verb::Delete, "/plugins/{name*}"),
    missing(Verb::Post, "/plugins/{name*}/enable"),
    missing(Verb::Post, "/plugins/{name*}/disable"),
    missing(Verb::Post, "/plugins/{name*}/upgrade"),
    missing(Verb::Post, "/plugins/{name*}/push"),
    missing(Verb::Post, "/plugins/{name*}/set"),
    missing(Verb::Post, "/session"),
    missing(Verb::Post, "/grpc"),
    missing(Verb::Post, "/build"),
    missing(Verb::Post, "/build/prune"),
];

/// Docker's own words: clients look at the status and, in tests of theirs, at these.
fn no_swarm(_call: Call) -> Answering {
    Box::pin(async {
        let message = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
                       connect this node to swarm and try again.";
        Ok(Answer::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "message": message })))
    })
}

fn not_here(call: Call) -> Answering {
    Box::pin(async move {
        let what = match call.request.uri().path() {
            path if path.contains("/plugins") => "plugins are not in this version",
            _ => "building images is not in this version: build elsewhere, and load or pull the image",
        };
        Err(Failure::unsupported(what))
    })
}

async fn plugin(call: Call) -> casemate_engine::Result<Answer> {
    Err(Failure::not_found(format!("plugin {:?} not found", call.captured("name"))))
}
