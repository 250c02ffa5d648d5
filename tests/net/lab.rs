//! A host, somebody outside, and containers: each a network namespace, held by a process that sleeps.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_spec::wire::{Endpoint, HexId, NetOrder, Network, NetworkKind, Protocol, Published, Subnet};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What is refused with a word is refused at once; what is dropped, nobody hears of.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A network namespace.
pub struct Space(Child);

impl Space {
    /// A new one, with nothing but a loopback device that is up.
    pub fn new() -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect("unshare");
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let until = Instant::now() + Duration::from_secs(10);
        let path = format!("/proc/{}/ns/net", child.id());
        while std::fs::read_link(&path).expect("a namespace") == own {
            assert!(Instant::now() < until, "unshare takes too long");
            std::thread::sleep(Duration::from_millis(2));
        }
        let space = Self(child);
        space.run("ip link set lo up");
        space
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a number")
    }

    /// Does something in it, on a thread of its own.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).expect("the namespace");
        std::thread::scope(|scope| {
            let entered = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
                work()
            });
            entered.join().expect("done")
        })
    }

    /// Whether a command succeeds in it, and what it says.
    pub fn tries(&self, line: &str) -> (bool, String) {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).stdin(Stdio::null());
        let output = self.within(|| command.output().expect("started"));
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What a command says that must succeed.
    pub fn run(&self, line: &str) -> String {
        let (success, said) = self.tries(line);
        assert!(success, "{line}: {said}");
        said
    }

    /// Tells whoever connects or sends what his address is.
    pub fn serve(&self, port: u16) {
        for any in ["0.0.0.0", "::"] {
            let address = SocketAddr::new(any.parse().expect("an address"), port);
            let (tcp, udp) = self.within(|| (bind_tcp(address), bind_udp(address)));
            std::thread::spawn(move || {
                for stream in tcp.incoming().flatten() {
                    let mut stream = stream;
                    let text = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
                    stream.write_all(text.as_bytes()).unwrap_or_default();
                }
            });
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok((_, peer)) = udp.recv_from(&mut bytes) {
                    udp.send_to(peer.ip().to_string().as_bytes(), peer).unwrap_or_default();
                }
            });
        }
    }

    /// Who the server at an address takes us for.
    pub fn tcp(&self, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().expect("an address");
        self.within(|| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
    }

    /// The same, and why not.
    pub fn tcp_error(&self, address: &str) -> Option<i32> {
        let address: SocketAddr = address.parse().expect("an address");
        self.within(|| TcpStream::connect_timeout(&address, PATIENCE).err()?.raw_os_error())
    }

    /// The same by UDP.
    pub fn udp(&self, address: &str) -> Option<String> {
        self.udp_from(0, address)
    }

    /// The same from a port of one's own.
    pub fn udp_from(&self, port: u16, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().expect("an address");
        self.within(|| {
            let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, port)).ok()?;
            socket.set_read_timeout(Some(PATIENCE)).ok()?;
            socket.connect(address).ok()?;
            socket.send(b"?").ok()?;
            let mut bytes = [0; 64];
            let read = socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..read]).into_owned())
        })
    }

    /// Whether an address answers.
    pub fn pings(&self, address: &str) -> bool {
        self.tries(&format!("busybox ping -c 1 -W 1 {address}")).0
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("its end");
    }
}

fn bind_tcp(address: SocketAddr) -> TcpListener {
    // 0.0.0.0 after [::] would be in use: the kernel's default takes both.
    if address.is_ipv6() { six::listener(address) } else { TcpListener::bind(address).expect("bound") }
}

fn bind_udp(address: SocketAddr) -> UdpSocket {
    if address.is_ipv6() { six::datagrams(address) } else { UdpSocket::bind(address).expect("bound") }
}

/// Sockets for IPv6 alone.
mod six {
    use std::net::{SocketAddr, TcpListener, UdpSocket};
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketType, sockopt::set_ipv6_v6only};

    fn bound(kind: SocketType, address: SocketAddr) -> OwnedFd {
        let fd = rustix::net::socket(AddressFamily::INET6, kind, None).expect("a socket");
        set_ipv6_v6only(&fd, true).expect("IPv6 alone");
        rustix::net::bind(&fd, &address).expect("bound");
        fd
    }

    pub fn listener(address: SocketAddr) -> TcpListener {
        let fd = bound(SocketType::STREAM, address);
        rustix::net::listen(&fd, 16).expect("listening");
        fd.into()
    }

    pub fn datagrams(address: SocketAddr) -> UdpSocket {
        bound(SocketType::DGRAM, address).into()
    }
}

/// A host with an uplink to somebody outside: 192.0.2.1 and 2001:db8::1 here, .2 there.
pub struct Lab {
    pub host: Space,
    pub outside: Space,
}

