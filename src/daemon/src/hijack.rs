//! Connections that a container's streams take over.
//!
//! A client that asks for it (`Connection: Upgrade`) gets the connection itself, both ways, each with its own end: what
//! it says last is `close_notify`, after which it is still written to. One that does not ask (`curl`) gets the same
//! bytes as an ordinary answer, and what it sends is the body of its request.

use std::io::Result as IoResult;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use casemate_engine::{Failure, Result};
use futures_util::stream;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

use crate::answer::Answer;
use crate::call::{Body, Call};
use crate::server::{Guarded, Ticket};

/// How much of an ordinary answer waits for a slow client.
const WAITING: usize = 64 << 10;
/// Within so much time the two ends of what a client sends, TLS's and TCP's, are one.
const IN_ONE_GO: Duration = Duration::from_secs(1);

/// A connection that will be taken over once the answer is out.
#[derive(Debug)]
pub struct Pending {
    way: Way,
    ticket: Option<Ticket>,
}

#[derive(Debug)]
enum Way {
    Upgrade(OnUpgrade),
    Plain(Body, DuplexStream),
}

/// What the client sends, up to its end.
#[derive(Debug)]
pub struct Reader {
    from: From,
    leftover: Bytes,
    _ticket: Option<Ticket>,
}

#[derive(Debug)]
enum From {
    Connection(Arc<Mutex<Guarded>>),
    Request(Option<Incoming>),
}

/// What the client is sent. Shutting it down ends the connection for the client: `close_notify`, then the end.
#[derive(Debug)]
pub struct Writer(To);

#[derive(Debug)]
enum To {
    Connection(Arc<Mutex<Guarded>>),
    Answer(DuplexStream),
}

/// Both ways, for those who want one thing (a WebSocket).
#[derive(Debug)]
pub struct Hijacked {
    reader: Reader,
    writer: Writer,
}

/// Takes the connection of a call over: the answer to give (101, or 200 where no upgrade was asked for), and the
/// connection to be. The handler spawns a task that waits for it with [`Pending::stream`], and returns the answer.
pub fn hijack(call: &mut Call, kind: &'static str) -> (Answer, Pending) {
    let ticket = call.request.extensions().get::<Ticket>().cloned();
    let kind = HeaderValue::from_static(kind);
    if call.headers().contains_key(UPGRADE) {
        let answer = Answer::empty(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONTENT_TYPE, kind)
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("tcp"));
        let way = Way::Upgrade(hyper::upgrade::on(&mut call.request));
        return (answer, Pending { way, ticket });
    }
    let (ours, theirs) = tokio::io::duplex(WAITING);
    let body = std::mem::replace(call.request.body_mut(), Body::Read(Bytes::new()));
    let pieces = stream::unfold(theirs, |mut from| async {
        let mut piece = BytesMut::with_capacity(16 << 10);
        match from.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece.freeze()), from)),
            Err(error) => Some((Err(error), from)),
        }
    });
    let answer = Answer::stream("application/octet-stream", pieces).header(CONTENT_TYPE, kind);
    (answer, Pending { way: Way::Plain(body, ours), ticket })
}

impl Pending {
    /// The connection, as soon as the answer is out.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn stream(self) -> Result<Hijacked> {
        let ticket = self.ticket;
        let (from, leftover, to) = match self.way {
            Way::Plain(Body::Read(bytes), to) => (From::Request(None), bytes, To::Answer(to)),
            Way::Plain(Body::Streamed(body), to) => (From::Request(Some(body)), Bytes::new(), To::Answer(to)),
            Way::Upgrade(upgrade) => {
                let upgraded = upgrade.await.map_err(|error| Failure::failed(format!("upgrade: {error}")))?;
                let parts = upgraded.downcast::<TokioIo<Guarded>>();
                let parts = parts.map_err(|_| Failure::failed("upgrade: another kind of connection"))?;
                let guarded = parts.io.into_inner();
                guarded.session().taken_over();
                let shared = Arc::new(Mutex::new(guarded));
                (From::Connection(Arc::clone(&shared)), parts.read_buf, To::Connection(shared))
            }
        };
        Ok(Hijacked { reader: Reader { from, leftover, _ticket: ticket }, writer: Writer(to) })
    }
}

impl Hijacked {
    /// Each way by itself.
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

impl Reader {
    /// Comes back once the client is gone altogether. To be waited for after the end of what it sends has been read:
    /// a client that has only said that it sends no more still listens.
    pub async fn gone(&mut self) {
        let since = Instant::now();
        let closed = std::future::poll_fn(|context| match &mut self.from {
            From::Connection(shared) => {
                shared.lock().unwrap_or_else(PoisonError::into_inner).poll_gone(context)
            }
            // The HTTP machine drops the answer, and writing fails.
            From::Request(_) => Poll::Pending,
        })
        .await;
        // Some libraries end their half of TCP in one go with their half of TLS, and read on. That such a client is
        // gone is then seen when it is written to.
        if closed.is_ok() && since.elapsed() < IN_ONE_GO {
            std::future::pending::<()>().await;
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        loop {
            if self.leftover.has_remaining() {
                let length = self.leftover.len().min(buffer.remaining());
                buffer.put_slice(&self.leftover.split_to(length));
                return Poll::Ready(Ok(()));
            }
            match &mut self.from {
                From::Connection(shared) => {
                    let mut guarded = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    return Pin::new(&mut *guarded).poll_read(context, buffer);
                }
                From::Request(None) => return Poll::Ready(Ok(())),
                From::Request(Some(body)) => match ready!(Pin::new(body).poll_frame(context)) {
                    None => self.from = From::Request(None),
                    Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
                    Some(Ok(frame)) => self.leftover = frame.into_data().unwrap_or_default(),
                },
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<IoResult<usize>> {
        self.with(|to| to.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.with(|to| to.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.with(|to| to.poll_shutdown(context))
    }
}

impl Writer {
    fn with<R>(&mut self, act: impl FnOnce(Pin<&mut dyn AsyncWrite>) -> R) -> R {
        match &mut self.0 {
            To::Connection(shared) => {
                let mut guarded = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let pinned: Pin<&mut Guarded> = Pin::new(&mut guarded);
                act(pinned)
            }
            To::Answer(stream) => {
                let pinned: Pin<&mut DuplexStream> = Pin::new(stream);
                act(pinned)
            }
        }
    }
}

impl AsyncRead for Hijacked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}
