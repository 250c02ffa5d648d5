//! `docker create`: what is asked is checked, merged with the image's, given its place and judged, before anybody is
//! told that there is a container.

mod dry;
mod normal;
mod undo;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use casemate_spec::wire::{Ask, HexId, Task, TaskReply, View};
use serde_json::Value;

use super::mounts::{self, Wanted};
use super::state::Settings;
use super::wire::mount;
use super::{
    Config, Container, HostConfig, MountPoint, PointKind, State, check, log, merge, modes, names, record,
    security, users, verdict,
};
use crate::files::volumes::{self, Backing};
use crate::files::{self, VolumeAsked};
use crate::images::{self, Image};
use crate::networks::{self, Attachment, EndpointAsked};
use crate::{Caller, Engine, Failure, Kind, Result, clock, supervision};
use undo::Undo;

pub use dry::dry_run;

/// So many names are proposed before a client must think of one.
const ATTEMPTS: u32 = 64;

/// What a client wants.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Its name; none is one of ours.
    pub name: Option<String>,
    /// `os[/architecture]` of the image.
    pub platform: Option<String>,
    /// Its image as whoever judged the wish has found it, or not; none was judged, and the name decides.
    pub image: Option<Result<Arc<Image>>>,
    /// What is to run.
    pub config: Config,
    /// What is asked of the host.
    pub host_config: HostConfig,
    /// Networks that it is to be connected to.
    pub networks: BTreeMap<String, EndpointAsked>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: HexId,
    /// What was asked and is not granted.
    pub warnings: Vec<String>,
}

/// Makes a container. Goes on to its end, or to where nothing is left, even if the client goes away.
///
/// # Errors
/// What is asked makes no sense, names what is not there, or is denied.
pub async fn create(engine: &Arc<Engine>, caller: &Caller, asked: Asked) -> Result<Created> {
    let (engine, caller) = (Arc::clone(engine), caller.clone());
    let work = async move {
        let mut undo = Undo::new(&engine);
        let made = make(&engine, &caller, asked, &mut undo).await;
        if made.is_err() {
            undo.all().await;
        }
        made
    };
    tokio::spawn(work).await.map_err(broken_off)?
}

/// What would become of a create: goes the same way, to the policy's report, and takes everything back.
///
/// # Errors
/// As for [`create`], but for what the policy says.
pub async fn plan(engine: &Arc<Engine>, caller: &Caller, asked: Asked) -> Result<Value> {
    let (engine, caller) = (Arc::clone(engine), caller.clone());
    let work = async move {
        let mut undo = Undo::new(&engine);
        let report = match prepare(&engine, &caller, asked, &mut undo).await {
            Ok(prepared) => verdict::report(&engine, &prepared.container).await,
            Err(failure) => Err(failure),
        };
        undo.all().await;
        report
    };
    tokio::spawn(work).await.map_err(broken_off)?
}

fn broken_off(error: tokio::task::JoinError) -> Failure {
    Failure::failed(format!("it broke off: {error}"))
}

async fn make(engine: &Arc<Engine>, caller: &Caller, asked: Asked, undo: &mut Undo) -> Result<Created> {
    let Prepared { container, fresh, networks, mut warnings, held: _held } =
        prepare(engine, caller, asked, undo).await?;
    let id = container.id.clone();
    copy_up(engine, &container, fresh).await?;
    let container = judged(engine, container, &mut warnings).await?;
    networks::check(engine, &container)?;
    warnings.extend(networks::warnings(engine, &container));
    keep(engine, Arc::new(container), networks, undo)?;
    Ok(Created { id, warnings })
}

/// A container that has its place, and is not judged yet.
struct Prepared {
    container: Container,
    /// Where volumes are mounted that are to get what the image has there.
    fresh: Vec<String>,
    /// Where it is connected when it starts.
    networks: Vec<Attachment>,
    warnings: Vec<String>,
    /// The image stays meanwhile.
    held: crate::images::Hold,
}

