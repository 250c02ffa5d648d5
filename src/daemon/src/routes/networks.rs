//! Networks: none and host. Bridges are not in this version, and whoever asks for one is told so.

use casemate_engine::{Failure, Kind, Result};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Answering, Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/networks", "network.list", Subject::Tenant, |call| Box::pin(list(call))),
    Route::new(Verb::Get, "/networks/{id}", "network.inspect", Subject::Network, |call| {
        Box::pin(inspect(call))
    }),
    Route::new(Verb::Post, "/networks/create", "network.create", Subject::Tenant, missing),
    Route::new(Verb::Delete, "/networks/{id}", "network.remove", Subject::Network, |call| {
        Box::pin(remove(call))
    }),
    Route::new(Verb::Post, "/networks/{id}/connect", "network.connect", Subject::Network, missing),
    Route::new(Verb::Post, "/networks/{id}/disconnect", "network.disconnect", Subject::Network, missing),
    Route::new(Verb::Post, "/networks/prune", "network.prune", Subject::Tenant, |_| {
        Box::pin(async { Ok(Answer::ok(&json!({ "NetworksDeleted": null }))) })
    }),
];

/// Name, driver and id. The ids are the digests of the names, so that they are the same everywhere.
const NETWORKS: [(&str, &str); 2] = [("host", "host"), ("none", "null")];

async fn list(call: Call) -> Result<Answer> {
    let filters = call.query.filters()?;
    filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.values(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let dangling = filters.flag("dangling")?;
    let fits = |(name, driver): &(&str, &str)| {
        any("name", &|value| name.contains(value))
            && any("id", &|value| id(name).starts_with(value))
            && any("driver", &|value| *driver == value)
            && any("scope", &|value| value == "local")
            && any("type", &|value| value == "builtin")
            && filters.values("label").is_empty()
            && dangling != Some(true)
    };
    let found = NETWORKS.iter().filter(|network| fits(network));
    Ok(Answer::ok(&found.map(|(name, driver)| shape(&call, name, driver, false)).collect::<Vec<_>>()))
}

async fn inspect(call: Call) -> Result<Answer> {
    let asked = call.captured("id");
    if call.query.text("scope").is_some_and(|scope| scope != "local") {
        return Err(unknown(asked));
    }
    let (name, driver) = find(asked).ok_or_else(|| unknown(asked))?;
    Ok(Answer::ok(&shape(&call, name, driver, true)))
}

async fn remove(call: Call) -> Result<Answer> {
    let asked = call.captured("id");
    let (name, _) = find(asked).ok_or_else(|| unknown(asked))?;
    let message = format!("{name} is a pre-defined network and cannot be removed");
    Err(Failure::new(Kind::Forbidden, message))
}

fn missing(_call: Call) -> Answering {
    Box::pin(async {
        let message = "networks of their own are not in this version: use none, host, or container:NAME";
        Ok(Answer::json(StatusCode::NOT_IMPLEMENTED, &json!({ "message": message })))
    })
}

fn unknown(asked: &str) -> Failure {
    Failure::not_found(format!("network {asked} not found"))
}

fn find(asked: &str) -> Option<(&'static str, &'static str)> {
    let begins = |name: &str| asked.len() >= 4 && id(name).starts_with(asked);
    NETWORKS.into_iter().find(|(name, _)| *name == asked || begins(name))
}

fn id(name: &str) -> String {
    casemate_engine::images::sha256(format!("network {name}").as_bytes()).to_string()
}

fn shape(call: &Call, name: &str, driver: &str, whole: bool) -> Value {
    let mut containers = serde_json::Map::new();
    if whole {
        let all = call.engine.containers.of(&call.caller.tenant);
        let inside = all
            .iter()
            .filter(|container| container.is_running() && container.host_config().network_mode == name);
        containers.extend(inside.map(|container| {
            let endpoint = json!({
                "Name": container.name(),
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            });
            (container.id.to_string(), endpoint)
        }));
    }
    json!({
        "Name": name,
        "Id": id(name),
        "Created": casemate_engine::clock::rfc3339(call.engine.since),
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": null },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": {},
        "Labels": {},
    })
}
