//! The daemon: born confined, as a container of our own runtime; started again when it dies, ended with us.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_spec::wire::DAEMON;
use casemate_spec::{Error, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Signal;

use crate::audit::Entry;
use crate::broker::Broker;
use crate::child::{Listen, Running};
use crate::containers::Stage;
use crate::networks::Repair;
use crate::places::ROOT;
use crate::tree;
use casemate_spec::wire::{Program, StoreDocument};

/// signal(7)
const SIGHUP: u32 = 1;
/// Its container's name; no id of a container's is like it.
const NAME: &str = "casemated";
/// What is ours alone to choose.
const POLICIES: [(&str, &str); 3] = [
    ("casemated.toml", include_str!("../../../policies/casemated.toml")),
    ("dns.toml", include_str!("../../../policies/dns.toml")),
    ("layer.toml", include_str!("../../../policies/layer.toml")),
];
/// How long it may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(80);
/// How long one may live on that no longer has a channel.
const ORPHANED: Duration = Duration::from_secs(10);
/// How long the kernel may take to free the addresses of a daemon that has just been killed.
const RELEASED: Duration = Duration::from_secs(1);
/// What is under way at the end is waited for so long.
const LAST: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// What the host has and it needs: names, addresses, authorities, time.
const HOSTS: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime", "/etc/ssl"];

/// What is known of it.
#[derive(Debug)]
pub struct Daemon {
    /// It is at the other end of our standard input, and somebody else's child.
    elsewhere: bool,
    running: Option<Running>,
    since: Instant,
    /// When the next one is started.
    again: Option<Instant>,
    pause: Duration,
    ending: bool,
    over: bool,
    /// When it is killed.
    patience: Option<Instant>,
}

impl Daemon {
    /// None yet.
    pub fn new(elsewhere: bool) -> Self {
        Self {
            elsewhere,
            running: None,
            since: Instant::now(),
            again: None,
            pause: SHORTEST,
            ending: false,
            over: false,
            patience: None,
        }
    }

    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Readable once it has ended.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(Running::pidfd)
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.again.into_iter().chain(self.patience).min()
    }

    /// It has said that it ends.
    pub fn farewell(&mut self) {
        self.ending = true;
    }

    /// Its end of the channel is closed.
    pub fn left(&mut self) {
        self.over |= self.elsewhere;
        if self.running.is_some() && self.patience.is_none() {
            self.patience = Some(Instant::now() + ORPHANED);
        }
    }
}

