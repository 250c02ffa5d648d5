//! A resolver in a network namespace of its own, and network namespaces in place of containers.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use casemate_spec::wire::{AllowedName, Client, HexId, INLINE, Names, Opened, Said};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recvmsg, sendmsg, socket_with,
    socketpair, sockopt,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where containers ask.
pub const HERE: &str = "127.0.0.11:53";
/// Longer than any server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace, kept by a process in it.
pub struct Space {
    keeper: Child,
    file: File,
}

impl Space {
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        let script = "ip link set lo up && echo && exec sleep 1000";
        command.args(["--net", "--", "sh", "-c", script]).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("unshare (package util-linux)");
        let mut line = [0];
        keeper.stdout.as_mut().expect("its output").read_exact(&mut line).expect("a namespace with lo");
        let file = File::open(format!("/proc/{}/ns/net", keeper.id())).expect("its namespace");
        Self { keeper, file }
    }

    /// Does something inside: a thread of its own enters.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("it does not panic"))
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.keeper.id())).arg(program);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.keeper.kill().expect("end the keeper");
        self.keeper.wait().expect("wait for it");
    }
}

/// The resolver, and the daemon's side of it.
pub struct Rig {
    pub outside: Arc<Space>,
    pub daemon: OwnedFd,
    pub resolver: Child,
    dir: PathBuf,
}

/// A container that asks.
pub struct Container {
    pub id: HexId,
    pub space: Space,
}

pub fn id(number: u8) -> HexId {
    HexId::from_bytes([number; 32])
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Rig {
    /// With a daemon that has said nothing yet.
    pub fn new() -> Self {
        Self::started(|outside, door| {
            let mut command = outside.command(&program("casemate-dns").display().to_string());
            command.stdin(Stdio::from(door)).spawn().expect("start the resolver")
        })
    }

    /// Started in some other way.
    pub fn started(start: impl FnOnce(&Space, OwnedFd) -> Child) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("casemate-dns-{}-{serial}", std::process::id()));
        std::fs::create_dir(&dir).expect("make a folder");
        let door = seqpacket();
        bind(&door, &SocketAddrUnix::new(dir.join("dns.sock")).expect("a path")).expect("bind");
        listen(&door, 64).expect("listen");
        let outside = Arc::new(Space::new());
        let resolver = start(&outside, door);
        let (ours, theirs) = pair();
        let rig = Self { outside, daemon: ours, resolver, dir };
        rig.hand(&Opened::Daemon, &[theirs.as_fd()]);
        rig
    }

    /// Another daemon, which begins to speak.
    pub fn next_daemon(&mut self) {
        let (ours, theirs) = pair();
        self.daemon = ours;
        self.hand(&Opened::Daemon, &[theirs.as_fd()]);
    }

    pub fn hand(&self, opened: &Opened, sockets: &[BorrowedFd<'_>]) {
        self.hand_raw(&serde_json::to_vec(opened).expect("JSON"), sockets);
    }

    pub fn hand_raw(&self, packet: &[u8], sockets: &[BorrowedFd<'_>]) {
        let caller = seqpacket();
        connect(&caller, &SocketAddrUnix::new(self.dir.join("dns.sock")).expect("a path")).expect("connect");
        send(&caller, packet, sockets);
    }

    pub fn say(&self, names: &Names) {
        send(&self.daemon, &serde_json::to_vec(names).expect("JSON"), &[]);
    }

    /// The next thing that the resolver says.
    pub fn hear(&self) -> Option<Said> {
        let mut packet = vec![0; INLINE];
        let mut control = RecvAncillaryBuffer::default();
        let mut parts = [IoSliceMut::new(&mut packet)];
        let read = recvmsg(&self.daemon, &mut parts, &mut control, RecvFlags::empty()).ok()?.bytes;
        serde_json::from_slice(&packet[..read]).ok()
    }

    /// A network with names on it.
    pub fn network(&self, number: u8, own: &str, names: &[(&str, &[&str])]) {
        self.say(&Names::Network { network: id(number), name: Some(own.to_owned()) });
        for (name, addresses) in names {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| ip(text)).collect();
            for address in &addresses {
                let name = Some(format!("{name}.{own}"));
                self.say(&Names::Reverse { network: id(number), address: *address, name });
            }
            self.say(&Names::Name { network: id(number), name: (*name).to_owned(), addresses });
        }
    }

    /// A container on networks, whose sockets are handed over as `casemate-net` does.
    pub fn container(&self, number: u8, networks: &[u8], change: impl FnOnce(&mut Client)) -> Container {
        let container = Container { id: id(number), space: Space::new() };
        self.open(&container);
        self.change(&container, networks, change);
        container
    }

    /// Says who a container is, and waits until it counts: what is said and what is asked come by different ways.
    pub fn change(&self, container: &Container, networks: &[u8], change: impl FnOnce(&mut Client)) {
        let known = self.claim(container, networks, change);
        wait_until(|| container.code(&known, RecordType::A) == Some(ResponseCode::NoError));
    }

    /// Says who a container is; a name that it has from then on.
    pub fn claim(&self, container: &Container, networks: &[u8], change: impl FnOnce(&mut Client)) -> String {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let known = format!("known-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let mut client =
            Client { networks: networks.iter().map(|number| id(*number)).collect(), ..Client::default() };
        client.own.insert(known.clone(), Vec::new());
        change(&mut client);
        self.say(&Names::Client { container: container.id.clone(), client });
        format!("{known}.")
    }

    pub fn open(&self, container: &Container) {
        let (udp, tcp) = container.space.within(|| {
            let udp = UdpSocket::bind(HERE).expect("bind UDP");
            (udp, TcpListener::bind(HERE).expect("bind TCP"))
        });
        self.hand(&Opened::Sockets { container: container.id.clone() }, &[udp.as_fd(), tcp.as_fd()]);
    }

    /// Whether the resolver lives.
    pub fn lives(&mut self) -> bool {
        self.resolver.try_wait().expect("ask for its status").is_none()
    }

    /// Memory of the resolver's own, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.resolver.id()));
        let status = status.expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.resolver.kill().ok();
        self.resolver.wait().expect("wait for the resolver");
        std::fs::remove_dir_all(&self.dir).expect("remove the folder");
    }
}

