//! Other machines and the insides of containers: network namespaces that a test enters, and what it says there.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use casemate_tests::wait_until;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Who has not answered by then is not there. A connection's first packet may be lost, and the third comes after three
/// seconds (RFC 6298).
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Does something in the network namespace of a process, on a thread of its own.
///
/// # Panics
/// When there is no such process.
pub fn within<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    let file = fs::File::open(format!("/proc/{pid}/ns/net")).expect("the namespace");
    std::thread::scope(|scope| {
        let entered = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
            work()
        });
        entered.join().expect("done")
    })
}

/// Another machine, with a wire to the host: 198.18.N.2 and fd00:198:N::2 there, .1 and ::1 here.
pub struct Outside {
    keeper: Child,
    number: u8,
}

impl Outside {
    /// Each test has a number of its own.
    ///
    /// # Panics
    /// When the wire cannot be laid.
    pub fn make(number: u8) -> Self {
        let keeper = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect("unshare");
        let outside = Self { keeper, number };
        let own = fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        let path = format!("/proc/{}/ns/net", outside.pid());
        wait_until("it is outside", || fs::read_link(&path).is_ok_and(|theirs| theirs != own));
        let name = format!("cmo{number}");
        ip(&format!("link add {name} type veth peer name up0 netns {}", outside.pid()));
        let furnish = |name: &str, last: u8| {
            ip(&format!("address add 198.18.{number}.{last}/24 dev {name}"));
            ip(&format!("address add fd00:198:{number}::{last}/64 dev {name} nodad"));
            ip(&format!("link set {name} up"));
        };
        furnish(&name, 1);
        within(outside.pid(), || {
            ip("link set lo up");
            furnish("up0", 2);
        });
        wait_until("the wire works", || outside.sees_host());
        outside
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// The host's address on the wire.
    pub fn host(&self, four: bool, port: u16) -> SocketAddr {
        self.end(four, 1, port)
    }

    /// Its own.
    pub fn own(&self, four: bool) -> IpAddr {
        self.end(four, 2, 0).ip()
    }

    fn end(&self, four: bool, last: u8, port: u16) -> SocketAddr {
        let number = self.number;
        let text = if four {
            format!("198.18.{number}.{last}:{port}")
        } else {
            format!("[fd00:198:{number}::{last}]:{port}")
        };
        text.parse().expect("an address")
    }

    /// A port where nobody listens is refused at once by whoever is there.
    fn sees_host(&self) -> bool {
        [true, false].into_iter().all(|four| {
            let refused =
                within(self.pid(), || TcpStream::connect_timeout(&self.host(four, 9), PATIENCE).err());
            refused.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.keeper.kill().ok();
        self.keeper.wait().ok();
        // The far end goes with the namespace, in the kernel's own time.
        let name = format!("cmo{}", self.number);
        let link = |verb: &str| Command::new("ip").args(["link", verb, &name]).output();
        link("delete").ok();
        wait_until("the wire is gone", || link("show").is_ok_and(|output| !output.status.success()));
    }
}

fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().expect("ip");
    assert!(output.status.success(), "ip {line}: {output:?}");
}

/// A server in a container, for TCP and UDP in both families: it tells whoever asks what his address is, and its own name.
pub struct Server {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Serves in the network namespace of a process until it is dropped.
    ///
    /// # Panics
    /// When the port is taken there.
    pub fn start(pid: u32, port: u16, name: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for four in [true, false] {
            let (tcp, udp) = within(pid, || (listener(four, port), datagrams(four, port)));
            let (ended, says) = (Arc::clone(&over), name.to_owned());
            threads.push(std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    match tcp.accept() {
                        Ok((mut stream, peer)) => {
                            stream.write_all(said(peer, &says).as_bytes()).unwrap_or_default();
                        }
                        Err(_) => std::thread::sleep(LOOK),
                    }
                }
            }));
            let (ended, says) = (Arc::clone(&over), name.to_owned());
            threads.push(std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while !ended.load(Ordering::Relaxed) {
                    if let Ok((_, peer)) = udp.recv_from(&mut bytes) {
                        udp.send_to(said(peer, &says).as_bytes(), peer).unwrap_or_default();
                    }
                }
            }));
        }
        Self { over, threads }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn said(peer: SocketAddr, name: &str) -> String {
    format!("{} {name}", peer.ip())
}

fn any(four: bool, port: u16) -> SocketAddr {
    let any = if four { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    SocketAddr::new(any, port)
}

fn bound(four: bool, kind: SocketType, port: u16) -> std::os::fd::OwnedFd {
    let family = if four { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, kind, None).expect("a socket");
    if !four {
        sockopt::set_ipv6_v6only(&socket, true).expect("IPv6 alone");
    }
    rustix::net::bind(&socket, &any(four, port)).expect("bound");
    socket
}

fn listener(four: bool, port: u16) -> TcpListener {
    let socket = bound(four, SocketType::STREAM, port);
    rustix::net::listen(&socket, 16).expect("listening");
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true).expect("it does not wait");
    listener
}

fn datagrams(four: bool, port: u16) -> UdpSocket {
    let socket = UdpSocket::from(bound(four, SocketType::DGRAM, port));
    socket.set_read_timeout(Some(LOOK)).expect("it does not wait for long");
    socket
}

/// What a server says by TCP to a process.
pub fn ask_tcp(pid: u32, to: SocketAddr) -> std::io::Result<String> {
    within(pid, || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

/// The same by UDP, from a socket that takes answers of whom it has asked alone; `from` is its port.
pub fn ask_udp(pid: u32, to: SocketAddr, from: Option<u16>) -> std::io::Result<String> {
    within(pid, || {
        let socket = UdpSocket::bind(any(to.is_ipv4(), from.unwrap_or(0)))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"?")?;
        let mut bytes = [0; 64];
        let read = socket.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
    })
}
