//! `GET /containers/{id}/attach/ws`: the same over a WebSocket (RFC 6455), for browsers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_engine::supervision::{Attachment, Chunk, DetachKeys, Stdio};
use casemate_engine::{Failure, Result};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::header::{
    CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::attach::{Past, open};
use crate::answer::Answer;
use crate::call::Call;
use crate::hijack::{Hijacked, hijack};

/// What a key is joined with (RFC 6455, 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Socket = WebSocketStream<Hijacked>;

pub(super) async fn attach(mut call: Call) -> Result<Answer> {
    let accept = accept(&call)?;
    let keys = DetachKeys::parse(call.query.text("detachKeys").unwrap_or_default())?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    // Both outputs are one here, without frames of ours.
    let (attachment, past) = open(&call.engine, &container, &call.query, false)?;
    let (mut answer, pending) = hijack(&mut call, super::RAW);
    answer.0.headers_mut().remove(CONTENT_TYPE);
    tokio::spawn(async move {
        if let Ok(hijacked) = pending.stream().await {
            let socket = WebSocketStream::from_raw_socket(hijacked, Role::Server, None).await;
            run(socket, attachment, past, keys).await;
        }
    });
    Ok(answer.header(UPGRADE, HeaderValue::from_static("websocket")).header(SEC_WEBSOCKET_ACCEPT, accept))
}

/// The answer to the client's key.
fn accept(call: &Call) -> Result<HeaderValue> {
    let header = |name| call.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refuse = |what: &str| Failure::invalid(format!("not a WebSocket handshake: {what}"));
    if !header(UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(refuse("no upgrade to websocket"));
    }
    if header(SEC_WEBSOCKET_VERSION) != "13" {
        return Err(refuse("another version than 13"));
    }
    let key = header(SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(refuse("no key"));
    }
    HeaderValue::from_str(&answer_to(key)).map_err(|_| refuse("no key"))
}

fn answer_to(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes()))
}

async fn run(socket: Socket, attachment: Attachment, past: Past, keys: DetachKeys) {
    let Attachment { output, input, tty, closes } = attachment;
    let (mut sink, mut source) = socket.split();
    let mut keys = tty.then_some(keys);
    tokio::select! {
        _shown = show(past, output, &mut sink) => {}
        () = listen(&mut source, input.as_ref(), closes, &mut keys) => {}
    }
    // A client that has gone is none to be told.
    sink.send(Message::Close(None)).await.ok();
    sink.close().await.ok();
}

async fn show(
    mut past: Past,
    mut output: mpsc::Receiver<Chunk>,
    sink: &mut SplitSink<Socket, Message>,
) -> Option<()> {
    while let Some(piece) = past.next().await {
        sink.send(Message::Binary(piece.ok()?)).await.ok()?;
    }
    while let Some(chunk) = output.recv().await {
        sink.send(Message::Binary(chunk.bytes)).await.ok()?;
    }
    Some(())
}

/// Comes back when the client has left: its close is that of the whole connection.
async fn listen(
    source: &mut SplitStream<Socket>,
    input: Option<&Arc<Stdio>>,
    closes: bool,
    keys: &mut Option<DetachKeys>,
) {
    while let Some(Ok(message)) = source.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => break,
            _ => continue,
        };
        let Some(stdio) = input else { continue };
        let (passed, detached) = match keys {
            Some(keys) => keys.pass(&bytes),
            None => (bytes.to_vec(), false),
        };
        // A process that has ended takes no more; its output may still be on the way.
        stdio.write(&passed).await.ok();
        if detached {
            return;
        }
    }
    if let Some(stdio) = input.filter(|_| closes) {
        stdio.close().await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_answered_as_the_rfc_shows() {
        assert_eq!(answer_to("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
