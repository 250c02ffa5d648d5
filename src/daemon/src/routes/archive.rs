//! Files in and out of containers: archive, changes, export, commit.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_engine::containers::Container;
use casemate_engine::files::archive::{self, CopyIn};
use casemate_engine::files::{self, CommitAsked};
use casemate_engine::images::Reference;
use casemate_engine::{Failure, Result};
use casemate_spec::wire::PathStat;
use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Sender;

use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::{Body, Call};

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Head,
        path: "/containers/{id}/archive",
        operation: "container.archive.stat",
        subject: Subject::Container,
        handler: |call| Box::pin(stat(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/archive",
        operation: "container.archive.read",
        subject: Subject::Container,
        handler: |call| Box::pin(get(call)),
    },
    Route {
        method: Verb::Put,
        path: "/containers/{id}/archive",
        operation: "container.archive.write",
        subject: Subject::Container,
        handler: |call| Box::pin(put(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/changes",
        operation: "container.changes",
        subject: Subject::Container,
        handler: |call| Box::pin(changes(call)),
    },
    Route {
        method: Verb::Get,
        path: "/containers/{id}/export",
        operation: "container.export",
        subject: Subject::Container,
        handler: |call| Box::pin(export(call)),
    },
    Route {
        method: Verb::Post,
        path: "/commit",
        operation: "container.commit",
        subject: Subject::Container,
        handler: |call| Box::pin(commit(call)),
    },
];

/// What a place is, in the header of an answer.
const STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

async fn stat(call: Call) -> Result<Answer> {
    let (container, path) = (container(&call)?, path(&call)?);
    let found = archive::stat(&call.engine, &container, &path).await?;
    Ok(Answer::empty(StatusCode::OK).header(STAT, shown(&found)?))
}

async fn get(call: Call) -> Result<Answer> {
    let (container, path) = (container(&call)?, path(&call)?);
    let (found, output) = archive::copy_out(&call.engine, &container, &path).await?;
    Ok(Answer::stream("application/x-tar", output.pieces()).header(STAT, shown(&found)?))
}

async fn put(mut call: Call) -> Result<Answer> {
    let container = container(&call)?;
    let asked = CopyIn {
        path: path(&call)?,
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        as_user: call.query.flag("copyUIDGID"),
    };
    let body = std::mem::replace(call.request.body_mut(), Body::Read(Default::default()));
    let (archive, write) = pipe()?;
    let copied = archive::copy_in(&call.engine, &container, &asked, archive);
    // Both at once; whichever fails first says why, for the other fails of it.
    let (copied, sent) = tokio::join!(copied, pour(body, write));
    copied?;
    sent?;
    Ok(Answer::empty(StatusCode::OK))
}

async fn changes(call: Call) -> Result<Answer> {
    let container = container(&call)?;
    let changes = archive::changes(&call.engine, &container).await?;
    let list = changes.iter().map(|change| json!({ "Path": change.path, "Kind": change.kind as u8 }));
    Ok(Answer::ok(&list.collect::<Vec<_>>()))
}

async fn export(call: Call) -> Result<Answer> {
    let container = container(&call)?;
    let output = archive::export(&call.engine, &container).await?;
    Ok(Answer::stream("application/octet-stream", output.pieces()))
}

async fn commit(mut call: Call) -> Result<Answer> {
    let config: Option<Map<String, Value>> = call.json_or_default().await?;
    let name = call.query.text("container").ok_or_else(|| Failure::invalid("container cannot be empty"))?;
    let container = call.engine.containers.find(&call.caller, name)?;
    let reference = call.query.text("repo").map(Reference::parse).transpose()?;
    let reference = match (reference, call.query.text("tag")) {
        (Some(reference), Some(tag)) => Some(reference.with_tag(tag)?),
        (reference, _) => reference,
    };
    if reference.as_ref().is_some_and(|reference| reference.digest.is_some()) {
        return Err(Failure::invalid("cannot commit to digest reference"));
    }
    let text = |name: &str| call.query.text(name).unwrap_or_default().to_owned();
    let asked = CommitAsked {
        reference,
        comment: text("comment"),
        author: text("author"),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        config: config.unwrap_or_default(),
        pause: call.query.flag_or("pause", true),
    };
    let image = files::commit(&call.engine, &call.caller, &container, asked).await?;
    Ok(Answer::json(StatusCode::CREATED, &json!({ "Id": image.name() })))
}

fn container(call: &Call) -> Result<Arc<Container>> {
    call.engine.containers.find(&call.caller, call.captured("id"))
}

fn path(call: &Call) -> Result<String> {
    let path =
        call.query.text("path").ok_or_else(|| Failure::invalid("bad parameter: path cannot be empty"))?;
    Ok(path.to_owned())
}

/// Writes a request's body into a pipe. A reader that has gone has said why; the rest of the body is read and dropped,
/// so that the client comes to read the answer.
async fn pour(body: Body, write: OwnedFd) -> Result<()> {
    let mut pipe = Some(Sender::from_owned_fd(write)?);
    match body {
        Body::Read(bytes) => send(&mut pipe, &bytes).await,
        Body::Streamed(body) => {
            let mut pieces = body.into_data_stream();
            let broken = |error: hyper::Error| Failure::invalid(format!("request body: {error}"));
            while let Some(piece) = pieces.try_next().await.map_err(broken)? {
                send(&mut pipe, &piece).await;
            }
        }
    }
    Ok(())
}

async fn send(pipe: &mut Option<Sender>, bytes: &[u8]) {
    if let Some(open) = pipe
        && open.write_all(bytes).await.is_err()
    {
        *pipe = None;
    }
}

/// A pipe that we write into.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    rustix::io::ioctl_fionbio(&write, true).map_err(std::io::Error::from)?;
    // Fewer turns for large archives. Where the system does not give it, it is as well.
    rustix::pipe::fcntl_setpipe_size(&write, 1 << 20).ok();
    Ok((read, write))
}

/// Base64 of JSON, with the mode in the bits of Go's `os.FileMode`.
fn shown(found: &PathStat) -> Result<HeaderValue> {
    let modified = jiff::Timestamp::from_nanosecond(i128::from(found.modified)).unwrap_or_default();
    let document = json!({
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": modified.to_string(),
        "linkTarget": found.link_target,
    });
    HeaderValue::from_str(&STANDARD.encode(document.to_string()))
        .map_err(|error| Failure::failed(format!("header: {error}")))
}

/// `st_mode` (inode(7)) in the bits of Go.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.into_iter().filter(|(bit, _)| mode & bit != 0).fold(0, |sum, (_, bit)| sum | bit);
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o020_666), 1 << 26 | 1 << 21 | 0o666);
    }
}
