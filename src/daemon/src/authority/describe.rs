//! From a call to what it is about. What is not there is described all the same, as far as the call says: whether there
//! is such a thing is told only to those who may ask.

use std::collections::BTreeMap;

use casemate_engine::containers::{Config, Container, HostConfig, PointKind};
use casemate_engine::images::{Image, Reference};
use casemate_engine::{Caller, Engine, Failure, Result};
use casemate_spec::wire::HexId;
use serde::Deserialize;

use super::plain::CONTAINER;
use super::subject::Object;
use crate::call::{Body, Call};
use crate::routes::Subject;
use crate::routes::containers::NewContainer;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NewVolume {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// What a call is about: one object, or several images of which each has to be allowed.
///
/// # Errors
/// The body cannot be read.
pub fn describe(call: &Call, subject: Subject) -> Result<Vec<Object>> {
    let mut names: Vec<&str> = call.query.all("names").collect();
    names.extend(call.captured.get("name").map(String::as_str));
    match subject {
        Subject::Image => Ok(names.into_iter().map(|name| image(&call.engine, &call.caller, name)).collect()),
        _ => one(call, subject).map(|object| vec![object]),
    }
}

fn one(call: &Call, subject: Subject) -> Result<Object> {
    let (engine, caller) = (&*call.engine, &call.caller);
    Ok(match subject {
        Subject::Nothing | Subject::Tenant => Object::tenant(&caller.tenant),
        // A commit names its container in the query.
        Subject::Container if !call.captured.contains_key("id") => {
            container(engine, caller, call.query.text("container").unwrap_or_default())
        }
        Subject::Container => container(engine, caller, call.captured("id")),
        Subject::Exec => match exec(engine, caller, call.captured("id")) {
            Some(id) => container(engine, caller, id.as_str()),
            None => CONTAINER.plain(call.captured("id"), &caller.tenant),
        },
        Subject::NewContainer => {
            let body: NewContainer = parse(call)?;
            let host_config = body.host_config.clone().unwrap_or_default();
            let name = call.query.text("name").unwrap_or_default();
            let object = Object::of("Container", name, &caller.tenant).text("name", name);
            let networks = body.networks().cloned().collect();
            let object = asked(engine, caller, object, (&body.config, &host_config), networks);
            with_image(call, object, &body.config.image)
        }
        Subject::Image | Subject::NewImage => image(engine, caller, &new_image(call)),
        Subject::Volume => match engine.volumes.find(caller, call.captured("name")) {
            Ok(found) => volume(caller, &found.name, None, &found.options, &found.labels),
            Err(_) => volume(caller, call.captured("name"), None, &BTreeMap::new(), &BTreeMap::new()),
        },
        Subject::NewVolume => {
            let body: NewVolume = parse(call)?;
            let (options, labels) = (body.driver_opts.unwrap_or_default(), body.labels.unwrap_or_default());
            volume(caller, &body.name.unwrap_or_default(), body.driver, &options, &labels)
        }
        Subject::Network => {
            let asked = call.captured("id");
            let known = engine.networks.known_to(&caller.tenant, asked);
            let name = known.map_or_else(|| asked.to_owned(), |network| network.name.clone());
            Object::of("Network", &name, &caller.tenant).text("name", name.as_str())
        }
    })
}

fn parse<T: for<'de> Deserialize<'de>>(call: &Call) -> Result<T> {
    let Body::Read(bytes) = call.request.body() else {
        return Err(Failure::failed("the body was not read before it was judged"));
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
    }
    serde_json::from_slice(bytes).map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
}

/// The container of an exec, if it is the caller's.
fn exec(engine: &Engine, caller: &Caller, exec: &str) -> Option<HexId> {
    let found = engine.supervision.execs.find(caller, exec).ok()?;
    Some(found.container.clone())
}

fn container(engine: &Engine, caller: &Caller, name: &str) -> Object {
    let Ok(found) = engine.containers.find(caller, name) else {
        return CONTAINER.plain(name, &caller.tenant);
    };
    let object = Object::of("Container", found.id.as_str(), &caller.tenant).text("name", found.name());
    let networks = engine.networks.of_container(&found.id).into_iter().map(|one| one.name).collect();
    let object = asked(engine, caller, object, (&found.config, &found.host_config()), networks);
    let object = with_image_id(engine, caller, object, &found.image, &found.config.image);
    object.texts("binds", binds_of(&found)).texts("volumes", volumes_of(&found))
}

/// What is asked of a container.
fn asked(
    engine: &Engine,
    caller: &Caller,
    object: Object,
    (config, host): (&Config, &HostConfig),
    networks: Vec<String>,
) -> Object {
    let security = host.security_opt.as_deref().unwrap_or_default();
    let option = |name: &str| {
        let parts = security.iter().filter_map(|text| text.split_once(['=', ':']));
        parts.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
    };
    let runtime = host.runtime.strip_prefix("casemate-").unwrap_or(&host.runtime);
    let runtime = Some(runtime).filter(|name| !matches!(*name, "" | "casemate"));
    let tenants = engine.settings.policy(&caller.tenant).map(|policy| policy.as_str());
    let policy = option("casemate.policy").or(runtime).or(tenants).unwrap_or_default();
    let modes = [
        ("network", &host.network_mode),
        ("pid", &host.pid_mode),
        ("ipc", &host.ipc_mode),
        ("uts", &host.uts_mode),
        ("cgroup", &host.cgroupns_mode),
        ("user", &host.userns_mode),
    ];
    let hosts = modes.iter().filter(|(_, mode)| mode.as_str() == "host").map(|(name, _)| (*name).to_owned());
    let network = host.network_mode.split(':').next().unwrap_or_default();
    let network = if matches!(network, "" | "default") { "bridge" } else { network };
    let others = networks.into_iter().map(|name| if name == "default" { "bridge".to_owned() } else { name });
    let networks = others.chain([network.to_owned()]);
    let published = host.port_bindings.iter().flat_map(|ports| ports.values().flatten().flatten());
    let devices = host.devices.iter().flatten().map(|device| device.path_on_host.clone());
    let rules = host.device_cgroup_rules.iter().flatten().cloned();
    let (binds, volumes) = sources(engine, caller, host);
    object
        .text("policy", policy)
        .text("network", network)
        .texts("networks", networks)
        .texts("hostNamespaces", hosts)
        .texts("binds", binds)
        .texts("volumes", volumes)
        .texts("capabilities", host.cap_add.iter().flatten().cloned())
        .texts("devices", devices.chain(rules))
        .numbers("ports", published.flat_map(|port| range(&port.host_port)))
        .truth("privileged", host.privileged)
        .truth("unconfined", option("seccomp") == Some("unconfined"))
        .labels(config.labels())
}

/// Every port of `8000-8010`: a policy that is about one of them is about the range.
fn range(text: &str) -> std::ops::RangeInclusive<i64> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().map(i64::from);
    // One of the host's choice is none that a policy could name.
    port(low).unwrap_or(0).max(1)..=port(high).unwrap_or(0)
}

