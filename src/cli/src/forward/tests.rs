use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{tcp, udp};

const HERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const SOON: Duration = Duration::from_secs(5);

/// A server that says back what it was told, in one piece, once nothing more is said.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(HERE).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut told = Vec::new();
                stream.read_to_end(&mut told).await.expect("read");
                stream.write_all(&told).await.expect("written");
            });
        }
    });
    address
}

/// What is said through a port, and heard.
async fn through(mut stream: TcpStream, told: &[u8]) -> Vec<u8> {
    stream.write_all(told).await.expect("written");
    stream.shutdown().await.expect("that was all");
    let mut heard = Vec::new();
    timeout(SOON, stream.read_to_end(&mut heard)).await.expect("in time").expect("read");
    heard
}

#[tokio::test]
async fn connections_go_on_whose_port_is_let_go() {
    let listener = TcpListener::bind(HERE).await.expect("bound");
    let port = listener.local_addr().expect("an address");
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(tcp::serve(listener, echo().await, async { drop(ended.await) }));
    let large = vec![7; 3 << 20];
    assert_eq!(through(TcpStream::connect(port).await.expect("connected"), &large).await, large);
    let before = TcpStream::connect(port).await.expect("connected");
    // Taken up, not only waiting.
    let first = TcpStream::connect(port).await.expect("connected");
    assert_eq!(through(first, b"first").await, b"first");
    drop(end);
    while TcpStream::connect(port).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(through(before, b"still").await, b"still");
    timeout(SOON, serving).await.expect("nothing is left").expect("it did not fail");
}

#[tokio::test]
async fn nobody_there_is_a_connection_that_is_closed() {
    let nobody = TcpListener::bind(HERE).await.and_then(|gone| gone.local_addr()).expect("an address");
    let listener = TcpListener::bind(HERE).await.expect("bound");
    let port = listener.local_addr().expect("an address");
    tokio::spawn(tcp::serve(listener, nobody, std::future::pending()));
    let mut stream = TcpStream::connect(port).await.expect("connected");
    let heard = timeout(SOON, stream.read(&mut [0; 1])).await.expect("in time");
    assert!(heard.is_err() || heard.is_ok_and(|read| read == 0));
}

#[tokio::test]
async fn answers_find_back_to_who_has_asked() {
    let server = UdpSocket::bind(HERE).await.expect("bound");
    let to = server.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut bytes = [0; 100];
        while let Ok((read, from)) = server.recv_from(&mut bytes).await {
            let said = [format!("{from} ").as_bytes(), &bytes[..read]].concat();
            server.send_to(&said, from).await.expect("sent");
        }
    });
    let outer = UdpSocket::bind(HERE).await.expect("bound");
    let port = outer.local_addr().expect("an address");
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(udp::serve(outer, to, async { drop(ended.await) }));
    let ask = async |client: &UdpSocket, word: &str| {
        client.send_to(word.as_bytes(), port).await.expect("sent");
        let mut bytes = [0; 100];
        let (read, from) = timeout(SOON, client.recv_from(&mut bytes)).await.expect("in time").expect("read");
        assert_eq!(from, port);
        let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let (source, heard) = said.split_once(' ').expect("two words");
        assert_eq!(heard, word);
        source.to_owned()
    };
    let clients = [UdpSocket::bind(HERE).await.expect("bound"), UdpSocket::bind(HERE).await.expect("bound")];
    let sources = [ask(&clients[0], "one").await, ask(&clients[1], "two").await];
    assert_ne!(sources[0], sources[1], "each has a socket of its own");
    assert_eq!(ask(&clients[0], "again").await, sources[0], "and keeps it");
    drop(end);
    timeout(SOON, serving).await.expect("it ends").expect("it did not fail");
}
