//! A private dockerd with the runtime under test, and the docker client to ask it.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::engine::{Daemon, World};
use crate::{EngineRuntime, Invocation, Output, Terminal, Value, json, skip};

/// The image every case runs: busybox with all its applets.
pub const IMAGE: &str = "busybox";

/// A dockerd in a world of its own.
#[derive(Debug)]
pub struct Docker {
    // Dropped in this order: the daemon is asked to end before its world does.
    daemon: Daemon,
    world: World,
    argv: Vec<String>,
    socket: PathBuf,
    ours: bool,
}

impl Docker {
    /// Starts one whose default runtime is `runtime`, with more flags for dockerd, and imports the image.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(runtime: &EngineRuntime, flags: &[&str]) -> Self {
        Self::start_prepared(runtime, flags, |_| ())
    }

    /// The same, after a change to its world.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_prepared(runtime: &EngineRuntime, flags: &[&str], prepare: impl FnOnce(&World)) -> Self {
        Self::start_among(flags, |world| {
            prepare(world);
            vec![("tested".to_owned(), runtime.clone())]
        })
    }

    /// The same with several runtimes, each by a name to select it with `--runtime`; the first is the default. They are
    /// made with the world at hand, in which their policies may be written.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_among(flags: &[&str], prepare: impl FnOnce(&World) -> Vec<(String, EngineRuntime)>) -> Self {
        let world = World::make();
        let runtimes = prepare(&world);
        let dir = world.dir().display().to_string();
        let ours = runtimes.iter().all(|(_, runtime)| runtime.is_ours());
        let config = write_config(&world, &runtimes);
        let socket = world.dir().join("docker.sock");
        let mut argv: Vec<String> = [
            "dockerd".to_owned(),
            format!("--host=unix://{}", socket.display()),
            format!("--data-root={dir}/data"),
            format!("--exec-root={dir}/exec"),
            format!("--pidfile={dir}/dockerd.pid"),
            format!("--cgroup-parent=/{}", world.id()),
            format!("--config-file={}", config.display()),
        ]
        .into();
        argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let daemon = world.daemon("dockerd", &argv.iter().map(String::as_str).collect::<Vec<_>>());
        let mut docker = Self { daemon, world, argv, socket, ours };
        docker.wait();
        let archive = docker.world.rootfs_archive();
        docker.command(["import", &archive.to_string_lossy(), IMAGE]).run().ok();
        docker
    }

    /// The daemon is killed and started again; containers live on when it was started with `--live-restore`.
    ///
    /// # Panics
    /// When it does not come up again.
    pub fn crash_and_restart(&mut self) {
        self.daemon.kill();
        let argv: Vec<_> = self.argv.iter().map(String::as_str).collect();
        self.daemon = self.world.daemon("dockerd", &argv);
        self.wait();
    }

    /// The world it lives in.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Capabilities this host lets anyone have at most.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn bounding_set() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("read the own status");
        let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).expect("a bounding set")
    }

    /// Whether a request for all capabilities can succeed. runc fails where the host withholds one; by the
    /// runtime specification (config.md, capabilities) a runtime should not, and ours grants the others.
    ///
    /// Counts a skip when it cannot.
    pub fn grants_all(&self) -> bool {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        let all = last.trim().parse().map_or(u64::MAX, |last: u32| (2 << last) - 1);
        let granted = self.ours || Self::bounding_set() == all;
        if !granted {
            skip("this host withholds a capability, and runc then refuses --privileged");
        }
        granted
    }

    /// The end of the daemon's log.
    pub fn log_end(&self) -> String {
        self.daemon.log_end(30)
    }

    /// `docker …`
    pub fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        let mut command = client(&self.world, &self.socket);
        for arg in args {
            command = command.arg(arg.as_ref());
        }
        command
    }

    /// `docker …` that has to succeed; gives its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.command(args).run().ok().text()
    }

    /// `docker run --rm FLAGS busybox COMMAND`
    pub fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        self.command(self.run_args(flags, command)).run()
    }

    /// The standard output of a shell script in a container of its own.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sh(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, &["sh", "-c", script]).ok().text()
    }

    /// The arguments of [`Docker::run`].
    pub fn run_args<'a>(&self, flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--rm", "--runtime", "tested"], flags, &[IMAGE], command].concat()
    }

    /// A container in the background that runs a shell script; removed when the guard goes.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn background(&self, name: &'static str, flags: &[&str], script: &str) -> Container<'_> {
        let args =
            [&["run", "-d", "--runtime", "tested", "--name", name], flags, &[IMAGE, "sh", "-c", script]];
        self.ok(&args.concat());
        Container { docker: self, name }
    }

    /// A container that sleeps.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn sleeper(&self, name: &'static str, flags: &[&str]) -> Container<'_> {
        self.background(name, flags, "trap exit TERM; sleep 1000 & wait")
    }

    /// Runs a client on a terminal of 100 columns and 30 rows.
    pub fn on_terminal<S: AsRef<str>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> (crate::Running, Terminal) {
        let (terminal, files) = Terminal::open();
        terminal.resize(100, 30);
        (self.command(args).stdio(files).spawn(), terminal)
    }

    fn wait(&mut self) {
        let Self { daemon, world, socket, .. } = self;
        daemon.wait_for(|| client(world, socket).arg("version").run().success());
    }
}

