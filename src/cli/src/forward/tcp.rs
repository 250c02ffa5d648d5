//! Connections: each is made again, to the container.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// So many at once of one port: more wait.
const MOST: usize = 2048;
/// What is on its way, in each direction.
const PIECE: usize = 64 << 10;
/// A container on a bridge of ours answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Silence after which the other side is asked whether it is there.
const GONE: Duration = Duration::from_secs(60);
/// What waits until no descriptor was left may find one.
const PAUSE: Duration = Duration::from_millis(20);

/// Passes connections on until `end`. Those that have been made go on to theirs.
pub async fn serve(listener: TcpListener, to: SocketAddr, end: impl Future<Output = ()>) {
    let mut made = JoinSet::new();
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = listener.accept(), if made.len() < MOST => match accepted {
                Ok((stream, _)) => drop(made.spawn(pass(stream, to))),
                // Whoever it was has gone, or no descriptor is left.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = made.join_next() => {}
        }
    }
    drop(listener);
    while made.join_next().await.is_some() {}
}

async fn pass(mut outer: TcpStream, to: SocketAddr) {
    let connected = timeout(PATIENCE, TcpStream::connect(to)).await;
    let mut inner = match connected {
        Ok(Ok(inner)) => inner,
        // Refused there is refused here, as far as that can still be told.
        Ok(Err(_)) | Err(_) => return outer.set_zero_linger().unwrap_or_default(),
    };
    for stream in [&outer, &inner] {
        // Each is as good without: slower, or longer there when its other end has vanished.
        stream.set_nodelay(true).unwrap_or_default();
        set_socket_keepalive(stream, true).and_then(|()| set_tcp_keepidle(stream, GONE)).unwrap_or_default();
    }
    let passed = copy_bidirectional_with_sizes(&mut outer, &mut inner, PIECE, PIECE).await;
    if passed.is_err() {
        // Whoever is left hears that it did not end well.
        for stream in [&outer, &inner] {
            stream.set_zero_linger().unwrap_or_default();
        }
    }
}