impl Broker {
    /// Opens the addresses. The daemon of a broker that was killed may still hold them: it is ended first.
    pub(crate) fn listen(&mut self) -> Result<()> {
        for address in &self.arguments.listen {
            let mut listener = TcpListener::bind(address);
            if listener.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
                self.finish_child(&["delete", "--force", NAME]);
                let until = Instant::now() + RELEASED;
                while listener.is_err() && Instant::now() < until {
                    std::thread::sleep(SHORTEST / 10);
                    listener = TcpListener::bind(address);
                }
            }
            let opened = listener.map_err(|error| Error::io(format!("listen on {address}"), &error));
            self.listeners.push(opened?);
        }
        Ok(())
    }

    /// Starts it, or finds it.
    pub(crate) fn begin_daemon(&mut self) -> Result<()> {
        if self.daemon.elsewhere {
            let stdin = rustix::stdio::stdin().try_clone_to_owned();
            let stdin = stdin.map_err(|error| Error::io("standard input", &error))?;
            rustix::net::sockopt::socket_type(&stdin).map_err(|errno| {
                tree::failed("standard input", errno).hint("it must be the channel, a socket")
            })?;
            self.connect(stdin);
            return Ok(());
        }
        self.start_daemon()
    }

    /// Writes the policies that our own programs run under.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn write_policies(&self) -> Result<()> {
        let own = tree::ensure_dir(self.run_dir()?, "own", ROOT, 0o700)?;
        for (name, text) in POLICIES {
            tree::write(&own, name, text.as_bytes(), ROOT, 0o600, false)?;
        }
        Ok(())
    }

    fn start_daemon(&mut self) -> Result<()> {
        // What an earlier broker's daemon left, or a crash of its runtime.
        self.finish_child(&["delete", "--force", NAME]);
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|errno| tree::failed("channel", errno))?;
        let (program, mut store) = self.daemon_program();
        let config = program.config(&self.places.in_store("system"), &mut store);
        self.write_bundle(NAME, &config, &store)?;
        let bundle = self.places.bundle(NAME);
        let document = bundle.join("store.json").to_string_lossy().into_owned();
        let words = ["--store", &document, "run", "--bundle", &bundle.to_string_lossy(), NAME];
        let mut command = self.own_runtime("casemated.toml", &words);
        command.stdin(theirs);
        let running = Running::start(command, Listen::Nothing, None)?;
        let pid = running.identity().map_or(0, |identity| identity.pid);
        self.tell(&Entry::new("daemon.started").number("pid", pid.into()));
        self.daemon.running = Some(running);
        self.daemon.since = Instant::now();
        self.daemon.patience = None;
        self.connect(ours);
        Ok(())
    }

    fn daemon_program(&self) -> (Program, StoreDocument) {
        let data = &self.places.data;
        let stored = [
            ("/var/lib/casemate", data.join("daemon"), true),
            ("/var/log/casemate", data.join("logs"), false),
            ("/etc/casemate", self.places.config.clone(), false),
        ];
        let binds = stored.map(|(place, source, writable)| (place.to_owned(), source, writable));
        let store = StoreDocument::new(binds.iter().map(|(place, ..)| place.clone()).collect());
        let program = std::iter::once(("/usr/sbin/casemated", self.arguments.daemon.as_path()));
        let shown = HOSTS.iter().map(|path| (*path, Path::new(path)));
        // Many of these are links to files that services keep.
        let found =
            program.chain(shown).filter_map(|(place, path)| Some((place, std::fs::canonicalize(path).ok()?)));
        let found = found.map(|(place, source): (&str, PathBuf)| (place.to_owned(), source, false));
        let program = Program {
            args: vec!["/usr/sbin/casemated".to_owned()],
            user: DAEMON,
            cgroup: self.places.cgroup("Daemon", NAME),
            binds: binds.into_iter().chain(found).collect(),
            ..Program::default()
        };
        (program, store)
    }

    pub(crate) fn daemon_ended(&mut self) {
        let Some(ended) = self.daemon.running.as_mut().and_then(Running::ended) else { return };
        self.tell(&Entry::new("daemon.ended").number("code", ended.code.into()));
        self.link = None;
        let daemon = &mut self.daemon;
        (daemon.running, daemon.patience) = (None, None);
        if daemon.ending {
            daemon.over = true;
            return;
        }
        // One that lived for a while did not die of what it was started with.
        daemon.pause =
            if daemon.since.elapsed() > LONGEST * 2 { SHORTEST } else { (daemon.pause * 2).min(LONGEST) };
        daemon.again = Some(Instant::now() + daemon.pause);
    }

    pub(crate) fn daemon_time(&mut self, now: Instant) -> Result<()> {
        if self.daemon.again.is_some_and(|again| again <= now) {
            self.daemon.again = None;
            if let Err(error) = self.start_daemon() {
                crate::say(&error);
                self.daemon.pause = (self.daemon.pause * 2).min(LONGEST);
                self.daemon.again = Some(now + self.daemon.pause);
            }
        }
        if self.daemon.patience.is_some_and(|patience| patience <= now) {
            self.daemon.patience = None;
            // The container and all that is in it, not only who waits for it.
            let delete = self.own_runtime("casemated.toml", &["delete", "--force", NAME]);
            self.run(delete, Listen::Errors, Duration::from_secs(60), |_, _| {});
        }
        Ok(())
    }

    /// SIGTERM and SIGINT: the daemon is asked to end, and we follow. SIGHUP is the daemon's to understand, but
    /// for ports that are passed on.
    pub(crate) fn end_by_signal(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let hangs_up = info.ssi_signo == SIGHUP;
            let signal = if hangs_up { Signal::HUP } else { Signal::TERM };
            if hangs_up {
                self.renew_ports();
            } else {
                self.daemon.ending = true;
                self.daemon.again = None;
            }
            match &mut self.daemon.running {
                Some(running) => {
                    running.signal(signal);
                    if !hangs_up {
                        self.daemon.patience = Some(Instant::now() + FAREWELL);
                    }
                }
                None => self.daemon.over |= !hangs_up,
            }
        }
    }

    /// The end: containers run on with their networks, and where none does, nothing is left but how they ended, if the
    /// daemon has not heard of it.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.link = None;
        let until = Instant::now() + LAST;
        while self.is_busy() && Instant::now() < until {
            self.turn()?;
        }
        let all = |fits: fn(&Stage) -> bool| self.containers.values().all(|container| fits(&container.stage));
        let still = all(|stage| matches!(stage, Stage::Still));
        if all(|stage| matches!(stage, Stage::Still | Stage::Ended(_))) {
            self.finish_dns();
            self.leave_networks();
        }
        if still {
            let parent = format!("/casemate-{}", self.places.instance);
            let beneath = self.tenants.iter().map(String::as_str).chain(["Helpers", "Daemon"]);
            for name in beneath.map(|name| format!("{parent}/{name}")).chain([parent.clone()]) {
                self.finish_child(&["cgroup", "remove", &name]);
            }
        }
        self.tell(&Entry::new("broker.ended").text("version", env!("CARGO_PKG_VERSION")));
        if still { self.places.leave() } else { Ok(()) }
    }

    /// Whether something is under way that would be left half done without us.
    fn is_busy(&self) -> bool {
        let mut containers = self.containers.values();
        self.repair != Repair::Idle
            || containers.any(|one| matches!(one.stage, Stage::Busy) || !one.leaving.is_empty())
    }

    /// At the beginning and the end there is nobody who could wait for us: a child may be waited for.
    pub(crate) fn finish_child(&self, words: &[&str]) {
        let ended = self.own_runtime("casemated.toml", words).stderr(std::process::Stdio::null()).status();
        if let Err(error) = ended {
            crate::say(&Error::io("runtime", &error));
        }
    }

    pub(crate) fn run_dir(&self) -> Result<OwnedFd> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(&self.places.run, flags, rustix::fs::Mode::empty())
            .map_err(|errno| tree::failed(&self.places.run.display().to_string(), errno))
    }
}
