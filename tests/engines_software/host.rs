//! Two ways to run a container of the image under a policy: `runtime run` on a bundle, and `docker run`.

use std::sync::Arc;
use std::time::Duration;

use casemate_tests::engine_docker::Docker;
use casemate_tests::{EngineRuntime, Output, Running, Terminal, wait_until};

use crate::bundle::SoftwareBundle;
use crate::relaxed::{RELAXED, Relaxation};
use crate::root;

/// The image under dockerd.
const IMAGE: &str = "software";
/// A compiler or a database being initialised, on a machine that is busy with the other cases.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs containers under one policy.
pub struct Host {
    policy: &'static str,
    docker: Option<Arc<Docker>>,
}

/// A dockerd with the image, and with the policies and each program's relaxed one as runtimes to choose from; `None`
/// when ours is not to be tried.
pub fn daemon(policies: &[&str]) -> Option<Arc<Docker>> {
    EngineRuntime::find("casemate")?;
    let under = |policy: &str| EngineRuntime::under(policy).expect("ours, as before");
    let docker = Docker::start_among(&[], |world| {
        let plain = policies.iter().map(|policy| ((*policy).to_owned(), under(policy)));
        let relaxed = RELAXED.iter().map(|entry| {
            let file = world.dir().join(entry.file());
            std::fs::write(&file, entry.text()).expect("write a policy");
            (entry.name(), under(&file.display().to_string()))
        });
        plain.chain(relaxed).collect()
    });
    let archive = root().with_extension("tar");
    docker.command(["import", &archive.to_string_lossy(), IMAGE]).timeout(LIMIT).run().ok();
    Some(Arc::new(docker))
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The case's name, by which its relaxation is found.
    pub name: &'a str,
    /// The command line.
    pub command: &'a [&'a str],
    /// Where its volumes are.
    pub volumes: &'a [&'a str],
    /// Whose it is from the beginning, in numbers; root's unless said.
    pub user: Option<(u32, u32)>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Host {
    /// `runtime run`.
    pub fn plain(policy: &'static str) -> Self {
        Self { policy, docker: None }
    }

    /// A dockerd that [`daemon`] has started.
    pub fn docker(policy: &'static str, docker: Arc<Docker>) -> Self {
        Self { policy, docker: Some(docker) }
    }

    /// The daemon, where there is one.
    pub fn daemon(&self) -> Option<&Docker> {
        self.docker.as_deref()
    }

    /// Runs a program to its end under its relaxed policy; where it has one, first without, to see that it needs it.
    #[track_caller]
    pub fn job(&self, program: Program<'_>) -> Done {
        self.needs_its_line(program);
        self.run(program, self.relaxation(program))
    }

    /// Starts a server, after the same.
    #[track_caller]
    pub fn service<'a>(&'a self, program: Program<'_>) -> Service<'a> {
        self.needs_its_line(program);
        let relaxed = self.relaxation(program);
        let bundle = match &self.docker {
            Some(docker) => {
                docker
                    .command(words(self.policy, &["-d", "--name", &self.name_of(program)], program, relaxed))
                    .run()
                    .ok();
                None
            }
            None => {
                let mut bundle = SoftwareBundle::new(program, self.policy, relaxed, false);
                bundle.run_detached();
                Some(bundle)
            }
        };
        Service { host: self, name: self.name_of(program), bundle }
    }

    /// Starts a program on a terminal.
    #[track_caller]
    pub fn on_terminal(&self, program: Program<'_>) -> Session {
        let relaxed = self.relaxation(program);
        if let Some(docker) = &self.docker {
            let (running, terminal) =
                docker.on_terminal(words(self.policy, &["--rm", "-it"], program, relaxed));
            return Session { running, terminal, _bundle: None };
        }
        let bundle = SoftwareBundle::new(program, self.policy, relaxed, true);
        let (terminal, files) = Terminal::open();
        terminal.resize(100, 30);
        let running = bundle.command(["run", bundle.id()]).timeout(LIMIT).stdio(files).spawn();
        Session { running, terminal, _bundle: Some(bundle) }
    }

    #[track_caller]
    fn needs_its_line(&self, program: Program<'_>) {
        if let Some(relaxed) = self.relaxation(program) {
            let done = self.run(program, None);
            assert_ne!(done.code, 0, "{} runs without `{}`: {done:?}", program.name, relaxed.line);
        }
    }

    fn run(&self, program: Program<'_>, relaxed: Option<&Relaxation>) -> Done {
        if let Some(docker) = &self.docker {
            return docker
                .command(words(self.policy, &["--rm"], program, relaxed))
                .timeout(LIMIT)
                .run()
                .into();
        }
        let bundle = SoftwareBundle::new(program, self.policy, relaxed, false);
        bundle.command(["run", bundle.id()]).timeout(LIMIT).run().into()
    }

    fn name_of(&self, program: Program<'_>) -> String {
        format!("{}-{}", self.policy, program.name)
    }

    fn relaxation(&self, program: Program<'_>) -> Option<&'static Relaxation> {
        Relaxation::of(program.name, self.policy)
    }
}

fn words(policy: &str, flags: &[&str], program: Program<'_>, relaxed: Option<&Relaxation>) -> Vec<String> {
    let runtime = relaxed.map_or_else(|| policy.to_owned(), Relaxation::name);
    let user = program.user.map(|(uid, gid)| format!("--user={uid}:{gid}"));
    let volumes = program.volumes.iter().flat_map(|volume| ["-v", volume]);
    let words = ["run", "--runtime", &runtime].into_iter().chain(user.as_deref());
    let words = words.chain(flags.iter().copied()).chain(volumes);
    words.chain([IMAGE]).chain(program.command.iter().copied()).map(str::to_owned).collect()
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self { code: output.code(), output: output.stdout(), errors: output.stderr() }
    }
}

