//! The resolver: born confined as the daemon is, started again when it dies, and not with the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use casemate_spec::wire::{DAEMON, Opened, Program, StoreDocument};
use casemate_spec::{Error, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::apart::hand_in;
use crate::audit::Entry;
use crate::broker::Broker;
use crate::child::{Listen, Running};
use crate::tree;

/// Its container's name; no id of a container's is like it.
const NAME: &str = "casemate-dns";
const PLACE: &str = "/usr/sbin/casemate-dns";
const BACKLOG: i32 = 256;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// What is known of it.
#[derive(Debug, Default)]
pub struct Dns {
    /// Its standard input: what is sent before it has started waits there.
    listener: Option<OwnedFd>,
    running: Option<Running>,
    since: Option<Instant>,
    again: Option<Instant>,
    pause: Duration,
}

impl Dns {
    /// Readable once it has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(Running::pidfd)
    }

    /// When it is started again.
    pub fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// Hands it one end of a new channel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn channel(&self, path: &Path) -> Result<OwnedFd> {
        let failed = |errno| tree::failed("resolver", errno);
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed)?;
        hand_in("resolver", path, &Opened::Daemon, theirs.as_fd()).map(|_sent| ours)
    }
}

impl Broker {
    /// Opens the place to which sockets are sent, and starts it.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn begin_dns(&mut self) -> Result<()> {
        let path = self.places.run.join("dns.sock");
        tree::remove(&self.run_dir()?, "dns.sock")?;
        let failed = |errno| tree::failed("dns.sock", errno);
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(failed)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).map_err(failed)?).map_err(failed)?;
        rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
        self.dns.listener = Some(socket);
        // One that an earlier broker has started listens at a socket that nobody finds any more.
        self.start_dns();
        Ok(())
    }

    fn start_dns(&mut self) {
        self.dns.since = Some(Instant::now());
        if let Err(error) = self.try_dns() {
            crate::say(&error);
            self.dns_later();
        }
    }

    fn try_dns(&mut self) -> Result<()> {
        self.finish_child(&["delete", "--force", NAME]);
        let Some(listener) = &self.dns.listener else { return Ok(()) };
        let stdin = listener.try_clone().map_err(|error| Error::io("dns.sock", &error))?;
        let program = std::fs::canonicalize(self.arguments.libexec.join(NAME))
            .map_err(|error| Error::io(NAME, &error))?;
        let program = Program {
            args: vec![PLACE.to_owned()],
            user: DAEMON,
            cgroup: self.places.cgroup("Daemon", NAME),
            binds: vec![(PLACE.to_owned(), program, false)],
            ..Program::default()
        };
        let mut store = StoreDocument::new(Vec::new());
        let config = program.config(&self.places.in_store("system"), &mut store);
        self.write_bundle(NAME, &config, &store)?;
        let bundle = self.places.bundle(NAME);
        let document = bundle.join("store.json").to_string_lossy().into_owned();
        let words = ["--store", &document, "run", "--bundle", &bundle.to_string_lossy(), NAME];
        let mut command = self.own_runtime("dns.toml", &words);
        command.stdin(stdin);
        let running = Running::start(command, Listen::Nothing, None)?;
        let pid = running.identity().map_or(0, |identity| identity.pid);
        self.tell(&Entry::new("resolver.started").number("pid", pid.into()));
        self.dns.running = Some(running);
        self.reopen_names();
        Ok(())
    }

    fn dns_later(&mut self) {
        let dns = &mut self.dns;
        let lived = dns.since.is_some_and(|since| since.elapsed() > LONGEST * 2);
        dns.pause = if lived { SHORTEST } else { (dns.pause * 2).clamp(SHORTEST, LONGEST) };
        dns.again = Some(Instant::now() + dns.pause);
    }

    pub(crate) fn dns_ended(&mut self) {
        let Some(ended) = self.dns.running.as_mut().and_then(Running::ended) else { return };
        self.tell(&Entry::new("resolver.ended").number("code", ended.code.into()));
        self.dns.running = None;
        self.dns_later();
    }

    pub(crate) fn dns_time(&mut self, now: Instant) {
        if self.dns.again.is_some_and(|again| again <= now) {
            self.dns.again = None;
            self.start_dns();
        }
    }

    /// It goes with us: who comes next starts another, and containers' sockets are opened again.
    pub(crate) fn finish_dns(&mut self) {
        self.dns.again = None;
        if self.dns.running.take().is_some() {
            self.finish_child(&["delete", "--force", NAME]);
        }
    }
}
