//! Datagrams: whoever sends one has a socket of its own towards the container, by which answers find back.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What the kernel keeps for us of one port.
pub const BUFFER: usize = 256 << 10;
/// So many senders of one port at once: others are not heard.
const MOST: usize = 1024;
/// Datagrams of one sender that wait.
const WAITING: usize = 32;
/// Nothing has come for so long from either side: it is over.
const IDLE: Duration = Duration::from_secs(90);
/// What the longest datagram takes.
const LONGEST: usize = 64 << 10;

/// What every sender of a port needs: the host's socket, and room for one answer.
struct Port {
    outer: UdpSocket,
    room: Mutex<Vec<u8>>,
    to: SocketAddr,
}

/// Passes datagrams on until `end`.
pub async fn serve(outer: UdpSocket, to: SocketAddr, end: impl Future<Output = ()>) {
    let port = Arc::new(Port { outer, room: Mutex::new(vec![0; LONGEST]), to });
    let mut senders: BTreeMap<SocketAddr, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
    let mut running = JoinSet::new();
    let mut datagram = vec![0; LONGEST];
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            read = port.outer.recv_from(&mut datagram) => {
                // An error is of what was sent before: its sender is not there any more.
                let Ok((read, from)) = read else { continue };
                let known = senders.get(&from).filter(|sender| !sender.is_closed()).cloned();
                let sender = match known {
                    Some(sender) => sender,
                    None if running.len() >= MOST => continue,
                    None => {
                        let (sender, receiver) = mpsc::channel(WAITING);
                        running.spawn(pass(Arc::clone(&port), from, receiver));
                        senders.insert(from, sender.clone());
                        sender
                    }
                };
                // A sender that is too quick loses what is too much, as on any network.
                sender.try_send(datagram.get(..read).unwrap_or_default().to_vec()).unwrap_or_default();
            }
            Some(ended) = running.join_next() => {
                if let Ok(from) = ended
                    && senders.get(&from).is_some_and(mpsc::Sender::is_closed)
                {
                    senders.remove(&from);
                }
            }
        }
    }
}

/// One sender's, until nobody has said anything for a while.
async fn pass(port: Arc<Port>, from: SocketAddr, mut said: mpsc::Receiver<Vec<u8>>) -> SocketAddr {
    let any: SocketAddr = match port.to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Ok(inner) = UdpSocket::bind(any).await else { return from };
    if inner.connect(port.to).await.is_err() {
        return from;
    }
    loop {
        let step = async {
            tokio::select! {
                datagram = said.recv() => match datagram {
                    // The container's socket may come later: what is lost is lost.
                    Some(datagram) => { inner.send(&datagram).await.map(drop).unwrap_or_default(); true }
                    None => false,
                },
                ready = inner.readable() => {
                    ready.map(|()| answer(&port, &inner, from)).unwrap_or_default();
                    true
                }
            }
        };
        match timeout(IDLE, step).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return from,
        }
    }
}

/// What there is to be read goes back, or is lost.
fn answer(port: &Port, inner: &UdpSocket, from: SocketAddr) {
    let mut room = port.room.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(read) = inner.try_recv(&mut room) {
        port.outer.try_send_to(room.get(..read).unwrap_or_default(), from).map(drop).unwrap_or_default();
    }
}
