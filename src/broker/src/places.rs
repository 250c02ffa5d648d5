//! The places of the data root and of the running instance: who owns them, and handles on them.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_spec::wire::{DAEMON, HexId, SHIM, STORE_IDS};
use casemate_spec::{Error, Result, user_namespace};
use rustix::fs::{FlockOperation, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::arguments::Arguments;
use crate::tree;

/// The host's root.
pub const ROOT: (u32, u32) = (0, 0);
/// Root of every image, as it lies on the disk.
pub const STORE: (u32, u32) = (STORE_IDS, STORE_IDS);
/// Who shims are.
pub const SHIMS: (u32, u32) = (STORE_IDS + SHIM, STORE_IDS + DAEMON);
const DAEMONS: (u32, u32) = (STORE_IDS + DAEMON, STORE_IDS + DAEMON);

/// Mount points of the root that daemon and helpers stand on.
const SYSTEM: [&str; 21] = [
    "proc",
    "dev",
    "tmp",
    "run",
    "var",
    "var/tmp",
    "var/lib",
    "var/lib/casemate",
    "var/log",
    "var/log/casemate",
    "etc",
    "etc/casemate",
    "etc/ssl",
    "usr",
    "usr/lib",
    "usr/lib/ssl",
    "usr/sbin",
    "usr/share",
    "view",
    "target",
    "changes",
];
/// Files to mount over, in the same.
const SYSTEM_FILES: [&str; 6] = [
    "etc/resolv.conf",
    "etc/hosts",
    "etc/nsswitch.conf",
    "etc/localtime",
    "usr/sbin/casemated",
    "usr/sbin/casemate-dns",
];
/// What every image has: places to mount on, and the mark by which programs know that they are contained.
const INIT: [&str; 7] = ["dev", "dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "etc"];
const INIT_FILES: [&str; 5] = ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", "dev/console"];

/// Handles and paths. Paths are ours: of what the operator named, made canonical, and of names that are ids.
#[derive(Debug)]
pub struct Places {
    /// The data root.
    pub data: PathBuf,
    /// The configuration.
    pub config: PathBuf,
    /// `/run/casemate/<instance>`
    pub run: PathBuf,
    /// The first 16 digits of the data root's digest.
    pub instance: String,
    /// We are root of a user namespace only.
    pub rootless: bool,
    /// `store`
    pub store: OwnedFd,
    /// `store/layers`
    pub layers: OwnedFd,
    /// `store/staging`
    pub staging: OwnedFd,
    /// `store/containers`
    pub containers: OwnedFd,
    /// `store/volumes`
    pub volumes: OwnedFd,
    /// `store/trash`: what is being removed.
    pub trash: OwnedFd,
    /// `logs`
    pub logs: OwnedFd,
    /// `audit`
    pub audit: OwnedFd,
    /// `bundles` of the instance
    pub bundles: OwnedFd,
    /// `shims` of the instance
    pub shims: OwnedFd,
    /// `networks` of the instance: their documents
    pub networks: OwnedFd,
    /// Held as long as we are the broker of this data root.
    _lock: OwnedFd,
}

impl Places {
    /// Makes what is missing, and takes the data root for us.
    ///
    /// # Errors
    /// Another broker has it; the kernel's.
    pub fn make(arguments: &Arguments) -> Result<Self> {
        let (data, at) = root(&arguments.data, 0o711)?;
        let (config, _) = root(&arguments.config, 0o755)?;
        let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
        let instance: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (runs_path, runs) = root(&arguments.run, 0o755)?;
        let run_at = tree::ensure_dir(&runs, &instance, ROOT, 0o700)?;
        let lock = lock(&run_at)?;
        let private = |at: &OwnedFd, name| tree::ensure_dir(at, name, ROOT, 0o700);
        let store = private(&at, "store")?;
        private(&at, "pki")?;
        tree::ensure_dir(&at, "daemon", DAEMONS, 0o700)?;
        private(&run_at, "runtime")?;
        let places = Self {
            run: runs_path.join(&instance),
            rootless: is_rootless(),
            layers: private(&store, "layers")?,
            staging: private(&store, "staging")?,
            containers: private(&store, "containers")?,
            volumes: private(&store, "volumes")?,
            trash: private(&store, "trash")?,
            logs: tree::ensure_dir(&at, "logs", (0, STORE_IDS + DAEMON), 0o750)?,
            audit: private(&at, "audit")?,
            bundles: private(&run_at, "bundles")?,
            shims: private(&run_at, "shims")?,
            networks: private(&run_at, "networks")?,
            _lock: lock,
            store,
            data,
            config,
            instance,
        };
        furnish(&places.store, "system", &SYSTEM, &SYSTEM_FILES, ROOT)?;
        furnish(&places.store, "init", &INIT, &INIT_FILES, STORE)?;
        tree::sync(&at)?;
        Ok(places)
    }

    /// Nothing runs, and nothing is left of the instance.
    ///
    /// # Errors
    /// The kernel's.
    pub fn leave(&self) -> Result<()> {
        let (_, runs) = root(self.run.parent().unwrap_or(&self.run), 0o755)?;
        tree::remove(runs, &self.instance)
    }

    /// A path of the store's, for the runtime.
    pub fn stored(&self, kind: &str, id: &HexId) -> PathBuf {
        self.data.join("store").join(kind).join(id.as_str())
    }

    /// A path for the runtime, of something else in the store.
    pub fn in_store(&self, name: &str) -> PathBuf {
        self.data.join("store").join(name)
    }

    /// The name of our tables of rules.
    pub fn table(&self) -> String {
        format!("casemate-{}", self.instance)
    }

    /// A bundle's directory.
    pub fn bundle(&self, name: &str) -> PathBuf {
        self.run.join("bundles").join(name)
    }

    /// A control group's path. Tenants are written small, so that nothing of ours is one of theirs. A user has none to
    /// name: the runtime finds out whether one can be had beneath our own.
    pub fn cgroup(&self, parent: &str, name: &str) -> String {
        if self.rootless {
            return String::new();
        }
        format!("/casemate-{}/{parent}/{name}", self.instance)
    }
}

/// Whether we are root of a user namespace only, whose map is not that of the first one (user_namespaces(7)).
fn is_rootless() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !user_namespace::is_first(&map))
}