/// A container in the background.
#[derive(Debug)]
pub struct Container<'a> {
    docker: &'a Docker,
    name: &'static str,
}

impl Container<'_> {
    /// A field of `docker inspect`, by a Go template such as `{{.State.Status}}`.
    ///
    /// # Panics
    /// When the container is gone.
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        self.docker.ok(&["inspect", "--format", template, self.name])
    }

    /// Everything of `docker inspect`.
    ///
    /// # Panics
    /// When the container is gone.
    #[track_caller]
    pub fn inspect_all(&self) -> Value {
        self.docker.command(["inspect", self.name]).run().ok().json()
    }

    /// `docker exec FLAGS NAME COMMAND`
    pub fn exec(&self, flags: &[&str], command: &[&str]) -> Output {
        self.docker.command([&["exec"], flags, &[self.name], command].concat()).run()
    }

    /// The standard output of a shell script that is run in the container.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&[], &["sh", "-c", script]).ok().text()
    }

    /// `docker VERB FLAGS NAME`, which has to succeed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn does(&self, verb: &str, flags: &[&str]) -> String {
        self.docker.ok(&[&[verb], flags, &[self.name]].concat())
    }

    /// Waits for its end and gives the exit code.
    ///
    /// # Panics
    /// When the answer is no number.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        self.does("wait", &[]).parse().expect("an exit code")
    }

    /// What it has written.
    ///
    /// # Panics
    /// When the container is gone.
    #[track_caller]
    pub fn logs(&self) -> String {
        self.does("logs", &[])
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Often on the way out of a failed case: a second panic must not end the other cases.
        catch_unwind(|| self.docker.command(["rm", "-f", "-v", self.name]).run()).ok();
    }
}

/// Writes `daemon.json`: no flag of dockerd gives a runtime its arguments.
fn write_config(world: &World, runtimes: &[(String, EngineRuntime)]) -> PathBuf {
    let entry = |runtime: &EngineRuntime| json!({"path": runtime.path(), "runtimeArgs": runtime.args()});
    let entries: serde_json::Map<_, _> =
        runtimes.iter().map(|(name, runtime)| (name.clone(), entry(runtime))).collect();
    let default = runtimes.first().map(|(name, _)| name);
    let config = world.dir().join("daemon.json");
    let text = json!({"runtimes": entries, "default-runtime": default}).to_string();
    std::fs::write(&config, text).expect("write dockerd's configuration");
    config
}

fn client(world: &World, socket: &Path) -> Invocation {
    world
        .outside("docker")
        .arg(format!("--host=unix://{}", socket.display()))
        .env("DOCKER_CONFIG", world.dir().join("docker-config"))
        .env("DOCKER_BUILDKIT", "0")
}
