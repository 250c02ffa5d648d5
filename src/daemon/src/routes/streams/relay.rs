//! Bytes between a client's connection and the streams of a process.

use std::sync::Arc;

use casemate_engine::supervision::{Attachment, Chunk, DetachKeys, Stdio, frame};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::attach::Past;
use crate::hijack::{Reader, Writer};

/// So much output is put together for one write, where it is there already.
const TOGETHER: usize = 64 << 10;
/// So much input is read at once.
const PORTION: usize = 16 << 10;

/// A client and what it is attached to.
pub(in crate::routes) struct Relay {
    /// The process's side.
    pub attachment: Attachment,
    /// What is shown first.
    pub past: Past,
    /// Output goes in frames.
    pub framed: bool,
    /// How the client leaves a terminal.
    pub keys: DetachKeys,
}

/// Why the client's side is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It is gone, or no connection any more.
    Gone,
    /// It has pressed the keys, or has ended an input that stays open for others.
    Detached,
}

impl Relay {
    /// Passes everything on, until the process ends or the client leaves.
    pub async fn run(self, mut reader: Reader, mut writer: Writer) {
        let Self { attachment, past, framed, keys } = self;
        let Attachment { output, input, tty, closes } = attachment;
        let mut keys = tty.then_some(keys);
        let left = tokio::select! {
            written = show(past, output, framed, &mut writer) => written.map_or(Some(Left::Gone), |()| None),
            left = listen(&mut reader, input.as_ref(), closes, &mut keys) => Some(left),
        };
        if left != Some(Left::Gone) {
            // The client reads up to the end. One that has gone meanwhile is none to be told.
            writer.shutdown().await.ok();
        }
    }
}

/// Writes output up to its end.
pub(in crate::routes) async fn show(
    mut past: Past,
    mut output: mpsc::Receiver<Chunk>,
    framed: bool,
    writer: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    while let Some(piece) = past.next().await {
        writer.write_all(&piece?).await?;
        writer.flush().await?;
    }
    let mut together = Vec::new();
    while let Some(chunk) = output.recv().await {
        add(&mut together, &chunk, framed);
        while together.len() < TOGETHER {
            let Ok(chunk) = output.try_recv() else { break };
            add(&mut together, &chunk, framed);
        }
        writer.write_all(&together).await?;
        writer.flush().await?;
        together.clear();
    }
    Ok(())
}

fn add(together: &mut Vec<u8>, chunk: &Chunk, framed: bool) {
    if framed {
        together.extend_from_slice(&frame(chunk.stream, chunk.bytes.len()));
    }
    together.extend_from_slice(&chunk.bytes);
}

/// Reads input until the client leaves. The end of what it sends is not its end.
async fn listen(
    reader: &mut Reader,
    input: Option<&Arc<Stdio>>,
    closes: bool,
    keys: &mut Option<DetachKeys>,
) -> Left {
    let mut portion = vec![0_u8; PORTION];
    loop {
        let bytes = match reader.read(&mut portion).await {
            Err(_) => return Left::Gone,
            Ok(0) => break,
            Ok(read) => portion.get(..read).unwrap_or_default(),
        };
        let Some(stdio) = input else { continue };
        let (passed, detached) = match keys {
            Some(keys) => keys.pass(bytes),
            None => (bytes.to_vec(), false),
        };
        // A process that has ended takes no more; its output may still be on the way to the client.
        stdio.write(&passed).await.ok();
        if detached {
            return Left::Detached;
        }
    }
    if let Some(stdio) = input {
        let held = keys.as_mut().map(DetachKeys::rest).unwrap_or_default();
        stdio.write(&held).await.ok();
        if !closes {
            // As Docker does: who attaches to an input and ends it has done what it came for.
            return Left::Detached;
        }
        stdio.close().await.ok();
    }
    reader.gone().await;
    Left::Gone
}
