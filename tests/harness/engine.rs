//! Real container engines as tests: a world of their own, and a table of cases.
//!
//! An engine keeps state in fixed places of the host (`/run`, bridges, iptables) and leaves processes behind when
//! it is killed. A [`World`] has its own mount, network and pid namespaces, so that all of it ends with one
//! process, which ends with the test even when that is killed. Control groups are the host's and are swept by name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::engine_runtime::EngineRuntime;
use crate::{Hierarchy, Invocation, json, make_rootfs, sweep, wait_until};

/// Namespaces, a scratch directory and a name for control groups; everything in it dies with it.
#[derive(Debug)]
pub struct World {
    id: String,
    dir: PathBuf,
    keeper: Child,
    init: u32,
    /// Locked as long as the world lives.
    _alive: fs::File,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);
/// The full name of the image in [`World::image_archive`].
pub const IMAGE: &str = "localhost/busybox:latest";
const PREFIX: &str = "/tmp/cm-engine-";

impl World {
    /// Makes one. Must be called on the thread that outlives it: the kernel ties the world's life to that thread.
    ///
    /// # Panics
    /// When it cannot be made; the programs it needs are listed in `packages.txt`.
    pub fn make() -> Self {
        sweep_the_dead();
        // The closing letter keeps one name from being the beginning of another.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("{PREFIX}{}-{serial}z", std::process::id()));
        let id = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let alive = make_alive(&dir, &id);
        fs::create_dir_all(dir.join("capture")).expect("make the scratch directory");
        fs::create_dir_all(dir.join("var")).expect("make the scratch directory");
        // Its init reaps what engines orphan, since a shell waits for any child. A shared root is what a host
        // with systemd has, and what engines need to propagate mounts.
        let script = format!(
            "mount --make-rshared / && mount -t tmpfs -o mode=755 run /run && mkdir -p /run/lock \
             && mkdir -p /var/lib/containers /var/lib/cni && mount --bind {var} /var/lib/containers \
             && ip link set lo up && echo ready >{dir}/ready && while :; do sleep 1; done",
            var = dir.join("var").display(),
            dir = dir.display()
        );
        let keeper = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child=KILL",
            ])
            .args(["--mount-proc", "--propagation", "private", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            // Not the test's own: whoever waits for the end of those would wait for all that dies in here.
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("world.log")).expect("make the world's log"))
            .process_group(0)
            .spawn()
            .expect("setpriv and unshare (package util-linux)");
        let mut world = Self { id, dir, keeper, init: 0, _alive: alive };
        wait_until("the engine's world is ready", || world.dir.join("ready").exists());
        let children = format!("/proc/{0}/task/{0}/children", world.keeper.id());
        let children = fs::read_to_string(children).expect("read the keeper's children");
        world.init = children.trim().parse().expect("the world's init");
        world
    }

    /// A name nobody else has: for control groups, containerd's namespace, containers.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The scratch directory; seen under the same path from inside and outside.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a directory in the scratch directory.
    ///
    /// # Panics
    /// When that fails.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).expect("make a scratch directory");
        path
    }

    /// The first process inside, as the host numbers it.
    pub fn init(&self) -> u32 {
        self.init
    }

    /// A program on the host's side; its output goes to the scratch directory.
    pub fn outside(&self, program: impl AsRef<OsStr>) -> Invocation {
        Invocation::new(&self.dir.join("capture"), program).timeout(Duration::from_secs(60))
    }

    /// A program inside.
    pub fn inside<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Invocation {
        let init = self.init.to_string();
        self.outside("nsenter").args(["-t", &init, "-m", "-n", "-p", "--"]).args(argv)
    }

    /// Starts a daemon inside, its output in `<name>.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn daemon(&self, name: &str, argv: &[&str]) -> Daemon {
        let path = self.dir.join(format!("{name}.log"));
        let log =
            fs::OpenOptions::new().create(true).append(true).open(&path).expect("make the daemon's log");
        let errors = log.try_clone().expect("copy a descriptor");
        let child = Command::new("nsenter")
            .args(["-t", &self.init.to_string(), "-m", "-n", "-p", "--"])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .expect("nsenter (package util-linux)");
        Daemon { child, log: path }
    }

    /// Control groups below the world's own whose name says that they are a container's.
    pub fn cgroups(&self, of_container: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs: Vec<_> = Hierarchy::all().into_iter().map(|h| h.mount.join(&self.id)).collect();
        while let Some(dir) = dirs.pop() {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                if of_container(&entry.file_name().to_string_lossy()) {
                    found.push(entry.path());
                }
                dirs.push(entry.path());
            }
        }
        found
    }

    /// Checks that containers, now removed, left no control group.
    ///
    /// # Panics
    /// When one is still there after some seconds.
    pub fn assert_no_cgroups(&self, of_container: impl Fn(&str) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && !self.cgroups(&of_container).is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = self.cgroups(&of_container);
        let processes: Vec<_> = left.iter().map(|dir| fs::read_to_string(dir.join("cgroup.procs"))).collect();
        assert!(left.is_empty(), "left behind: {left:#?} with {processes:?}");
    }

    /// Puts another content in place of a file of the host, seen only inside.
    ///
    /// # Panics
    /// When that fails.
    pub fn replace_file(&self, path: &str, text: &str) {
        let own = self.make_dir("replaced").join(path.replace('/', "-"));
        fs::write(&own, text).expect("write the other content");
        self.inside(["mount", "--bind", &own.to_string_lossy(), path]).run().ok();
    }

    /// Puts a device node that anyone may open in place of one of the host, as udev would have it; seen only
    /// inside. Nothing happens where the host has none.
    ///
    /// # Panics
    /// When that fails.
    pub fn replace_device(&self, path: &str, major: u32, minor: u32) {
        if !Path::new(path).exists() {
            return;
        }
        let own = self.make_dir("replaced").join(path.replace('/', "-"));
        let own = own.to_string_lossy();
        self.inside(["mknod", "-m", "666", &own, "c", &major.to_string(), &minor.to_string()]).run().ok();
        self.inside(["mount", "--bind", &own, path]).run().ok();
    }

    /// A program that is the runtime under its policy, for engines that give a runtime no arguments of their own.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn wrapper(&self, runtime: &EngineRuntime) -> PathBuf {
        let path = self.dir.join("runtime-under-policy");
        let words = [&[runtime.path().display().to_string()], &runtime.args()[..]].concat().join(" ");
        fs::write(&path, format!("#!/bin/sh\nexec {words} \"$@\"\n")).expect("write the wrapper");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make the wrapper executable");
        path
    }

    /// A root filesystem as a tar archive.
    ///
    /// # Panics
    /// When busybox-static is missing or `tar` fails.
    pub fn rootfs_archive(&self) -> PathBuf {
        let archive = self.dir.join("rootfs.tar");
        if !archive.exists() {
            let rootfs = self.make_dir("rootfs");
            make_rootfs(&rootfs);
            self.archive(&rootfs, &archive);
        }
        archive
    }

    /// An image of one layer in the form `docker save` writes, named `busybox:latest` in full.
    ///
    /// # Panics
    /// When `tar` or `sha256sum` fails.
    pub fn image_archive(&self) -> PathBuf {
        let archive = self.dir.join("image.tar");
        if archive.exists() {
            return archive;
        }
        let layer = self.rootfs_archive();
        let digest = self.outside("sha256sum").arg(&layer).run().ok().text();
        let digest = digest.split(' ').next().unwrap_or_default();
        let image = self.make_dir("image");
        fs::copy(&layer, image.join("layer.tar")).expect("copy the layer");
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
        for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
            fs::write(image.join(name), value.to_string()).expect("write the image's descriptions");
        }
        self.archive(&image, &archive);
        archive
    }

    fn archive(&self, dir: &Path, archive: &Path) {
        self.outside("tar")
            .args(["--numeric-owner", "-cf"])
            .arg(archive)
            .arg("-C")
            .arg(dir)
            .arg(".")
            .run()
            .ok();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.keeper.kill().ok();
        self.keeper.wait().ok();
        if std::env::var_os("CASEMATE_KEEP").is_none() {
            sweep(&self.id, &self.dir);
        }
    }
}

