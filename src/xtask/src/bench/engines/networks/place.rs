//! Hosts for the time of a turn: network namespaces.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};

/// Addresses for documentation (RFC 5737): no engine takes them for its containers.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A network namespace.
pub struct Space(File);

/// One that is kept by a process, which ends with us at the latest: its standard input does.
struct Kept {
    keeper: Child,
    space: Space,
}

/// Where an engine runs, somebody outside, and where we were before.
pub struct Place {
    before: Space,
    host: Kept,
    outside: Kept,
}

impl Space {
    /// Of a process.
    pub fn of(process: impl std::fmt::Display) -> Outcome<Self> {
        let path = format!("/proc/{process}/ns/net");
        File::open(&path).map(Self).doing(path)
    }

    /// Goes there, and with this thread all that it starts.
    fn enter(&self) -> Outcome {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).doing("network namespace")
    }

    /// Does something there, on a thread of its own.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| self.enter().and_then(|()| work())).join();
            done.unwrap_or_else(|_| Err(Failure::new("bench", "a thread panicked")))
        })
    }
}

impl Kept {
    fn new() -> Outcome<Self> {
        let mut unshare = Command::new("unshare");
        let mut keeper = unshare
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing("unshare")?;
        // It answers from within.
        let heard = keeper.stdin.as_mut().map(|stdin| stdin.write_all(b"?").and_then(|()| stdin.flush()));
        heard.transpose().doing("unshare")?;
        let mut byte = [0];
        let answered = keeper.stdout.as_mut().map(|stdout| std::io::Read::read_exact(stdout, &mut byte));
        answered.transpose().doing("unshare")?;
        let space = Space::of(keeper.id())?;
        let kept = Self { keeper, space };
        kept.ip("link set lo up")?;
        Ok(kept)
    }

    fn ip(&self, line: &str) -> Outcome {
        self.space.within(|| command::output(Command::new("ip").args(line.split(' '))).map(drop))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("xtask: unshare: {error}");
        }
    }
}

impl Place {
    /// A host and somebody outside, joined by a wire. From now on this thread is on that host.
    pub fn enter() -> Outcome<Self> {
        let before = Space::of("self")?;
        let (host, outside) = (Kept::new()?, Kept::new()?);
        let there = outside.keeper.id();
        host.ip(&format!("link add wire type veth peer name wire netns {there}"))?;
        for (end, address) in [(&host, HOST), (&outside, OUTSIDE)] {
            end.ip(&format!("address add {address}/24 dev wire"))?;
            end.ip("link set wire up")?;
        }
        // A host has somewhere to send to what it does not know.
        host.ip(&format!("route add default via {OUTSIDE}"))?;
        host.space.enter()?;
        Ok(Self { before, host, outside })
    }

    /// The engine's.
    pub fn host(&self) -> &Space {
        &self.host.space
    }

    /// Another machine's.
    pub fn outside(&self) -> &Space {
        &self.outside.space
    }

    /// Goes back to where we were; everything that was on that host is gone.
    pub fn leave(self) -> Outcome {
        self.before.enter()
    }
}
