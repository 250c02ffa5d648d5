//! Images as streams of bytes: pull and import (one route), load, save.

use std::io::Write;

use bytes::Bytes;
use casemate_engine::images::{self, Import, Outlet, Pieces, Platform, Progress, Pull, Reference, Save};
use casemate_engine::{Failure, Result};
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::progress::{credentials, told};
use crate::answer::Answer;
use crate::call::{Body, Call};

/// Pieces of a body that wait for the client.
const WAITING: usize = 16;
/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// `POST /images/create`: `fromImage` pulls, `fromSrc` imports.
///
/// # Errors
/// As the engine says.
pub async fn create(call: Call) -> Result<Answer> {
    let platform = call.query.text("platform").map(Platform::parse).transpose()?;
    match (call.query.text("fromImage"), call.query.text("fromSrc")) {
        (Some(_), _) => pull(call, platform).await,
        (None, Some("-")) => import(call, platform).await,
        (None, Some(source)) => Err(Failure::unsupported(format!(
            "import from {source:?}: only from the client's standard input: fetch it there, and give \"-\""
        ))),
        (None, None) => Err(Failure::invalid("neither fromImage nor fromSrc is given")),
    }
}

async fn pull(call: Call, platform: Option<Platform>) -> Result<Answer> {
    let reference = Reference::parse(call.query.text("fromImage").unwrap_or_default())?;
    let reference = match call.query.text("tag") {
        _ if reference.digest.is_some() => reference,
        Some(digest) if digest.contains(':') => reference.by_digest(images::reference::parse_digest(digest)?),
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    let all_tags = reference.tag.is_none() && reference.digest.is_none();
    let credentials = credentials(&call)?;
    let (engine, caller) = (call.engine.clone(), call.caller.clone());
    let wish = Pull { reference, all_tags, platform, credentials };
    told(|progress| async move { images::pull(&engine, &caller, wish, &progress).await }).await
}

async fn import(mut call: Call, platform: Option<Platform>) -> Result<Answer> {
    let reference = call.query.text("repo").map(Reference::parse).transpose()?;
    let reference = match (reference, call.query.text("tag")) {
        (Some(reference), Some(tag)) => Some(reference.with_tag(tag)?),
        (reference, _) => reference,
    };
    if reference.as_ref().is_some_and(|reference| reference.digest.is_some()) {
        return Err(Failure::invalid("cannot import digest reference"));
    }
    let message = call.query.text("message").map_or_else(|| "Imported from -".to_owned(), str::to_owned);
    let changes = call.query.all("changes").map(str::to_owned).collect();
    let wish = Import { reference, message, changes, platform };
    let pieces = body(&mut call);
    let (engine, caller) = (call.engine.clone(), call.caller.clone());
    told(|progress: Progress| async move {
        let mut draft = engine.images.blobs.draft()?;
        let draft = tokio::task::spawn_blocking(move || -> Result<_> {
            let mut pieces = pieces;
            std::io::copy(&mut pieces, &mut draft)?;
            Ok(draft)
        });
        let draft = draft.await.map_err(|error| Failure::failed(format!("import: {error}")))??;
        let image = images::import(&engine, &caller, wish, draft).await?;
        progress.status(&image.name()).await;
        Ok(())
    })
    .await
}

/// `POST /images/load`
///
/// # Errors
/// As the engine says.
pub async fn load(mut call: Call) -> Result<Answer> {
    let platform = call.query.text("platform").map(Platform::parse).transpose()?;
    let quiet = call.query.flag_or("quiet", false);
    let pieces = body(&mut call);
    let (engine, caller) = (call.engine.clone(), call.caller.clone());
    told(|progress| async move {
        images::load(&engine, &caller, pieces, platform.as_ref(), quiet, &progress).await
    })
    .await
}

/// `GET /images/get` and `GET /images/{name}/get`
///
/// # Errors
/// One of them is not there.
pub async fn save(call: Call) -> Result<Answer> {
    let mut names: Vec<String> = call.query.all("names").map(str::to_owned).collect();
    if let Some(name) = call.captured.get("name") {
        names.push(name.clone());
    }
    if names.is_empty() {
        return Err(Failure::invalid("no image is named"));
    }
    let save = Save::of(&call.engine, &call.caller, &names)?;
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut outlet = std::io::BufWriter::with_capacity(PIECE, Outlet(sender.clone()));
        let written = save.write(&mut outlet).and_then(|()| Ok(outlet.flush()?));
        if let Err(failure) = written {
            // The client sees that the archive is not whole.
            sender.blocking_send(Err(std::io::Error::other(failure.message))).ok();
        }
    });
    let pieces =
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    Ok(Answer::stream("application/x-tar", pieces))
}

/// The request's body, for a reader in another thread.
fn body(call: &mut Call) -> Pieces {
    let (sender, pieces) = Pieces::channel();
    match std::mem::replace(call.request.body_mut(), Body::Read(Bytes::new())) {
        Body::Read(bytes) => {
            tokio::spawn(async move { sender.send(Ok(bytes)).await.ok() });
        }
        Body::Streamed(body) => {
            tokio::spawn(forward(body, sender));
        }
    }
    pieces
}

async fn forward(mut body: Incoming, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => frame.into_data().map_err(|_| ()).ok().map(Ok),
            Err(error) => Some(Err(std::io::Error::other(format!("request body: {error}")))),
        };
        if let Some(piece) = piece
            && sender.send(piece).await.is_err()
        {
            break;
        }
    }
}