impl Lab {
    pub fn new() -> Self {
        let (host, outside) = (Space::new(), Space::new());
        host.run(&format!("ip link add up0 type veth peer name up0 netns {}", outside.pid()));
        for (space, last) in [(&host, 1), (&outside, 2)] {
            space.run(&format!("ip addr add 192.0.2.{last}/24 dev up0"));
            space.run(&format!("ip addr add 2001:db8::{last}/64 dev up0 nodad"));
            let at_once = || std::fs::write("/proc/sys/net/ipv6/conf/up0/accept_dad", "0");
            space.within(at_once).expect("written");
            space.run("ip link set up0 up");
        }
        // A link comes up by itself, in its own time.
        assert!((0..10).any(|_| host.pings("192.0.2.2")) && (0..10).any(|_| host.pings("2001:db8::2")));
        Self { host, outside }
    }

    /// Whether bridges show their packets to IP's rules, which other programs on the host may ask for.
    pub fn show_bridged(&self, shown: bool) {
        for name in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{name}");
            let written = self.host.within(|| std::fs::write(path, u8::from(shown).to_string()));
            // A kernel without it shows nothing.
            assert!(written.is_ok() || !shown);
        }
    }

    /// Gives an order; what is said where it fails, with the exit status.
    pub fn order(&self, order: &NetOrder) -> Result<(), (i32, String)> {
        let mut child = self.start(order);
        let status = child.wait().expect("its end");
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        if status.success() { Ok(()) } else { Err((status.code().unwrap_or(-1), said)) }
    }

    /// Gives one, and does not wait.
    pub fn start(&self, order: &NetOrder) -> Child {
        let mut command = Command::new(program());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.host.within(|| command.spawn().expect("started"));
        let bytes = serde_json::to_vec(order).expect("JSON");
        child.stdin.take().expect("a pipe").write_all(&bytes).expect("written");
        child
    }

    pub fn make(&self, network: &Network) {
        self.order(&NetOrder::Make { network: network.clone(), kin: Vec::new() }).expect("made");
    }

    /// A container on a network.
    pub fn attach(&self, network: &Network, endpoint: &Endpoint) -> Space {
        self.try_attach(network, endpoint).expect("attached")
    }

    pub fn try_attach(&self, network: &Network, endpoint: &Endpoint) -> Result<Space, (i32, String)> {
        let space = Space::new();
        self.order(&attach(&space, network, endpoint)).map(|()| space)
    }
}

pub fn attach(space: &Space, network: &Network, endpoint: &Endpoint) -> NetOrder {
    NetOrder::Attach {
        pid: space.pid(),
        endpoints: vec![endpoint.clone()],
        networks: vec![network.clone()],
        resolver: None,
    }
}

pub fn detach(network: &Network, endpoint: &Endpoint) -> NetOrder {
    NetOrder::Detach { endpoints: vec![endpoint.clone()], networks: vec![network.clone()], inside: false }
}

pub fn id(number: u8) -> HexId {
    format!("{number:02x}{}", "0".repeat(62)).parse().expect("an id")
}

/// 10.NUMBER.0.0/24 and fd00:NUMBER::/64, of a tenant.
pub fn network(number: u8, tenant: &str) -> Network {
    let subnet = |address: String, prefix, gateway: String| Subnet {
        address: address.parse().expect("an address"),
        prefix,
        gateway: Some(gateway.parse().expect("an address")),
    };
    Network {
        id: id(number),
        tenant: tenant.parse().expect("a tenant"),
        kind: NetworkKind::Bridge,
        subnets: vec![
            subnet(format!("10.{number}.0.0"), 24, format!("10.{number}.0.1")),
            subnet(format!("fd00:{number}::"), 64, format!("fd00:{number}::1")),
        ],
        internal: false,
        icc: true,
        masquerade: true,
        mtu: None,
    }
}

/// The endpoint with the addresses .LAST and ::LAST.
pub fn endpoint(network: u8, last: u8) -> Endpoint {
    let address = |text: String| text.parse().expect("an address");
    Endpoint {
        id: format!("{network:02x}{last:02x}{}", "0".repeat(60)).parse().expect("an id"),
        network: id(network),
        number: 0,
        mac: [0x02, 0x42, 10, network, 0, last],
        addresses: vec![
            (address(format!("10.{network}.0.{last}")), 24),
            (address(format!("fd00:{network}::{last}")), 64),
        ],
        routes: vec![address(format!("10.{network}.0.1")), address(format!("fd00:{network}::1"))],
        ports: Vec::new(),
        egress: None,
        link_local: false,
    }
}

/// A port, as in `tcp 0.0.0.0:8080 80`.
pub fn published(text: &str) -> Published {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [protocol, host, port] = words[..] else { panic!("{text}") };
    Published {
        protocol: if protocol == "tcp" { Protocol::Tcp } else { Protocol::Udp },
        host: host.parse().expect("an address"),
        port: port.parse().expect("a port"),
    }
}

pub fn program() -> PathBuf {
    let path = std::env::var_os("CASEMATE_LIBEXEC").map_or_else(
        || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
            workspace.join(format!("target/{}-unknown-linux-gnu/release", std::env::consts::ARCH))
        },
        PathBuf::from,
    );
    let path = path.join("casemate-net");
    assert!(path.is_file(), "{} is missing: cargo build --release -p casemate-net", path.display());
    path
}