async fn prepare(
    engine: &Arc<Engine>,
    caller: &Caller,
    mut asked: Asked,
    undo: &mut Undo,
) -> Result<Prepared> {
    let given = asked.name.as_deref().map(names::checked).transpose()?.map(str::to_owned);
    let warnings = normal::settle(&mut asked, &engine.settings)?;
    check::asked(&asked.config, &asked.host_config)?;
    let own = std::mem::take(&mut asked.networks);
    let networks = networks::attach(&asked.config, &asked.host_config, own)?;
    known_policy(engine, &asked.host_config)?;
    let image = find_image(engine, caller, &asked)?;
    let held = engine.images.hold(&image);
    merge::merge(&mut asked.config, &image.config.config)?;
    check::asked(&asked.config, &asked.host_config)?;
    let shared = shared_hostname(engine, caller, &asked.host_config)?;
    linked(engine, caller, &asked.host_config)?;
    let lent = lent(engine, caller, &asked.host_config)?;
    let wanted = mounts::wanted(&asked.config, &asked.host_config, lent)?;

    let id = HexId::from_bytes(names::random()?);
    let name = reserve(engine, caller, given, &id)?;
    undo.name(caller, &name);
    // This one is counted already.
    engine.settings.admit(&caller.tenant, engine.containers.count(&caller.tenant) - 1)?;
    if asked.config.hostname.is_empty() {
        asked.config.hostname = shared.unwrap_or_else(|| id.short().to_owned());
    }
    let groups = asked.host_config.group_add.clone().unwrap_or_default();
    let user = users::look_up(engine, &image.layers, &asked.config.user, &groups).await?;
    let (points, fresh) = resolve(engine, caller, wanted, undo).await?;
    let container = Container {
        id,
        tenant: caller.tenant.clone(),
        created: clock::now(),
        image: image.id.clone(),
        layers: image.layers.clone(),
        config: asked.config,
        mounts: points,
        user,
        verdict: Value::Null,
        state: Mutex::new(State::default()),
        settings: Mutex::new(Settings { name, host_config: Arc::new(asked.host_config) }),
    };
    place(engine, &container, undo).await?;
    Ok(Prepared { container, fresh, networks, warnings, held })
}

fn known_policy(engine: &Engine, host_config: &HostConfig) -> Result<()> {
    let Some(policy) = security::read(host_config)?.policy else { return Ok(()) };
    if engine.host.policies.iter().any(|known| known == policy.as_str()) {
        return Ok(());
    }
    let message = match host_config.runtime.as_str() {
        "" | "casemate" => format!("unknown or invalid policy name: {policy}"),
        runtime => format!("unknown or invalid runtime name: {runtime}"),
    };
    Err(Failure::invalid(format!("{message}: policies here are {}", engine.host.policies.join(", "))))
}

fn find_image(engine: &Engine, caller: &Caller, asked: &Asked) -> Result<Arc<Image>> {
    if asked.config.image.is_empty() {
        let nothing = asked.config.command().is_empty();
        let message = if nothing { "no command specified" } else { "no image specified" };
        return Err(Failure::invalid(message));
    }
    let image = match &asked.image {
        Some(judged) => engine.images.present(judged.as_ref().map_err(Clone::clone)?, &asked.config.image)?,
        None => engine.images.find(caller, &asked.config.image)?,
    };
    images::enforce(engine, &image, &asked.config.image)?;
    let Some(wanted) = asked.platform.as_deref() else { return Ok(image) };
    let is = [&image.config.os, &image.config.architecture, &image.config.variant];
    let fits = wanted.split('/').zip(is).all(|(wanted, is)| is.is_empty() || wanted.eq_ignore_ascii_case(is));
    if fits && wanted.split('/').count() <= is.len() {
        return Ok(image);
    }
    Err(Failure::not_found(format!(
        "image with reference {} was found but its platform ({}/{}) does not match the specified platform ({wanted})",
        asked.config.image, image.config.os, image.config.architecture
    )))
}

/// The host name of whoever's network it shares; and that everybody with whom it shares is there.
fn shared_hostname(engine: &Engine, caller: &Caller, host_config: &HostConfig) -> Result<Option<String>> {
    let other = |shared| match shared {
        modes::Shared::Container(name) => other_container(engine, caller, name).map(Some),
        _ => Ok(None),
    };
    other(modes::pid(&host_config.pid_mode)?)?;
    other(modes::ipc(&host_config.ipc_mode)?)?;
    let network = modes::network(&host_config.network_mode)?;
    if network == modes::Shared::Host || host_config.uts_mode == "host" {
        return Ok(Some(rustix::system::uname().nodename().to_string_lossy().into_owned()));
    }
    Ok(other(network)?.map(|other| other.config.hostname.clone()))
}

/// 400 where it is missing: at a 404, docker's client would pull the image.
fn other_container(engine: &Engine, caller: &Caller, name: &str) -> Result<Arc<Container>> {
    engine.containers.find(caller, name).map_err(|failure| Failure::new(Kind::Invalid, failure.message))
}

/// Whoever it is linked to is there.
fn linked(engine: &Engine, caller: &Caller, host_config: &HostConfig) -> Result<()> {
    for link in host_config.links.iter().flatten() {
        let (name, _) = networks::split_link(link);
        let found = other_container(engine, caller, &name);
        found.map_err(|failure| failure.within(format!("could not get container for {name}")))?;
    }
    Ok(())
}

fn lent(engine: &Engine, caller: &Caller, host_config: &HostConfig) -> Result<Vec<MountPoint>> {
    let mut lent: Vec<MountPoint> = Vec::new();
    for text in host_config.volumes_from.iter().flatten() {
        let (name, read_only) = mounts::volumes_from(text)?;
        for point in mounts::lend(&other_container(engine, caller, name)?.mounts, read_only) {
            lent.retain(|other| other.destination != point.destination);
            lent.push(point);
        }
    }
    Ok(lent)
}

