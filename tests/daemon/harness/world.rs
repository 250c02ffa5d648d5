//! Everything: broker, daemon, shims and containers, with a data root of its own, and the real docker command.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use casemate_spec::wire::{DAEMON, STORE_IDS};
use casemate_tests::{Invocation, Leak, Output, find_leaks, make_rootfs, sweep};
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::disk::Disk;
use super::pki::{Authority, Shape};
use super::programs::libexec;
use super::scratch::Scratch;

/// The administrator of every world.
pub const ADMIN: &str = "casemate://default/root?groups=admin";
/// The image of every world.
pub const IMAGE: &str = "busybox";

/// The world. Whatever it started has ended when it is dropped, and nothing of it is left on the host.
pub struct World {
    // Unmounted before the scratch directory is removed.
    disk: Option<Disk>,
    scratch: Scratch,
    broker: Mutex<Child>,
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
        Self::placed(Scratch::make(), None, config, prepare)
    }

    /// Starts one on a disk of its own, of this size, and imports the image.
    ///
    /// # Errors
    /// This host cannot mount one.
    ///
    /// # Panics
    /// When the world does not come up.
    pub fn on_a_disk(mebibytes: u64) -> Result<Self, String> {
        let scratch = Scratch::make();
        let disk = Disk::mount(&scratch, "data", mebibytes)?;
        let world = Self::placed(scratch, Some(disk), "", |_| ());
        world.import();
        Ok(world)
    }

    fn placed(scratch: Scratch, disk: Option<Disk>, config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let etc = scratch.dir("data/etc");
        let authority = Authority::new("test authority");
        authority.furnish(&etc);
        fs::write(etc.join("casemate.toml"), config).expect("write the configuration");
        prepare(&etc);
        give_to_daemon(&etc);
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let broker = Mutex::new(broker(&scratch, address));
        let world = Self { disk, scratch, broker, address, authority, checked: false };
        world.wait();
        world
    }

    /// Waits until the daemon answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&self) {
        let admin = self.client(ADMIN);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let ended = self.child().try_wait().expect("wait for the broker");
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
        self.child().id()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.broker.lock().expect("the broker's process")
    }

    /// The daemon's process.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.pid_of("casemated")
    }

    /// A process beneath the broker, found by what it is.
    pub fn pid_of(&self, program: &str) -> Option<u32> {
        let children = |pid: u32| -> Vec<u32> {
            let file = format!("/proc/{pid}/task/{pid}/children");
            let text = fs::read_to_string(file).unwrap_or_default();
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
        };
        let mut found = children(self.broker_pid());
        while let Some(pid) = found.pop() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.trim() == program {
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
        self.kill_broker();
        self.restart_broker();
        self.wait();
    }

    /// All that a reboot does to us: no process, no mount, no control group, no interface, no rule, nothing in `/run`. The
    /// disk is as it was.
    ///
    /// # Panics
    /// When it does not come up again.
    pub fn reboot(&mut self) {
        self.kill_broker();
        let instance = self.instance();
        let run = Path::new("/run/casemate").join(&instance);
        sweep(&instance, &run);
        let left = find_leaks(&instance, &run, &run);
        assert!(left.is_empty(), "no reboot leaves {left:#?}");
        self.restart_broker();
        self.wait();
    }

    /// Kills the broker as a crash would.
    ///
    /// # Panics
    /// When the kernel will not.
    pub fn kill_broker(&self) {
        let mut broker = self.child();
        broker.kill().expect("kill the broker");
        broker.wait().expect("wait for the broker");
    }

    /// Starts another for the same data root, after the end of the one before.
    ///
    /// # Panics
    /// When the kernel will not.
    pub fn restart_broker(&self) {
        // A child that it was about to start when it was killed holds its lock until it is another program.
        let lock = Path::new("/run/casemate").join(self.instance()).join("lock");
        if let Ok(lock) = fs::File::open(lock) {
            lock.lock().expect("the broker's lock");
        }
        let another = broker(&self.scratch, self.address);
        *self.child() = another;
    }

    /// Kills the daemon as a crash would, and waits until the broker has started another.
    ///
    /// # Panics
    /// When it has not.
    pub fn crash_daemon(&mut self) {
        assert!(self.kill_daemon(), "there is no daemon");
        std::thread::sleep(Duration::from_millis(50));
        self.wait();
    }

    /// Kills the daemon as a crash would, if there is one.
    pub fn kill_daemon(&self) -> bool {
        let pid = self.daemon_pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    }

    /// Ends everything in good order and checks that nothing is left; done in the end by itself.
    ///
    /// # Panics
    /// When something is left.
    pub fn stop(mut self) {
        self.end();
        self.checked = true;
        let left = self.left();
        if !left.is_empty() {
            self.sweep();
        }
        assert!(left.is_empty(), "left behind: {left:#?}\n{}", self.log());
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.broker_pid()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).ok();
        }
        let until = Instant::now() + Duration::from_secs(30);
        while self.child().try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > until {
                self.child().kill().ok();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is left on the host: by the scratch directory's name, and by the name that the broker gives this data root,
    /// which its control groups, its mounts and its place in `/run` carry.
    fn left(&mut self) -> Vec<Leak> {
        let instance = self.instance();
        self.disk = None;
        let run = Path::new("/run/casemate").join(&instance);
        let mut left = find_leaks(&self.scratch.id(), self.scratch.path(), &run);
        left.extend(find_leaks(&instance, &run, &run));
        left
    }

    fn sweep(&mut self) {
        let instance = self.instance();
        let run = Path::new("/run/casemate").join(&instance);
        sweep(&instance, &run);
        self.disk = None;
        sweep(&self.scratch.id(), self.scratch.path());
    }

    /// What its tables of rules are called, and its interfaces' alias.
    ///
    /// # Panics
    /// When there is no data root.
    pub fn table(&self) -> String {
        format!("casemate-{}", self.instance())
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the data root's path.
    fn instance(&self) -> String {
        let path = fs::canonicalize(self.data()).expect("the data root");
        let script = "printf %s \"$1\" | sha256sum | cut -c1-16";
        let sum = self.outside("sh").args(["-c", script, "sh"]).arg(path).run().ok();
        sum.text()
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
            self.sweep();
            return;
        }
        let left = self.left();
        self.sweep();
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
