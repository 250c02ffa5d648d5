//! A container's network namespace, entered by the test: who listens there, and whom it reaches, byte by byte.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::World;
use crate::networks::inspect;

/// What is dropped, nobody hears of.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Does something in the network namespace of a process, on a thread of its own.
///
/// # Panics
/// When it has ended.
pub fn inside<T: Send>(pid: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("it runs");
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
            work()
        });
        inside.join().expect("done")
    })
}

/// A container that runs, from the side of the host.
pub struct Inside(String);

impl Inside {
    /// By its name, as the administrator sees it.
    pub fn of(world: &World, name: &str) -> Self {
        Self(inspect(world, name, "{{.State.Pid}}"))
    }

    /// By its process.
    pub fn process(pid: &str) -> Self {
        Self(pid.to_owned())
    }

    /// Says `word` to whoever connects or sends to a port, over either family. Ends with the test.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn serve(&self, port: u16, word: &'static str) {
        let any = SocketAddr::new([0_u16; 8].into(), port);
        let bind = || (TcpListener::bind(any).expect("bound"), UdpSocket::bind(any).expect("bound"));
        let (tcp, udp) = inside(&self.0, bind);
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                stream.write_all(word.as_bytes()).unwrap_or_default();
            }
        });
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok((_, peer)) = udp.recv_from(&mut bytes) {
                udp.send_to(word.as_bytes(), peer).unwrap_or_default();
            }
        });
    }

    /// What is said at an address, by TCP.
    pub fn tcp(&self, to: SocketAddr) -> Option<String> {
        inside(&self.0, || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
    }

    /// The same by UDP.
    pub fn udp(&self, to: SocketAddr) -> Option<String> {
        inside(&self.0, || {
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.set_read_timeout(Some(PATIENCE)).ok()?;
            socket.connect(to).ok()?;
            socket.send(b"?").ok()?;
            let mut bytes = [0; 64];
            let read = socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..read]).into_owned())
        })
    }

    /// What a program of the host's says in it.
    pub fn run(&self, world: &World, words: &[&str]) -> casemate_tests::Output {
        world.outside("nsenter").args(["--net", "--target", &self.0]).args(words).run()
    }
}

/// No rule of ours is there, and nobody sees it: the broker stands still meanwhile.
pub struct Unprotected<'a>(&'a World);

impl<'a> Unprotected<'a> {
    /// Takes them away.
    ///
    /// # Panics
    /// When they were not there.
    pub fn make(world: &'a World) -> Self {
        let unprotected = Self(world);
        unprotected.signal(Signal::STOP);
        for family in ["inet", "bridge"] {
            world.outside("nft").args(["delete", "table", family, &world.table()]).run().ok();
        }
        unprotected
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.broker_pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("signalled");
    }
}

impl Drop for Unprotected<'_> {
    /// The broker hears of it, and puts them back.
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}