/// A server in the background; removed when this goes.
pub struct Service<'a> {
    host: &'a Host,
    name: String,
    bundle: Option<SoftwareBundle>,
}

impl Service<'_> {
    /// Runs a program beside the server, in its container.
    pub fn exec(&self, command: &[&str]) -> Done {
        match (&self.bundle, &self.host.docker) {
            (Some(bundle), _) => bundle.exec(command).into(),
            (None, Some(docker)) => docker.command([&["exec", &self.name], command].concat()).run().into(),
            (None, None) => unreachable!("a service is in a bundle or a daemon"),
        }
    }

    /// Waits until the server answers a program beside it with this.
    #[track_caller]
    pub fn answers(&self, command: &[&str], expected: &str) {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let done = self.exec(command);
            if done.code == 0 && done.output.contains(expected) {
                return;
            }
            assert!(
                self.runs() && std::time::Instant::now() < until,
                "{} does not answer: {done:?}\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn runs(&self) -> bool {
        match (&self.bundle, &self.host.docker) {
            (Some(bundle), _) => bundle.status() == "running",
            (None, Some(docker)) => {
                docker.ok(&["inspect", "--format", "{{.State.Running}}", &self.name]) == "true"
            }
            (None, None) => false,
        }
    }

    /// Its address, where it has one that the host reaches.
    pub fn address(&self) -> Option<String> {
        let docker = self.host.docker.as_deref()?;
        Some(docker.ok(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &self.name]))
    }

    /// What it has written to its standard output and error.
    pub fn log(&self) -> String {
        match (&self.bundle, &self.host.docker) {
            (Some(bundle), _) => bundle.log(),
            (None, Some(docker)) => {
                let output = docker.command(["logs", &self.name]).run();
                output.stdout() + &output.stderr()
            }
            (None, None) => String::new(),
        }
    }

    /// Asks it to end, and waits until it has, in the time an engine gives.
    #[track_caller]
    pub fn stops(&self) {
        match (&self.bundle, &self.host.docker) {
            (Some(bundle), _) => {
                bundle.kill("TERM").ok();
                wait_until("the server ends", || bundle.status() == "stopped");
            }
            (None, Some(docker)) => {
                docker.ok(&["stop", "-t", "10", &self.name]);
                let code = docker.ok(&["inspect", "--format", "{{.State.ExitCode}}", &self.name]);
                assert_eq!(code, "0", "{}", self.log());
            }
            (None, None) => {}
        }
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if let Some(docker) = &self.host.docker {
            // Often on the way out of a failed case: a second panic must not end the other cases.
            let remove = || docker.command(["rm", "-f", "-v", &self.name]).run();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(remove)).ok();
        }
    }
}

/// A program on a terminal.
pub struct Session {
    /// The client.
    pub running: Running,
    /// The terminal it is on.
    pub terminal: Terminal,
    _bundle: Option<SoftwareBundle>,
}