/// A daemon of a world; stopped by pid when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Waits until it answers.
    ///
    /// # Panics
    /// When it ends before, or does not answer within thirty seconds; with the end of its log.
    pub fn wait_for(&mut self, mut answers: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !answers() {
            let ended = self.child.try_wait().expect("wait for the daemon");
            assert!(
                ended.is_none() && Instant::now() < until,
                "the daemon does not answer:\n{}",
                self.log_end(30)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end and waits; kills it when it takes longer than ten seconds.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let until = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > until {
                self.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().ok();
    }

    /// The daemon is the one child of nsenter, which had to fork to enter the pid namespace and ends with it.
    fn signal(&self, signal: Signal) {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let pid = fs::read_to_string(children).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, signal).ok();
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One named case against a running engine.
#[derive(Debug)]
pub struct Case<E> {
    /// What is tried; also selects by `CASEMATE_CASE`.
    pub name: &'static str,
    /// Panics when the engine does not do as it should.
    pub run: fn(&E),
}

/// A table of cases, each named after its function.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$($crate::engine::Case { name: stringify!($name), run: $name }),*] };
}

/// The cases of these tables, without those that a policy makes impossible: by name, each with the reason.
///
/// # Panics
/// When no table has a case of such a name.
pub fn cases_but<'a, E>(tables: &[&'a [Case<E>]], but: &[(&str, &str)]) -> Vec<&'a Case<E>> {
    let mut cases: Vec<_> = tables.iter().flat_map(|table| table.iter()).collect();
    for (name, reason) in but {
        let all = cases.len();
        cases.retain(|case| case.name != *name);
        assert!(cases.len() < all, "there is no case {name}");
        eprintln!("case {name} left out: {reason}");
    }
    cases
}

