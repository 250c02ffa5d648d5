//! The daemon by itself: the test is at the broker's end of the channel. It greets, takes what the daemon says for the
//! audit log, makes networks as a host with one route would, and refuses everything else, as a broker does that knows none
//! of these containers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use casemate_spec::wire::{Answer, Ask, Audited, Host, Refusal, RefusalKind, Stored, Subnet};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};

use super::channel::{receive, reply};
use super::client::Client;
use super::pki::{Authority, Certificate, Shape, write_whole};
use super::programs::libexec;
use super::scratch::Scratch;

/// The one route of the host that it is on.
const ROUTE: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 17, 0, 0), 16);

/// The daemon.
pub struct Alone {
    scratch: Scratch,
    daemon: Child,
    address: SocketAddr,
    /// Whom it believes.
    pub authority: Authority,
    audited: Arc<Mutex<Vec<Audited>>>,
}

impl Alone {
    /// Starts one with this configuration.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(config: &str) -> Self {
        let scratch = Scratch::make();
        let etc = scratch.dir("etc");
        let authority = Authority::new("test authority");
        authority.furnish(&etc);
        std::fs::write(etc.join("casemate.toml"), config).expect("write the configuration");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a channel");
        let log = std::fs::File::create(scratch.path().join("daemon.log")).expect("make the log");
        let daemon = Command::new(libexec().join("casemated"))
            .arg("--etc")
            .arg(&etc)
            .arg("--home")
            .arg(scratch.dir("home"))
            .arg("--logs")
            .arg(scratch.dir("logs"))
            .stdin(theirs)
            .stdout(log.try_clone().expect("copy a descriptor"))
            .stderr(log)
            .spawn()
            .expect("casemated");
        let audited = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&audited);
        std::thread::spawn(move || attend(&ours, &listener, &heard));
        let mut alone = Self { scratch, daemon, address, authority, audited };
        alone.wait();
        alone
    }

    fn wait(&mut self) {
        let admin = self.client("casemate://default/root?groups=admin");
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let ended = self.daemon.try_wait().expect("wait for the daemon");
            assert!(ended.is_none() && Instant::now() < until, "the daemon does not answer:\n{}", self.log());
            if admin.try_request("GET", "/_ping", &[], b"").is_ok_and(|reply| reply.status == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("daemon.log")).unwrap_or_default()
    }

    /// A file of its configuration.
    pub fn etc(&self, name: &str) -> PathBuf {
        self.scratch.path().join("etc").join(name)
    }

    /// A client with a fresh certificate of this identity.
    pub fn client(&self, uri: &str) -> Client {
        self.client_with(&self.authority.issue(&Shape::client(uri)))
    }

    /// A client with this certificate.
    pub fn client_with(&self, certificate: &Certificate) -> Client {
        Client::new(self.address, &self.authority, Some(certificate))
    }

    /// Publishes the revocation list of now, and has the daemon look.
    ///
    /// # Panics
    /// When the daemon is gone.
    pub fn publish_revocations(&self) {
        write_whole(&self.etc("tls/crl.pem"), &self.authority.revocations());
        self.look();
    }

    /// Has the daemon look at its files.
    ///
    /// # Panics
    /// When it is gone.
    pub fn look(&self) {
        let pid = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::HUP).expect("signal the daemon");
    }

    /// What it has said for the audit log since this was last asked, once there are so many lines: they are under way
    /// when an answer comes, and may be read after it.
    ///
    /// # Panics
    /// When there are never so many.
    #[track_caller]
    pub fn audited(&self, count: usize) -> Vec<Audited> {
        casemate_tests::wait_until("the audit log is told", || {
            self.audited.lock().expect("the list").len() >= count
        });
        std::mem::take(&mut *self.audited.lock().expect("the list"))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// Answers the daemon until it ends.
fn attend(socket: &OwnedFd, listener: &TcpListener, audited: &Mutex<Vec<Audited>>) {
    while let Some(request) = receive(socket) {
        let (answer, with) = match request.ask {
            Ask::Hello { .. } => {
                let host = Host {
                    cgroup_driver: "cgroupfs".to_owned(),
                    cgroup_version: 2,
                    policy: "hardened".to_owned(),
                    policies: vec!["hardened".to_owned(), "strict".to_owned()],
                    ..Host::default()
                };
                (Ok(Answer::Hello { host, running: Vec::new() }), Some(listener.as_fd()))
            }
            Ask::Audit(said) => {
                audited.lock().expect("the list").push(said);
                (Ok(Answer::Done), None)
            }
            Ask::List => (Ok(Answer::Stored(Stored::default())), None),
            Ask::Limit { .. } | Ask::Farewell { .. } | Ask::DropNetwork { .. } => (Ok(Answer::Done), None),
            Ask::MakeNetwork { network } => {
                let routed = Subnet { address: ROUTE.0.into(), prefix: ROUTE.1, gateway: None };
                match network.subnets.iter().any(|subnet| subnet.overlaps(&routed)) {
                    true => {
                        let message = "network: its range has a route already".to_owned();
                        (Err(Refusal { kind: RefusalKind::Conflict, message, hint: None }), None)
                    }
                    false => (Ok(Answer::Done), None),
                }
            }
            other => {
                let message = format!("there is no broker here for {other:?}");
                (Err(Refusal { kind: RefusalKind::Unsupported, message, hint: None }), None)
            }
        };
        reply(socket, request.number, answer, with);
    }
}