impl Container {
    /// A socket in the container, connected to the resolver.
    pub fn udp(&self) -> UdpSocket {
        self.space.within(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
            socket.connect(HERE).expect("connect");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        })
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = self.space.within(|| TcpStream::connect(HERE).expect("connect"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// An answer over UDP; none where none comes.
    pub fn ask(&self, question: &Message) -> Option<Message> {
        exchange(&self.udp(), &question.to_vec().expect("a packet"))
    }

    /// An answer to one of several tries: packets are lost behind a flood of the container's own.
    pub fn insist(&self, question: &Message) -> Message {
        let socket = self.udp();
        socket.set_read_timeout(Some(PATIENCE / 10)).expect("a timeout");
        let packet = question.to_vec().expect("a packet");
        (0..10).find_map(|_| exchange(&socket, &packet)).expect("an answer")
    }

    /// An answer over TCP.
    pub fn ask_stream(&self, question: &Message) -> Option<Message> {
        let mut stream = self.tcp();
        write_framed(&mut stream, &question.to_vec().expect("a packet"));
        read_framed(&mut stream)
    }

    /// The data of the records that answer a question.
    pub fn look_up(&self, name: &str, kind: RecordType) -> Vec<String> {
        let answer = self.ask(&question(name, kind)).expect("an answer");
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    }

    pub fn code(&self, name: &str, kind: RecordType) -> Option<ResponseCode> {
        self.ask(&question(name, kind)).map(|answer| answer.metadata.response_code)
    }
}

/// Another server, for as long as the test lasts.
pub struct Server {
    pub address: SocketAddr,
    pub asked: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each question with what `answer` makes of it, which is told whether it came over TCP.
    pub fn new(
        outside: &Space,
        host: &str,
        answer: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let address: SocketAddr = format!("{host}:53").parse().expect("an address");
        let (udp, tcp) = outside
            .within(|| (UdpSocket::bind(address).expect("bind"), TcpListener::bind(address).expect("bind")));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, counter) = (Arc::new(answer), Arc::clone(&asked));
        let shared = Arc::clone(&answer);
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                counter.fetch_add(1, Ordering::Relaxed);
                let asked = Message::from_vec(&packet[..length]).expect("what the resolver asks is sound");
                // Each by itself: one may take its time.
                let (udp, answer) = (udp.try_clone().expect("a socket"), Arc::clone(&shared));
                std::thread::spawn(move || {
                    for answer in answer(&asked, false) {
                        udp.send_to(&answer, from).ok();
                    }
                });
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                if let Some(asked) = read_framed(&mut stream) {
                    for answer in answer(&asked, true) {
                        write_framed(&mut stream, &answer);
                    }
                }
            }
        });
        Self { address, asked }
    }

    /// One that knows `*.example.org` and `example.net`, as 192.0.2.80, and nothing else.
    pub fn usual(outside: &Space, host: &str) -> Self {
        Self::new(outside, host, |asked, _| vec![known(asked)])
    }

    pub fn count(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// What the usual server answers.
pub fn known(asked: &Message) -> Vec<u8> {
    let name = asked.queries[0].name().to_lowercase().to_string();
    let ours = name.ends_with("example.org.") || name == "example.net.";
    let mut answer = response(asked, if ours { ResponseCode::NoError } else { ResponseCode::NXDomain });
    if ours && asked.queries[0].query_type() == RecordType::A {
        with_address(&mut answer, "192.0.2.80", 300);
    }
    answer.to_vec().expect("a packet")
}

pub fn response(asked: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.metadata.response_code = code;
    answer.add_queries(asked.queries.iter().cloned());
    answer
}

pub fn with_address(answer: &mut Message, address: &str, ttl: u32) {
    use hickory_proto::rr::{RData, Record};
    let data = match ip(address) {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    };
    let name = answer.queries[0].name().clone();
    answer.add_answer(Record::from_rdata(name, ttl, data));
}

pub fn allow(names: &[(&str, Option<(u16, u16)>)]) -> Option<Vec<AllowedName>> {
    let allowed = |(name, ports): &(&str, _)| AllowedName { name: (*name).to_owned(), ports: *ports };
    Some(names.iter().map(allowed).collect())
}

pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

pub fn exchange(socket: &UdpSocket, packet: &[u8]) -> Option<Message> {
    socket.send(packet).expect("ask");
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).ok()?;
    Some(Message::from_vec(&answer[..length]).expect("an answer is a message"))
}

pub fn write_framed(stream: &mut TcpStream, packet: &[u8]) {
    let length = u16::try_from(packet.len()).expect("a short packet");
    // Whoever reads may have hung up.
    stream.write_all(&[&length.to_be_bytes()[..], packet].concat()).ok();
}

pub fn read_framed(stream: &mut TcpStream) -> Option<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet).ok()?;
    Some(Message::from_vec(&packet).expect("a message"))
}

pub fn wait_until(mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "it does not come to be");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program of the workspace: of `$CASEMATE_PROGRAMS`, else the release build.
pub fn program(name: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    let release = target.join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    std::env::var_os("CASEMATE_PROGRAMS").map_or(release, PathBuf::from).join(name)
}

/// Shared by threads that gather.
pub type Gathered<T> = Arc<Mutex<Vec<T>>>;

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket")
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair");
    sockopt::set_socket_timeout(&pair.0, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a timeout");
    pair
}

fn send(socket: &OwnedFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL).expect("send");
}
