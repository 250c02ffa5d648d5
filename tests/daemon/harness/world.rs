//! Everything: broker, daemon, shims and containers, with a data root of its own, and the real docker command.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_spec::wire::{DAEMON, STORE_IDS};
use casemate_tests::{Invocation, Output, make_rootfs, sweep};
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::pki::{Authority, Shape};
use super::programs::libexec;
use super::scratch::Scratch;

/// The administrator of every world.
pub const ADMIN: &str = "casemate://default/root?groups=admin";
/// The image of every world.
pub const IMAGE: &str = "busybox";

/// The world. Whatever it started has ended when it is dropped, and nothing of it is left on the host.
pub struct World {
    scratch: Scratch,
    broker: Child,
    address: SocketAddr,
    /// Whom the daemon believes.
    pub authority: Authority,
    checked: bool,
}

impl World {
    /// Starts one, and imports the image.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let world = Self::configured("");
        world.import();
        world
    }

    /// Starts one with this `casemate.toml`, without any image.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn configured(config: &str) -> Self {
        Self::prepared(config, |_| ())
    }

    /// The same, after a change to its configuration's directory.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn prepared(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let scratch = Scratch::make();
        let etc = scratch.dir("data/etc");
        let authority = Authority::new("test authority");
        authority.furnish(&etc);
        fs::write(etc.join("casemate.toml"), config).expect("write the configuration");
        prepare(&etc);
        give_to_daemon(&etc);
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let broker = broker(&scratch, address);
        let mut world = Self { scratch, broker, address, authority, checked: false };
        world.wait();
        world
    }

    fn wait(&mut self) {
        let admin = self.client(ADMIN);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let ended = self.broker.try_wait().expect("wait for the broker");
            assert!(ended.is_none() && Instant::now() < until, "the daemon does not answer:\n{}", self.log());
            if admin.try_request("GET", "/_ping", &[], b"").is_ok_and(|reply| reply.status == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Imports the image, a static busybox.
    ///
    /// # Panics
    /// When that fails.
    pub fn import(&self) {
        let archive = self.rootfs_archive();
        self.docker(["import", &archive.to_string_lossy(), IMAGE]).run().ok();
    }

    /// A root filesystem as a tar archive.
    ///
    /// # Panics
    /// When `tar` fails.
    pub fn rootfs_archive(&self) -> PathBuf {
        let archive = self.scratch.path().join("rootfs.tar");
        if !archive.exists() {
            let rootfs = self.scratch.dir("rootfs");
            make_rootfs(&rootfs);
            let tar = self.outside("tar").args(["--numeric-owner", "-cf"]).arg(&archive);
            tar.arg("-C").arg(&rootfs).arg(".").run().ok();
        }
        archive
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The scratch directory; the data root is `data` in it.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// The data root.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// The broker's process.
    pub fn broker_pid(&self) -> u32 {
        self.broker.id()
    }

    /// The daemon's process, found by what it is.
    pub fn daemon_pid(&self) -> Option<u32> {
        let children = |pid: u32| -> Vec<u32> {
            let file = format!("/proc/{pid}/task/{pid}/children");
            let text = fs::read_to_string(file).unwrap_or_default();
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        };
        let mut found = children(self.broker.id());
        while let Some(pid) = found.pop() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.trim() == "casemated" {
                return Some(pid);
            }
            found.extend(children(pid));
        }
        None
    }

    /// What broker and daemon have said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("broker.log")).unwrap_or_default()
    }

    /// A program on the host.
    pub fn outside(&self, program: &str) -> Invocation {
        Invocation::new(&self.scratch.path().join("capture"), program).timeout(Duration::from_secs(60))
    }

    /// The real docker command, as the administrator.
    pub fn docker<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        self.docker_as(ADMIN, args)
    }

    /// The real docker command, as somebody: `casemate://TENANT/USER?groups=A,B`.
    pub fn docker_as<S: AsRef<str>>(&self, uri: &str, args: impl IntoIterator<Item = S>) -> Invocation {
        let words = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.environment(uri, self.outside("docker")).args(words)
    }

    /// `docker …`, which has to succeed; gives its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.docker(args).run().ok().text()
    }

    /// `docker run --rm --net none FLAGS busybox COMMAND`
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        let words = [&["run", "--rm", "--net", "none"], flags, &[IMAGE], command].concat();
        self.docker(words).run()
    }

    /// The environment by which docker and the SDKs find us.
    pub fn environment(&self, uri: &str, program: Invocation) -> Invocation {
        let name: String = uri.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let certificates = self.scratch.path().join("clients").join(name);
        if !certificates.exists() {
            self.authority.issue(&Shape::client(uri)).write(&self.authority, certificates.clone());
        }
        program
            .env("DOCKER_HOST", format!("tcp://{}", self.address))
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", certificates)
            .env("DOCKER_CONFIG", self.scratch.path().join("docker-config"))
            .env("DOCKER_BUILDKIT", "0")
            // Set on some machines, and stronger than the certificates above for some clients.
            .env("REQUESTS_CA_BUNDLE", "")
            .env("CURL_CA_BUNDLE", "")
    }

    /// A raw client of this identity.
    pub fn client(&self, uri: &str) -> Client {
        let certificate = self.authority.issue(&Shape::client(uri));
        Client::new(self.address, &self.authority, Some(&certificate))
    }

    /// Kills the broker as a crash would, and starts another for the same data root.
    ///
    /// # Panics
    /// When it does not come up again.
    pub fn crash_and_restart_broker(&mut self) {
        self.broker.kill().expect("kill the broker");
        self.broker.wait().expect("wait for the broker");
        self.broker = broker(&self.scratch, self.address);
        self.wait();
    }

    /// Kills the daemon as a crash would, and waits until the broker has started another.
    ///
    /// # Panics
    /// When it has not.
    pub fn crash_daemon(&mut self) {
        let pid = self.daemon_pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("a daemon"), Signal::KILL).expect("kill the daemon");
        std::thread::sleep(Duration::from_millis(50));
        self.wait();
    }

    /// Ends everything in good order and checks that nothing is left; done in the end by itself.
    ///
    /// # Panics
    /// When something is left.
    pub fn stop(mut self) {
        self.end();
        self.checked = true;
        let left =
            casemate_tests::find_leaks(&self.scratch.id(), self.scratch.path(), &self.scratch.dir("none"));
        assert!(left.is_empty(), "left behind: {left:#?}\n{}", self.log());
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.broker.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).ok();
        }
        let until = Instant::now() + Duration::from_secs(30);
        while self.broker.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > until {
                self.broker.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.checked {
            return;
        }
        self.end();
        if std::thread::panicking() {
            eprintln!("the log of broker and daemon:\n{}", self.log());
            sweep(&self.scratch.id(), self.scratch.path());
            return;
        }
        let left =
            casemate_tests::find_leaks(&self.scratch.id(), self.scratch.path(), &self.scratch.dir("none"));
        sweep(&self.scratch.id(), self.scratch.path());
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

fn broker(scratch: &Scratch, address: SocketAddr) -> Child {
    let path = scratch.path().join("broker.log");
    let log = fs::OpenOptions::new().create(true).append(true).open(path).expect("make the log");
    let data = scratch.path().join("data");
    Command::new(libexec().join("casemate-broker"))
        .arg("--data-root")
        .arg(&data)
        .arg("--config")
        .arg(data.join("etc"))
        .args(["--listen", &address.to_string()])
        .arg("--libexec")
        .arg(libexec())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("copy a descriptor"))
        .stderr(log)
        .spawn()
        .expect("casemate-broker")
}

/// What the daemon must read, its group may.
fn give_to_daemon(dir: &Path) {
    let mode = if dir.is_dir() { 0o750 } else { 0o640 };
    chown(dir, Some(0), Some(STORE_IDS + DAEMON)).expect("give a file to the daemon's group");
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("open a file to the daemon");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        give_to_daemon(&entry.path());
    }
}