/// Paths of the host's, and volumes, that are asked for in any of the ways there are.
fn sources(engine: &Engine, caller: &Caller, host: &HostConfig) -> (Vec<String>, Vec<String>) {
    let short = host.binds.iter().flatten().filter_map(|bind| bind.split_once(':'));
    let (mut binds, mut volumes): (Vec<String>, Vec<String>) =
        short.map(|(source, _)| source.to_owned()).partition(|source| source.starts_with('/'));
    for mount in host.mounts.iter().flatten() {
        match mount.kind.as_str() {
            "volume" => {
                volumes.push(mount.source.clone());
                let options =
                    mount.volume_options.as_ref().and_then(|options| options.driver_config.as_ref());
                // A volume made on the way.
                let options = options.and_then(|driver| driver.options.as_ref());
                binds.extend(options.and_then(host_place));
            }
            "tmpfs" => {}
            _ => binds.push(mount.source.clone()),
        }
    }
    for lender in host.volumes_from.iter().flatten() {
        let name = lender.split(':').next().unwrap_or_default();
        if let Ok(found) = engine.containers.find(caller, name) {
            binds.extend(binds_of(&found));
            volumes.extend(volumes_of(&found));
        }
    }
    (binds, volumes)
}

fn binds_of(container: &Container) -> Vec<String> {
    let source = |kind: &PointKind| match kind {
        PointKind::Bind { source, .. } => Some(source.clone()),
        _ => None,
    };
    container.mounts.iter().filter_map(|mount| source(&mount.kind)).collect()
}

