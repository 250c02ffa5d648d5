//! Streams of the API: lines of JSON, and a container's standard streams.

use std::io::Write as _;
use std::os::fd::AsFd;

use bytes::{Buf, BytesMut};
use casemate_spec::{Error, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// Hands on each line as it comes; `take` says whether to go on.
///
/// # Errors
/// The stream breaks off, a line is no JSON, or what `take` says.
pub async fn lines(mut body: Incoming, mut take: impl FnMut(Value) -> Result<bool>) -> Result<()> {
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::new("stream", error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end + 1);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let value = serde_json::from_slice(&line).map_err(|e| Error::new("stream", e.to_string()))?;
            if !take(value)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Prints what a container says until it has ended, and hands it what comes on our standard input.
///
/// # Errors
/// Our standard output cannot be written.
pub async fn relay(stream: TokioIo<Upgraded>, tty: bool, interactive: bool) -> Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    if interactive {
        // Ends with the process: a read of a terminal cannot be called off.
        tokio::spawn(feed(writer));
        return print(reader, tty).await;
    }
    let mut writer = writer;
    // Nothing will come: whoever reads its standard input sees the end of it. A peer that is gone needs no telling.
    writer.shutdown().await.ok();
    print(reader, tty).await
}

async fn feed(mut writer: WriteHalf<TokioIo<Upgraded>>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 16 << 10];
        while let Ok(read @ 1..) = rustix::io::read(rustix::stdio::stdin().as_fd(), &mut buffer) {
            if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
    });
    while let Some(bytes) = receiver.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
    writer.shutdown().await.ok();
}

async fn print(mut reader: ReadHalf<TokioIo<Upgraded>>, tty: bool) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("standard output", &error);
    let mut pending = BytesMut::with_capacity(64 << 10);
    while let Ok(1..) = reader.read_buf(&mut pending).await {
        if tty {
            std::io::stdout().write_all(&pending).map_err(failed)?;
            pending.clear();
        } else {
            while let Some((to_stderr, length)) = head(&pending).filter(|(_, len)| pending.len() >= 8 + len) {
                pending.advance(8);
                let payload = pending.split_to(length);
                if to_stderr {
                    std::io::stderr().write_all(&payload).map_err(failed)?;
                } else {
                    std::io::stdout().write_all(&payload).map_err(failed)?;
                }
            }
        }
        std::io::stdout().flush().map_err(failed)?;
    }
    Ok(())
}

/// The head of a frame of the multiplexed stream: to where, and how long it is.
fn head(pending: &[u8]) -> Option<(bool, usize)> {
    let &[stream, _, _, _, a, b, c, d] = pending.first_chunk::<8>()?;
    Some((stream == 2, usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?))
}
