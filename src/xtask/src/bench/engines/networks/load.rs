//! Traffic: the same program of ours at both ends, whoever carries it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::place::Space;
use crate::bench::sample::median;
use crate::failure::{Doing as _, Failure, Outcome};

/// How many connect at once, and how many answer.
const AT_ONCE: usize = 4;
/// Connections of a measurement: far from all ports that a host has.
const CONNECTIONS: usize = 4000;
const ROUND_TRIPS: usize = 2000;
const STREAM: Duration = Duration::from_millis(600);
const PIECE: usize = 128 << 10;
/// Nothing here takes as long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a client says first.
const ECHO: u8 = b'e';
const COUNT: u8 = b'c';

/// Answers in a container's network, until it is dropped.
pub struct Server {
    listener: TcpListener,
    workers: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(space: &Space, port: u16) -> Outcome<Self> {
        let listener = space.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).doing("listen"))?;
        let mut server = Self { listener, workers: Vec::new() };
        for _ in 0..AT_ONCE {
            let listener = server.listener.try_clone().doing("listen")?;
            let work = move || {
                // Until it is shut down.
                while let Ok((stream, _)) = listener.accept() {
                    // A client that breaks off says why itself.
                    answer(stream).unwrap_or_default();
                }
            };
            server.workers.push(std::thread::spawn(work));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(errno) = rustix::net::shutdown(self.listener.as_fd(), rustix::net::Shutdown::Both) {
            eprintln!("xtask: shut down: {errno}");
            return;
        }
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                eprintln!("xtask: a thread panicked");
            }
        }
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    let mut piece = vec![0; PIECE];
    let mut count: u64 = 0;
    loop {
        match stream.read(&mut piece)? {
            0 if wish == [COUNT] => return stream.write_all(&count.to_ne_bytes()),
            0 => return Ok(()),
            read if wish == [COUNT] => count += read as u64,
            read => stream.write_all(&piece[..read])?,
        }
    }
}

fn connect(to: SocketAddr, wish: u8) -> Outcome<TcpStream> {
    let connected = TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[wish])?;
        Ok(stream)
    });
    connected.doing(to)
}

/// Megabytes a second by one connection, of those that have arrived.
pub fn rate(from: &Space, to: SocketAddr) -> Outcome<f64> {
    from.within(|| {
        let mut stream = connect(to, COUNT)?;
        let piece = vec![0; PIECE];
        let since = Instant::now();
        while since.elapsed() < STREAM {
            stream.write_all(&piece).doing(to)?;
        }
        stream.shutdown(Shutdown::Write).doing(to)?;
        let mut count = [0; 8];
        stream.read_exact(&mut count).doing(to)?;
        Ok(u64::from_ne_bytes(count) as f64 / since.elapsed().as_secs_f64() / 1e6)
    })
}

/// Connections a second: each sends a byte, hears it, and is closed.
pub fn connections(from: &Space, to: SocketAddr) -> Outcome<f64> {
    let one = || -> Outcome {
        let mut stream = connect(to, ECHO)?;
        stream.write_all(b"x").doing(to)?;
        stream.read_exact(&mut [0]).doing(to)
    };
    let some = || (0..CONNECTIONS / AT_ONCE).try_for_each(|_| one());
    let since = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| from.within(some))).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Failure::new("bench", "a thread panicked")))
        })
    })?;
    Ok(CONNECTIONS as f64 / since.elapsed().as_secs_f64())
}

/// Microseconds there and back, by one connection.
pub fn round_trip(from: &Space, to: SocketAddr) -> Outcome<f64> {
    let taken = from.within(|| {
        let mut stream = connect(to, ECHO)?;
        let mut once = || -> Outcome<f64> {
            let since = Instant::now();
            stream.write_all(b"x").doing(to)?;
            stream.read_exact(&mut [0]).doing(to)?;
            Ok(since.elapsed().as_secs_f64() * 1e6)
        };
        (0..ROUND_TRIPS).map(|_| once()).collect::<Outcome<Vec<f64>>>()
    })?;
    median(&taken).ok_or_else(|| Failure::new(to, "nothing came back"))
}