fn volumes_of(container: &Container) -> Vec<String> {
    let name = |kind: &PointKind| match kind {
        PointKind::Volume { name, .. } => Some(name.clone()),
        _ => None,
    };
    container.mounts.iter().filter_map(|mount| name(&mount.kind)).collect()
}

fn with_image(call: &Call, object: Object, asked: &str) -> Object {
    match call.image(asked) {
        Ok(image) => with_image_id(&call.engine, &call.caller, object, &image.id, asked),
        Err(_) => object
            .text("image", normal(asked))
            .text("imageId", "")
            .texts("origins", [])
            .texts("registries", []),
    }
}

fn with_image_id(engine: &Engine, caller: &Caller, object: Object, id: &HexId, asked: &str) -> Object {
    let origins = origins(engine, caller, id);
    object
        .text("image", normal(asked))
        .text("imageId", format!("sha256:{id}"))
        .texts("registries", origins.iter().map(|origin| origin.domain.clone()))
        .texts("origins", origins.iter().map(Reference::repository))
}

fn image(engine: &Engine, caller: &Caller, name: &str) -> Object {
    let found = engine.images.find(caller, name).ok();
    let id = found.as_ref().map(|image| format!("sha256:{}", image.id)).unwrap_or_default();
    let reference = Reference::parse(name).ok().map(Reference::or_latest);
    let origins = found.as_ref().map(|image| origins(engine, caller, &image.id)).unwrap_or_default();
    let labels = |image: &Image| image.config.config.labels.clone().unwrap_or_default();
    Object::of("Image", name, &caller.tenant)
        .text("name", normal(name))
        .text("id", id)
        .text("registry", reference.as_ref().map(|name| name.domain.clone()).unwrap_or_default())
        .text("repository", reference.as_ref().map(Reference::repository).unwrap_or_default())
        .texts("registries", origins.iter().map(|origin| origin.domain.clone()))
        .texts("origins", origins.iter().map(Reference::repository))
        .labels(found.as_deref().map(labels).unwrap_or_default())
}

/// Where an image came from: only pulling and pushing give it a name with a digest.
fn origins(engine: &Engine, caller: &Caller, id: &HexId) -> Vec<Reference> {
    let names = engine.images.names(&caller.tenant, id);
    names.into_iter().filter(|name| name.digest.is_some()).collect()
}

/// A name with Docker's defaults; text that is none stays as it is.
fn normal(name: &str) -> String {
    match Reference::parse(name).map(Reference::or_latest) {
        Ok(reference) => match (&reference.tag, &reference.digest) {
            (_, Some(digest)) => format!("{}@sha256:{digest}", reference.repository()),
            (Some(tag), None) => format!("{}:{tag}", reference.repository()),
            (None, None) => reference.repository(),
        },
        Err(_) => name.to_owned(),
    }
}

/// `fromImage` with its tag or digest, or the name that an import gets.
fn new_image(call: &Call) -> String {
    let query = &call.query;
    let name = query.text("fromImage").or_else(|| query.text("repo")).unwrap_or_default();
    match query.text("tag") {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) if !name.is_empty() => format!("{name}:{tag}"),
        _ => name.to_owned(),
    }
}

fn volume(
    caller: &Caller,
    name: &str,
    driver: Option<String>,
    options: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Object {
    let driver = driver.filter(|driver| !driver.is_empty()).unwrap_or_else(|| "local".to_owned());
    Object::of("Volume", name, &caller.tenant)
        .text("name", name)
        .text("driver", driver)
        .texts("options", options.iter().map(|(name, value)| format!("{name}={value}")))
        .texts("binds", host_place(options))
        .labels(labels.clone())
}

/// What of the host a volume's options stand for, if it is anything but memory.
fn host_place(options: &BTreeMap<String, String>) -> Option<String> {
    let memory = options.get("type").is_some_and(|kind| kind == "tmpfs");
    let device = || options.get("device").cloned().unwrap_or_else(|| "?".to_owned());
    (!memory && !options.is_empty()).then(device)
}
