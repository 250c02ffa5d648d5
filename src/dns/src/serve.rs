//! The two sockets of one container.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::asker::{Asker, Reply, Way};
use crate::question::LONGEST;

/// Packets of one container before others have their turn.
const TURN: u32 = 16;
/// Connections of one container.
const CONNECTIONS: usize = 16;
/// How long a connection may be silent, or take to read an answer, and live in all.
const IDLE: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(60);
/// After an error that is nobody's, such as the lack of a descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers at both, for ever. Everything under way ends when this is dropped.
pub async fn serve(asker: Rc<Asker>, udp: UdpSocket, tcp: TcpListener) {
    tokio::join!(datagrams(Rc::clone(&asker), udp), streams(asker, tcp));
}

async fn datagrams(asker: Rc<Asker>, udp: UdpSocket) {
    let udp = Rc::new(udp);
    let mut under_way = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    let mut turn = 0;
    loop {
        let Ok((length, from)) = udp.recv_from(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match asker.consider(buffer.get(..length).unwrap_or_default(), Way::Datagram) {
            Reply::Nothing => {}
            Reply::Now(answer) => send(&udp, &answer, from),
            Reply::Later(later) => {
                let (asker, udp) = (Rc::clone(&asker), Rc::clone(&udp));
                under_way.spawn_local(async move {
                    send(&udp, &asker.settle(&later.0, &later.1, Way::Datagram).await, from);
                });
            }
        }
        while under_way.try_join_next().is_some() {}
        let pause = asker.pause();
        turn += 1;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        } else if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// An answer for which there is no room is lost, as any datagram may be.
fn send(udp: &UdpSocket, answer: &[u8], to: SocketAddr) {
    udp.try_send_to(answer, to).ok();
}

async fn streams(asker: Rc<Asker>, tcp: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match tcp.accept().await {
            Ok((stream, _)) => {
                let asker = Rc::clone(&asker);
                connections.spawn_local(async move {
                    // Whatever ends it, it is closed.
                    timeout(LIFE, converse(&asker, stream)).await.ok();
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        tokio::time::sleep(asker.pause()).await;
    }
}

/// One question after another.
async fn converse(asker: &Asker, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let length = usize::from(timeout(IDLE, stream.read_u16()).await??);
        if length > LONGEST {
            return Ok(());
        }
        let mut packet = vec![0; length];
        timeout(IDLE, stream.read_exact(&mut packet)).await??;
        let answer = match asker.consider(&packet, Way::Stream) {
            Reply::Nothing => return Ok(()),
            Reply::Now(answer) => answer,
            Reply::Later(later) => asker.settle(&later.0, &later.1, Way::Stream).await,
        };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
        tokio::time::sleep(asker.pause()).await;
    }
}
