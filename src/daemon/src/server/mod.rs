//! The server: connections, from their acceptance to their end.

mod connection;
mod gate;
mod guarded;
mod session;
mod socket;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::service::Daemon;

pub use gate::Gate;
pub use guarded::Guarded;
pub use session::{Session, Ticket};
pub use watch::watch;

/// Accepts connections for ever, each served by a task of its own.
pub async fn accept(daemon: Arc<Daemon>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection::serve(Arc::clone(&daemon), stream, peer));
            }
            Err(error) => {
                eprintln!("casemated: accept: {error}");
                // Out of descriptors, most likely: some are given back soon, and asking again at once would only spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
