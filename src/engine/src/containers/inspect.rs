//! What clients are shown of a container, in the API's form, with Docker's habits where nothing is there.

use casemate_spec::wire::{MASKED, READ_ONLY, Task, TaskReply, View};
use serde_json::{Value, json};

use super::{Container, MountPoint, PointKind, State};
use crate::clock::rfc3339;
use crate::{Engine, Result, files, networks};

/// Bytes of a container's own layer, and of everything it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Its own.
    pub own: u64,
    /// With the image's.
    pub all: u64,
}

/// Measures a container.
///
/// # Errors
/// The helper fails.
pub async fn size(engine: &Engine, container: &Container) -> Result<Size> {
    let view = View::Changes { id: container.id.clone(), layers: container.layers.clone() };
    let own = match files::help(engine, view, Task::Size, None).await? {
        TaskReply::Size { bytes } => bytes,
        other => {
            return Err(crate::Failure::failed(format!("size of container {}: {other:?}", container.id)));
        }
    };
    let image = engine.images.all(&container.tenant).into_iter().find(|image| image.id == container.image);
    Ok(Size { own, all: own + image.map_or(0, |image| image.record.size) })
}

/// `GET /containers/{id}/json`
pub fn inspect(engine: &Engine, container: &Container, size: Option<Size>) -> Value {
    let state = container.state();
    let host_config = container.host_config();
    let command = container.config.command();
    let home = format!("{}/store/containers/{}", engine.host.data_root, container.id);
    let log = match host_config.log_config.driver.as_str() {
        "json-file" => format!("{}/logs/{}/json.log", engine.host.data_root, container.id),
        _ => String::new(),
    };
    let execs = Some(engine.supervision.execs.of(&container.id)).filter(|execs| !execs.is_empty());
    let mut shown = json!({
        "Id": container.id,
        "Created": rfc3339(container.created),
        "Path": command.first().cloned().unwrap_or_default(),
        "Args": command.get(1..).unwrap_or_default(),
        "State": state_shown(&state),
        "Image": format!("sha256:{}", container.image),
        "ResolvConfPath": format!("{home}/files/resolv.conf"),
        "HostnamePath": format!("{home}/files/hostname"),
        "HostsPath": format!("{home}/files/hosts"),
        "LogPath": log,
        "Name": format!("/{}", container.name()),
        "RestartCount": state.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": execs,
        "HostConfig": host_config_shown(container),
        "GraphDriver": { "Name": "overlay2", "Data": {
            "ID": container.id,
            "LowerDir": lower(engine, container),
            "MergedDir": format!("{home}/merged"),
            "UpperDir": format!("{home}/fs"),
            "WorkDir": format!("{home}/work"),
        } },
        "Mounts": mounts(engine, container),
        "Config": container.config,
        "NetworkSettings": networks::settings(engine, container),
        "Casemate": container.verdict,
    });
    if let Some(size) = size {
        shown["SizeRw"] = size.own.into();
        shown["SizeRootFs"] = size.all.into();
    }
    shown
}

fn lower(engine: &Engine, container: &Container) -> String {
    let layers = container.layers.iter().rev();
    let places: Vec<String> =
        layers.map(|layer| format!("{}/store/layers/{layer}", engine.host.data_root)).collect();
    places.join(":")
}

fn state_shown(state: &State) -> Value {
    use super::Status::{Dead, Paused, Restarting};
    let mut shown = json!({
        "Status": state.status,
        "Running": state.is_running() || state.status == Restarting,
        "Paused": state.status == Paused,
        "Restarting": state.status == Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_at),
        "FinishedAt": rfc3339(state.finished_at),
    });
    if let Some(health) = &state.health {
        let log = health.log.iter().map(|probe| {
            json!({
                "Start": rfc3339(probe.start), "End": rfc3339(probe.end),
                "ExitCode": probe.exit_code, "Output": probe.output,
            })
        });
        shown["Health"] = json!({
            "Status": health.status, "FailingStreak": health.failing_streak, "Log": log.collect::<Vec<_>>(),
        });
    }
    shown
}

fn host_config_shown(container: &Container) -> Value {
    let mut shown = (*container.host_config()).clone();
    let usual = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
    if shown.privileged {
        (shown.masked_paths, shown.readonly_paths) = (None, None);
    } else {
        shown.masked_paths = shown.masked_paths.or_else(|| usual(&MASKED));
        shown.readonly_paths = shown.readonly_paths.or_else(|| usual(&READ_ONLY));
    }
    json!(shown)
}

/// What is mounted, as inspect and the list show it.
pub fn mounts(engine: &Engine, container: &Container) -> Vec<Value> {
    container.mounts.iter().filter(|point| point.listed).map(|point| mount(engine, point)).collect()
}

fn mount(engine: &Engine, point: &MountPoint) -> Value {
    let mut shown = json!({
        "Type": "tmpfs", "Source": "", "Destination": point.destination, "Mode": point.mode,
        "RW": !point.read_only, "Propagation": "",
    });
    match &point.kind {
        PointKind::Bind { source, propagation, .. } => {
            shown["Type"] = "bind".into();
            shown["Source"] = source.clone().into();
            shown["Propagation"] = propagation.clone().into();
        }
        PointKind::Volume { name, place, .. } => {
            shown["Type"] = "volume".into();
            shown["Name"] = name.clone().into();
            shown["Source"] = format!("{}/store/volumes/{place}/_data", engine.host.data_root).into();
            shown["Driver"] = "local".into();
        }
        PointKind::Tmpfs { .. } => {}
    }
    shown
}
