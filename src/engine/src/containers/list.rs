//! `docker ps`.

use std::collections::HashMap;
use std::sync::Arc;

use casemate_spec::wire::HexId;
use regex::Regex;
use serde_json::{Value, json};

use super::{Container, PointKind, Status, inspect, status};
use crate::filters::Filters;
use crate::{Caller, Engine, Failure, Result, clock, networks};

/// The filters that there are.
pub const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
/// What a status may be.
const STATUSES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
/// What health may be.
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// What is to be listed.
#[derive(Debug, Clone, Default)]
pub struct ListAsked {
    /// Those that do not run as well.
    pub all: bool,
    /// So many of the newest, running or not.
    pub limit: Option<usize>,
    /// With sizes.
    pub size: bool,
    /// Which.
    pub filters: Filters,
}

/// Filters, once they are read.
#[derive(Debug)]
struct Sieve<'a> {
    filters: &'a Filters,
    names: Vec<Regex>,
    exited: Vec<i32>,
    /// Made before this one, and after that one.
    before: Option<u64>,
    since: Option<u64>,
    ancestors: Option<Vec<HexId>>,
    /// `status`, `exited` and the like ask for those that do not run, too.
    all: bool,
}

/// Lists a tenant's containers, the newest first.
///
/// # Errors
/// A filter is none, or names what is not there.
pub async fn list(engine: &Arc<Engine>, caller: &Caller, asked: &ListAsked) -> Result<Vec<Value>> {
    let found = chosen(engine, caller, asked)?;
    let mut shown = Vec::with_capacity(found.len());
    let mut images = HashMap::new();
    for container in &found {
        let mut one = summary(engine, caller, container, &mut images);
        // One that goes away meanwhile has no size.
        if asked.size
            && let Ok(size) = inspect::size(engine, container).await
        {
            one["SizeRw"] = size.own.into();
            one["SizeRootFs"] = size.all.into();
        }
        shown.push(one);
    }
    Ok(shown)
}

/// The containers that are meant.
///
/// # Errors
/// As for [`list`].
pub fn chosen(engine: &Engine, caller: &Caller, asked: &ListAsked) -> Result<Vec<Arc<Container>>> {
    let sieve = Sieve::read(engine, caller, &asked.filters)?;
    let all = asked.all || asked.limit.is_some() || sieve.all;
    let running = |one: &Container| all || one.is_running() || one.state().status == Status::Restarting;
    let mut found = engine.containers.of(&caller.tenant);
    found.retain(|one| running(one) && sieve.admits(engine, one));
    if let Some(limit) = asked.limit.filter(|limit| *limit > 0) {
        found.truncate(limit);
    }
    Ok(found)
}

impl<'a> Sieve<'a> {
    fn read(engine: &Engine, caller: &Caller, filters: &'a Filters) -> Result<Self> {
        for (name, known) in [("status", &STATUSES[..]), ("health", &HEALTHS)] {
            if let Some(bad) = filters.values(name).iter().find(|value| !known.contains(&value.as_str())) {
                return Err(Failure::invalid(format!("invalid filter '{name}={bad}'")));
            }
        }
        if let Some(bad) = filters.values("isolation").iter().find(|value| *value != "default") {
            return Err(Failure::invalid(format!("invalid filter 'isolation={bad}'")));
        }
        filters.truth("is-task")?;
        let exited = filters.values("exited").iter().map(|code| {
            code.parse().map_err(|_| Failure::invalid(format!("invalid filter 'exited={code}'")))
        });
        let made = |name: &str| {
            let one = filters.values(name).first();
            one.map(|other| engine.containers.find(caller, other).map(|other| other.created)).transpose()
        };
        Ok(Self {
            filters,
            names: filters.expressions("name")?,
            exited: exited.collect::<Result<_>>()?,
            before: made("before")?,
            since: made("since")?,
            ancestors: ancestors(engine, caller, filters),
            all: ["status", "exited", "before", "since", "isolation"].iter().any(|name| filters.has(name)),
        })
    }