/// A directory that the operator named, and everything above it, made when missing. Its path is made canonical, so that
/// one data root has one instance whatever it is called.
fn root(path: &Path, mode: u32) -> Result<(PathBuf, OwnedFd)> {
    let shown = || path.display().to_string();
    std::fs::create_dir_all(path).map_err(|error| Error::io(shown(), &error))?;
    let path = std::fs::canonicalize(path).map_err(|error| Error::io(shown(), &error))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| tree::failed(&shown(), errno))?;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| tree::failed(&shown(), errno))?;
    if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        let why = "others may write to it, or own it";
        return Err(Error::new(shown(), why).hint(format!("chown root {0}; chmod go-w {0}", shown())));
    }
    // Others pass through a data root, to what is theirs in it.
    if mode == 0o711 && stat.st_mode & 0o111 != 0o111 {
        rustix::fs::fchmod(&opened, Mode::from(mode)).map_err(|errno| tree::failed(&shown(), errno))?;
    }
    Ok((path, opened))
}

fn lock(run: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &str| {
        rustix::fs::openat(run, name, flags, Mode::from(0o600)).map_err(|errno| tree::failed(name, errno))
    };
    let lock = open("lock")?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::new("data root", "another broker has it").hint("casemate down stops it"))?;
    // One that has just left took its place along.
    if rustix::fs::fstat(&lock).is_ok_and(|stat| stat.st_nlink == 0) {
        return Err(Error::new("data root", "another broker is leaving it").hint("start this program again"));
    }
    let mut pid = File::from(open("broker.pid")?);
    let written = pid.set_len(0).and_then(|()| writeln!(pid, "{}", std::process::id()));
    written.map_err(|error| Error::io("broker.pid", &error))?;
    Ok(lock)
}

fn furnish(store: impl AsFd, name: &str, dirs: &[&str], files: &[&str], owner: (u32, u32)) -> Result<()> {
    let top = tree::ensure_dir(store, name, owner, 0o755)?;
    let split = |path: &str| match path.rsplit_once('/') {
        Some((parent, name)) => (parent.to_owned(), name.to_owned()),
        None => (".".to_owned(), path.to_owned()),
    };
    for path in dirs {
        let (parent, name) = split(path);
        let mode = if matches!(*path, "tmp" | "var/tmp" | "dev/shm") { 0o1777 } else { 0o755 };
        tree::ensure_dir(tree::open_dir(&top, &parent)?, &name, owner, mode)?;
    }
    for path in files {
        let (parent, name) = split(path);
        let parent = tree::open_dir(&top, &parent)?;
        if !tree::exists(&parent, &name) {
            tree::write(&parent, &name, b"", owner, 0o644, false)?;
        }
    }
    Ok(())
}
