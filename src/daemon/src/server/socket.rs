//! A client's TCP socket that others can close: a revoked client's connection ends at once, whatever is waiting on it.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The socket, beneath TLS.
#[derive(Debug)]
pub struct Socket(Arc<TcpStream>);

/// A way to close it from outside.
#[derive(Debug)]
pub struct Closer(Weak<TcpStream>);

impl Socket {
    /// Of an accepted connection.
    pub fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// A way to close it from outside.
    pub fn closer(&self) -> Closer {
        Closer(Arc::downgrade(&self.0))
    }

    /// Ready once the peer has closed the connection, with an error once it is reset. To be asked only where nothing
    /// more is to be read: whatever else arrives counts as an end too, since nothing may follow a `close_notify`.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut byte = [0_u8; 1];
        self.0.poll_peek(context, &mut ReadBuf::new(&mut byte)).map_ok(|_| ())
    }
}

impl Closer {
    /// Closes both directions: every read and write that waits comes back.
    pub fn close(&self) {
        if let Some(stream) = self.0.upgrade() {
            // One that is closed already is as good.
            rustix::net::shutdown(&*stream, Shutdown::Both).ok();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, Shutdown::Write).map_err(Error::from))
    }
}