/// Runs every case, some at once, and reports all that fail, by name.
///
/// # Panics
/// When one failed.
pub fn run_cases<E: Sync>(engine: &E, at_once: usize, cases: &[&Case<E>]) {
    let chosen = std::env::var("CASEMATE_CASE").unwrap_or_default();
    let cases: Vec<_> = cases.iter().filter(|case| case.name.contains(&chosen)).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !run_case(engine, case) {
                        failed.lock().expect("no case panics with the list").push(case.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no case panics with the list");
    assert!(failed.is_empty(), "{} of {} cases failed: {}", failed.len(), cases.len(), failed.join(", "));
}

/// Waits longer than [`wait_until`]: engines take their time to try again.
///
/// # Panics
/// When the condition does not hold within a minute.
#[track_caller]
pub fn wait_patiently(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// On a thread of its own that bears the case's name, so that a panic's message says which case it was.
fn run_case<E: Sync>(engine: &E, case: &Case<E>) -> bool {
    let start = Instant::now();
    let passed = std::thread::scope(|scope| {
        let body = || catch_unwind(AssertUnwindSafe(|| (case.run)(engine))).is_ok();
        let thread = std::thread::Builder::new().name(case.name.to_owned()).spawn_scoped(scope, body);
        thread.expect("start a thread").join().is_ok_and(|passed| passed)
    });
    let verdict = if passed { "ok" } else { "FAILED" };
    eprintln!("case {} {verdict} ({:.1} s)", case.name, start.elapsed().as_secs_f32());
    passed
}

/// Makes the scratch directory with a lock in it, which says that its owner lives: its pid may mean nothing to who asks,
/// in another pid namespace. It gets its name when it is locked.
fn make_alive(dir: &Path, id: &str) -> fs::File {
    let unnamed = dir.with_file_name(format!(".{id}"));
    fs::create_dir_all(&unnamed).expect("make the scratch directory");
    let alive = fs::File::create(unnamed.join("alive")).expect("make the world's lock");
    alive.lock().expect("lock the world");
    fs::rename(&unnamed, dir).expect("name the scratch directory");
    alive
}

/// Removes what a test left that was killed before it could.
fn sweep_the_dead() {
    let entries = fs::read_dir("/tmp").into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        let locked = fs::File::open(path.join("alive")).is_ok_and(|alive| alive.try_lock().is_err());
        if !locked
            && !Path::new("/proc").join(pid).exists()
            && let Some(id) = path.file_name()
        {
            sweep(&id.to_string_lossy(), &path);
        }
    }
}
