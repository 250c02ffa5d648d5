//! Files of containers: `docker cp`, `diff`, `export`, and what `commit` keeps.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use casemate_spec::wire::{self, Change, MountKind, PathStat, Root, Task, TaskFailure, TaskReply, View};
use futures_util::{Stream, StreamExt as _};
use rustix::io::Errno;

use super::help::help;
use super::output::Output;
use super::volumes::Backing;
use crate::containers::{Container, PointKind};
use crate::supervision::tell;
use crate::{Engine, Failure, Kind, Result};

/// What the runtime mounts over in every container, or where the policy keeps the root read-only; its mount points are no change of the container's.
const RUNTIME: [&str; 14] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/var/tmp",
];

/// What is at a place.
///
/// # Errors
/// Nothing is.
pub async fn stat(engine: &Engine, container: &Container, path: &str) -> Result<PathStat> {
    match help(engine, view(container), Task::Stat { path: path.to_owned() }, None).await? {
        TaskReply::Stat(stat) => Ok(stat),
        other => Err(refused(container, path, other)),
    }
}

/// A place and all beneath it, as an archive.
///
/// # Errors
/// Nothing is there, or it cannot be read.
pub async fn copy_out(engine: &Engine, container: &Container, path: &str) -> Result<(PathStat, Output)> {
    let task = Task::CopyOut { path: path.to_owned() };
    let output = Output::of_place(engine, view(container), task).await?;
    let output = output.map_err(|reply| refused(container, path, reply))?;
    tell(engine, container, "archive-path", &[]);
    Ok(output)
}

/// What is asked of files that come in.
#[derive(Debug, Clone)]
pub struct CopyIn {
    /// The directory that they come into.
    pub path: String,
    /// A file never takes the place of a directory, nor a directory that of a file.
    pub keep_kinds: bool,
    /// They become the container's user's, where it has one.
    pub as_user: bool,
}

/// Unpacks an archive in a container. `archive` is read to its end, unless it is refused before.
///
/// # Errors
/// The directory is not there, is read-only, or the archive is refused.
pub async fn copy_in(engine: &Engine, container: &Container, asked: &CopyIn, archive: OwnedFd) -> Result<()> {
    writable(container, &asked.path)?;
    let user = &container.user;
    let owner = (asked.as_user && !container.config.user.is_empty()).then_some((user.uid, user.gid));
    let task = Task::CopyIn { path: asked.path.clone(), keep_kinds: asked.keep_kinds, owner };
    match help(engine, view(container), task, Some(archive)).await? {
        TaskReply::Done => {
            tell(engine, container, "extract-to-dir", &[]);
            Ok(())
        }
        other => Err(refused(container, &asked.path, other)),
    }
}

/// What a container has changed, by path.
///
/// # Errors
/// The helper failed.
pub async fn changes(engine: &Engine, container: &Container) -> Result<Vec<Change>> {
    let task = Task::Changes { mounts: mount_points(container) };
    match help(engine, own_layer(container), task, None).await? {
        TaskReply::Changes(changes) => Ok(changes),
        other => Err(refused(container, "/", other)),
    }
}

/// The whole of a container's files but for what is mounted, as an archive.
///
/// # Errors
/// They cannot be read.
pub async fn export(engine: &Engine, container: &Container) -> Result<Output> {
    let mut view = view(container);
    if let View::Container { mounts, .. } = &mut view {
        mounts.clear();
    }
    let output = Output::of(engine, view, Task::Pack).await?;
    tell(engine, container, "export", &[]);
    Ok(output)
}

/// What a container has changed as a layer's archive, for whoever reads it in a thread of its own; reading ends with an
/// error where the archive is not whole.
///
/// # Errors
/// The helper failed at once.
pub async fn layer(
    engine: &Arc<Engine>,
    container: &Container,
) -> Result<impl Read + Send + 'static + use<>> {
    let task = Task::PackChanges { mounts: mount_points(container) };
    let output = Output::of(engine, own_layer(container), task).await?;
    let runtime = tokio::runtime::Handle::current();
    Ok(Blocking { runtime, pieces: Box::pin(output.pieces()), piece: Bytes::new() })
}

/// A stream as a reader.
struct Blocking<S> {
    runtime: tokio::runtime::Handle,
    pieces: std::pin::Pin<Box<S>>,
    piece: Bytes,
}

impl<S: Stream<Item = std::io::Result<Bytes>>> Read for Blocking<S> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.pieces.next()) {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let most = into.len().min(self.piece.len());
        let piece = self.piece.split_to(most);
        into.iter_mut().zip(piece).for_each(|(to, from)| *to = from);
        Ok(most)
    }
}

/// A container's files with its volumes.
pub fn view(container: &Container) -> View {
    let mounts = container.mounts.iter().filter_map(|point| match &point.kind {
        PointKind::Volume { place, subpath, backing: Backing::Store, .. } => Some(wire::Mount {
            destination: point.destination.clone(),
            kind: MountKind::Volume { volume: place.clone(), subpath: subpath.clone() },
            read_only: point.read_only,
        }),
        _ => None,
    });
    View::Container {
        id: container.id.clone(),
        root: Root { layers: container.layers.clone(), read_only: container.host_config().readonly_rootfs },
        mounts: mounts.collect(),
    }
}

fn own_layer(container: &Container) -> View {
    View::Changes { id: container.id.clone(), layers: container.layers.clone() }
}

fn mount_points(container: &Container) -> Vec<String> {
    let own = container.mounts.iter().map(|point| point.destination.clone());
    own.chain(RUNTIME.map(str::to_owned)).collect()
}

/// Refuses to write where the container itself cannot.
fn writable(container: &Container, path: &str) -> Result<()> {
    let above = |destination: &str| {
        let rest = path.trim_end_matches('/').strip_prefix(destination);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut points: Vec<_> = container.mounts.iter().filter(|point| above(&point.destination)).collect();
    points.sort_by_key(|point| point.destination.len());
    match points.last() {
        Some(point) if point.read_only => Err(read_only("mounted volume")),
        None if container.host_config().readonly_rootfs => Err(read_only("container rootfs")),
        _ => Ok(()),
    }
}

fn read_only(what: &str) -> Failure {
    Failure::new(Kind::Forbidden, format!("{what} is marked read-only"))
}

/// A failure of the helper's, in Docker's words where it has some.
fn refused(container: &Container, path: &str, reply: TaskReply) -> Failure {
    let TaskReply::Failed(TaskFailure { errno, message }) = reply else {
        return Failure::failed("the helper for files said something else");
    };
    match errno.map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => {
            let name = container.name();
            Failure::not_found(format!("Could not find the file {path} in container {name}"))
        }
        Some(Errno::NOTDIR) => Failure::invalid(format!("{path}: not a directory")),
        Some(Errno::ROFS) => read_only("container rootfs"),
        _ => Failure::failed(message),
    }
}
