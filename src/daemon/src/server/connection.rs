//! One connection: handshake, identity, requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::guarded::Guarded;
use super::session::Session;
use super::socket::Socket;
use crate::identity::identify;
use crate::service::{self, Daemon};

/// After so long without a word from the other host, the kernel asks whether it is still there.
const SILENCE: Duration = Duration::from_secs(60);
/// The least that the HTTP machine's buffer may be.
const BUFFER: usize = 8 << 10;

/// Serves a connection to its end.
pub async fn serve(daemon: Arc<Daemon>, stream: TcpStream, peer: SocketAddr) {
    let (tls, session) = match admit(&daemon, stream).await {
        Ok(admitted) => admitted,
        Err(why) => {
            daemon.metrics.refused_connections.inc();
            eprintln!("casemated: connection of {peer} refused: {why}");
            return;
        }
    };
    let limits = &daemon.limits;
    let head = usize::try_from(limits.header_bytes.0).unwrap_or(BUFFER);
    let mut http = http1::Builder::new();
    // Times are kept by the watch over all sessions: one for the idle, another for those who have begun to speak.
    http.header_read_timeout(None);
    http.max_headers(limits.headers).max_header_size(head).max_buf_size(head.max(BUFFER));
    let io = TokioIo::new(Guarded::new(tls, Arc::clone(&session)));
    let answer = service_fn(|request| {
        let (daemon, session) = (Arc::clone(&daemon), Arc::clone(&session));
        async move { Ok::<_, Infallible>(service::answer(&daemon, &session, request).await) }
    });
    // However it ends: the client is gone, or spoke no HTTP, which it has been told.
    http.serve_connection(io, answer).with_upgrades().await.ok();
}

async fn admit(daemon: &Arc<Daemon>, stream: TcpStream) -> Result<(TlsStream<Socket>, Arc<Session>), String> {
    let failed = |error: rustix::io::Errno| format!("socket: {error}");
    sockopt::set_tcp_nodelay(&stream, true).map_err(failed)?;
    sockopt::set_socket_keepalive(&stream, true).map_err(failed)?;
    sockopt::set_tcp_keepidle(&stream, SILENCE).map_err(failed)?;
    let socket = Socket::new(stream);
    let handshake = daemon.gate.handshake(socket.closer());
    let closer = socket.closer();
    let acceptor = TlsAcceptor::from(Arc::clone(&daemon.trust.load().server));
    let tls = match timeout(daemon.limits.handshake_time.0, acceptor.accept(socket)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return Err(format!("handshake: {error}")),
        Err(_) => return Err("handshake: it takes too long".to_owned()),
    };
    drop(handshake);
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let chain: Vec<_> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let leaf = chain.first().ok_or("no certificate")?;
    let identity = identify(leaf)?;
    let name = &identity.caller.identity;
    let place = daemon.gate.connection(name).ok_or_else(|| format!("{name}: too many connections"))?;
    let session = Session::new(identity.caller, chain, identity.not_after, closer, place);
    let session = Arc::new(session);
    daemon.gate.register(&session);
    // A list that came during the handshake has not seen this session yet.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if !daemon.trust.load().believes(&session.chain, now) {
        return Err(format!("{}: revoked meanwhile", session.caller.identity));
    }
    Ok((tls, session))
}