    fn admits(&self, engine: &Engine, one: &Container) -> bool {
        let (filters, state, name) = (self.filters, one.state(), one.name());
        let named =
            |expression: &Regex| expression.is_match(&name) || expression.is_match(&format!("/{name}"));
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        filters.any("id", |id| one.id.as_str().starts_with(id))
            && (self.names.is_empty() || self.names.iter().any(named))
            && filters.labels(&one.config.labels())
            && filters.any("status", |status| state.status.as_str() == status)
            && filters.any("health", |wanted| wanted == health)
            && filters.any("network", |network| networks::attached(engine, one, network))
            && filters.any("volume", |volume| {
                one.mounts.iter().any(|point| has(&point.kind, &point.destination, volume))
            })
            && (!filters.has("exited")
                || (self.exited.contains(&state.exit_code) && state.status == Status::Exited))
            && self.before.is_none_or(|before| one.created < before)
            && self.since.is_none_or(|since| one.created > since)
            && self.ancestors.as_ref().is_none_or(|images| images.contains(&one.image))
            && filters.any("expose", |port| exposes(one, port))
            && filters.any("publish", |port| publishes(engine, one, port))
            && !matches!(filters.truth("is-task"), Ok(Some(true)))
    }
}

/// Images that are meant by `ancestor`, and those made from them. What is not there is nobody's ancestor.
fn ancestors(engine: &Engine, caller: &Caller, filters: &Filters) -> Option<Vec<HexId>> {
    if !filters.has("ancestor") {
        return None;
    }
    let named = filters.values("ancestor").iter().filter_map(|name| engine.images.find(caller, name).ok());
    let bases: Vec<_> = named.collect();
    let all = engine.images.all(&caller.tenant).into_iter();
    let stands_on = |image: &Arc<crate::images::Image>| {
        bases.iter().any(|base| {
            image.id == base.id || (!base.layers.is_empty() && image.layers.starts_with(&base.layers))
        })
    };
    Some(all.filter(stands_on).map(|image| image.id.clone()).collect())
}

fn has(kind: &PointKind, destination: &str, wanted: &str) -> bool {
    let source = match kind {
        PointKind::Bind { source, .. } => source.as_str(),
        PointKind::Volume { name, .. } => name.as_str(),
        PointKind::Tmpfs { .. } => return false,
    };
    source == wanted || destination == wanted
}

/// `port[-port][/protocol]`
fn ports(wanted: &str) -> Option<(std::ops::RangeInclusive<u16>, &str)> {
    let (range, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    Some((low.parse().ok()?..=high.parse().ok()?, protocol))
}

/// Either end of what is published.
fn publishes(engine: &Engine, container: &Container, wanted: &str) -> bool {
    let Some((range, protocol)) = ports(wanted) else { return false };
    let within = |port: &Value| {
        port.as_u64().and_then(|port| port.try_into().ok()).is_some_and(|port| range.contains(&port))
    };
    networks::ports(engine, container).iter().any(|port| {
        port["Type"] == protocol
            && port["PublicPort"].is_number()
            && (within(&port["PublicPort"]) || within(&port["PrivatePort"]))
    })
}

fn exposes(container: &Container, wanted: &str) -> bool {
    let Some((range, protocol)) = ports(wanted) else { return false };
    container.config.exposed_ports.iter().flat_map(std::collections::BTreeMap::keys).any(|port| {
        let (port, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        kind == protocol && port.parse::<u16>().is_ok_and(|port| range.contains(&port))
    })
}

fn summary(
    engine: &Engine,
    caller: &Caller,
    container: &Container,
    images: &mut HashMap<String, Option<HexId>>,
) -> Value {
    let state = container.state();
    let asked = &container.config.image;
    let found = || engine.images.find(caller, asked).ok().map(|image| image.id.clone());
    let now = images.entry(asked.clone()).or_insert_with(found);
    // A name that means another image by now would be misleading.
    let image = if now.as_ref() == Some(&container.image) {
        asked.clone()
    } else {
        format!("sha256:{}", container.image)
    };
    let command = container.config.command();
    let quoted = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
    let (path, args) = command.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let words: Vec<String> = std::iter::once(path.to_owned()).chain(args.iter().map(quoted)).collect();
    let host_config = container.host_config();
    let mut host = json!({ "NetworkMode": host_config.network_mode });
    if let Some(annotations) = &host_config.annotations {
        host["Annotations"] = json!(annotations);
    }
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name())],
        "Image": image,
        "ImageID": format!("sha256:{}", container.image),
        "Command": words.join(" "),
        "Created": container.created / 1_000_000_000,
        "Ports": networks::ports(engine, container),
        "Labels": container.config.labels(),
        "State": state.status,
        "Status": status::line(&state, clock::now()),
        "HostConfig": host,
        "NetworkSettings": { "Networks": networks::container(engine, container) },
        "Mounts": inspect::mounts(engine, container),
    })
}
