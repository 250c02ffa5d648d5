//! A client's connection above TLS: says when bytes come, and hides the end of what a client sends while the
//! connection is about to be taken over (a client may half-close it before it has read that it may).

use std::io::Result;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::session::Session;
use super::socket::Socket;

/// How long a client that still sends is listened to after the answer. A connection that is closed over what was not read
/// is reset, and the answer is lost with it.
const PARTING: Duration = Duration::from_secs(1);

/// The connection.
#[derive(Debug)]
pub struct Guarded {
    tls: TlsStream<Socket>,
    session: Arc<Session>,
    /// Our side is closed; until then, what still comes is read and forgotten.
    parting: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    /// Of a connection whose handshake is over.
    pub fn new(tls: TlsStream<Socket>, session: Arc<Session>) -> Self {
        Self { tls, session, parting: None }
    }

    /// The account of it.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Ready once the peer, which has said that it will send nothing more, has closed the connection too, with an error
    /// once it is reset.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.tls.get_ref().0.poll_gone(context)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tls).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.session.heard();
        } else if self.session.hides_end() && buffer.remaining() > 0 {
            // Nobody wakes this read: it is the answer that is waited for.
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { tls, session, parting } = &mut *self;
        if session.is_taken() {
            return Pin::new(tls).poll_shutdown(context);
        }
        if parting.is_none() {
            ready!(Pin::new(&mut *tls).poll_shutdown(context))?;
        }
        let parting = parting.get_or_insert_with(|| Box::pin(sleep(PARTING)));
        let mut piece = [0; 8 << 10];
        loop {
            if parting.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut tls.get_mut().0).poll_read(context, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