fn reserve(engine: &Engine, caller: &Caller, given: Option<String>, id: &HexId) -> Result<String> {
    if let Some(name) = given {
        engine.containers.reserve(&caller.tenant, &name, id)?;
        return Ok(name);
    }
    for attempt in 0..ATTEMPTS {
        let name = names::propose(attempt)?;
        if engine.containers.reserve(&caller.tenant, &name, id).is_ok() {
            return Ok(name);
        }
    }
    let name = id.short().to_owned();
    engine.containers.reserve(&caller.tenant, &name, id)?;
    Ok(name)
}

/// Looks up volumes, and makes those that are missing. Also gives the destinations of those to copy the image's
/// content into.
async fn resolve(
    engine: &Arc<Engine>,
    caller: &Caller,
    wanted: Vec<Wanted>,
    undo: &mut Undo,
) -> Result<(Vec<MountPoint>, Vec<String>)> {
    let (mut points, mut fresh) = (Vec::new(), Vec::new());
    for one in wanted {
        let wanted = match one {
            Wanted::Point(point) => {
                points.push(point);
                continue;
            }
            Wanted::Volume(wanted) => wanted,
        };
        let anonymous = wanted.name.is_none();
        let asked = VolumeAsked {
            name: wanted.name,
            driver: wanted.driver,
            options: wanted.options,
            labels: wanted.labels,
        };
        let (volume, made) = volumes::create(engine, caller, asked).await?;
        if made {
            undo.volume(&volume);
        }
        undo.hold(volumes::hold(engine, &volume)?);
        let backing = volumes::backing(&volume.options)?;
        if backing != Backing::Store && wanted.subpath.is_some() {
            let message = format!("volume {}: only a directory of the store has a Subpath", volume.name);
            return Err(Failure::invalid(message));
        }
        if wanted.copy && backing == Backing::Store {
            fresh.push(wanted.destination.clone());
        }
        points.push(MountPoint {
            kind: PointKind::Volume {
                name: volume.name.clone(),
                place: volume.place.clone(),
                anonymous,
                subpath: wanted.subpath,
                backing,
            },
            destination: wanted.destination,
            read_only: wanted.read_only,
            mode: wanted.mode,
            listed: true,
        });
    }
    Ok((points, fresh))
}

async fn place(engine: &Engine, container: &Container, undo: &mut Undo) -> Result<()> {
    let host_config = container.host_config();
    let size = host_config.storage_opt.as_ref().and_then(|options| options.get("size"));
    let most = engine.settings.disk(&container.tenant);
    let size = size.and_then(|size| log::size(size));
    if let (Some(size), Some(most)) = (size, most)
        && size > most
    {
        let message =
            format!("quota of tenant {}: a container may hold {most} bytes, not {size}", container.tenant);
        return Err(Failure::new(Kind::Forbidden, message));
    }
    let size = size.or(most);
    if size.is_some() && !engine.host.quotas {
        return Err(Failure::invalid(format!(
            "the size of a container cannot be limited: {} at {} has no project quotas: mount it with prjquota",
            engine.host.filesystem, engine.host.data_root
        )));
    }
    let ask = Ask::MakeContainer {
        id: container.id.clone(),
        tenant: container.tenant.clone(),
        layers: container.layers.clone(),
        quota: size,
    };
    undo.place(&container.id);
    engine.broker.done(ask, &[]).await
}

/// Gives empty volumes what the image has at their places.
async fn copy_up(engine: &Engine, container: &Container, fresh: Vec<String>) -> Result<()> {
    for path in fresh {
        let Some(point) = container.mounts.iter().find(|point| point.destination == path) else { continue };
        let view = View::Container {
            id: container.id.clone(),
            root: casemate_spec::wire::Root { layers: container.layers.clone(), read_only: true },
            mounts: vec![mount(point)],
        };
        let reply = files::help(engine, view, Task::CopyUp { path: path.clone() }, None).await?;
        if let TaskReply::Failed(failed) = reply {
            return Err(Failure::failed(format!("volume at {path}: {}", failed.message)));
        }
    }
    Ok(())
}

async fn judged(engine: &Engine, mut container: Container, warnings: &mut Vec<String>) -> Result<Container> {
    let report = verdict::judge(engine, &container).await?;
    warnings.extend(verdict::warnings(&report, &container.host_config()));
    container.verdict = verdict::kept(&report);
    Ok(container)
}

/// From here on there is a container.
fn keep(
    engine: &Engine,
    container: Arc<Container>,
    networks: Vec<Attachment>,
    undo: &mut Undo,
) -> Result<()> {
    engine.db.write(|batch| {
        record::keep(batch, &container)?;
        engine.networks.keep(batch, &container.id, networks)
    })?;
    engine.containers.add(&container);
    undo.nothing();
    supervision::tell(engine, &container, "create", &[]);
    Ok(())
}
