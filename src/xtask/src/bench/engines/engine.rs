//! An engine under measurement: started in a folder of its own, asked by the docker client, stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};

pub const OURS: &str = "casemated";
pub const PEER: &str = "dockerd";
/// Beneath which dockerd's containers have their control groups; it leaves that behind.
const GROUP: &str = "bench-dockerd";

/// An engine that runs.
pub struct Engine {
    /// For the table.
    pub name: &'static str,
    environment: Vec<(String, String)>,
    how: How,
}

enum How {
    Casemate { program: PathBuf, data: PathBuf },
    Dockerd { daemon: Child },
}

impl Engine {
    /// Ours, with its own data root, on a free port.
    pub fn casemate(stage: &Path, programs: &Path) -> Outcome<Self> {
        let program = programs.join("casemate");
        let data = stage.join("casemate");
        let mut up = Command::new(&program);
        up.arg("--data-root").arg(&data).arg("up").args(["--detach", "--listen", "127.0.0.1:0", "--libexec"]);
        let said = command::output(up.arg(programs))?;
        let exports = said.lines().filter_map(|line| line.strip_prefix("export "));
        let environment = exports.filter_map(|line| line.split_once('='));
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { name: OURS, environment, how: How::Casemate { program, data } })
    }

    /// dockerd, without networks, which are not measured here.
    pub fn dockerd(stage: &Path) -> Outcome<Self> {
        let home = stage.join("dockerd");
        fs::create_dir_all(&home).doing(home.display())?;
        let socket = home.join("docker.sock");
        let log = File::create(home.join("log")).doing("log of dockerd")?;
        let mut dockerd = Command::new("dockerd");
        dockerd.arg(format!("--host=unix://{}", socket.display()));
        for (flag, name) in [("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")] {
            dockerd.arg(format!("--{flag}={}", home.join(name).display()));
        }
        dockerd.args(["--bridge=none", "--iptables=false", &format!("--cgroup-parent=/{GROUP}")]);
        let errors = log.try_clone().doing("log of dockerd")?;
        let daemon = dockerd.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().doing("dockerd")?;
        let environment = vec![("DOCKER_HOST".to_owned(), format!("unix://{}", socket.display()))];
        let engine = Self { name: PEER, environment, how: How::Dockerd { daemon } };
        let patience = Instant::now() + Duration::from_secs(60);
        while command::output(&mut engine.docker(&["version"])).is_err() {
            if Instant::now() > patience {
                return Err(Failure::new("dockerd", "it does not come up"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(engine)
    }

    /// `docker …`, to be run against it.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.args(arguments).env_remove("DOCKER_CONTEXT");
        docker.envs(self.environment.iter().map(|(name, value)| (name, value)));
        docker.stdin(Stdio::null());
        docker
    }

    /// Milliseconds until a command has ended well.
    pub fn time(&self, arguments: &[&str]) -> Outcome<f64> {
        let mut docker = self.docker(arguments);
        docker.stdout(Stdio::null()).stderr(Stdio::piped());
        let since = Instant::now();
        let output = docker.output().doing("docker")?;
        let taken = since.elapsed().as_secs_f64() * 1000.0;
        if output.status.success() {
            return Ok(taken);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(format!("{}: docker {}", self.name, arguments.join(" ")), said))
    }

    /// Ends it, and everything it has started.
    pub fn stop(self) -> Outcome {
        match self.how {
            How::Casemate { program, data } => {
                command::run(Command::new(program).arg("--data-root").arg(data).arg("down"))
            }
            How::Dockerd { mut daemon } => {
                if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
                    kill_process(pid, Signal::TERM).doing("end dockerd")?;
                }
                daemon.wait().doing("dockerd")?;
                remove_groups();
                Ok(())
            }
        }
    }
}

/// Removes dockerd's parent group from every hierarchy: it is empty now.
fn remove_groups() {
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let group = hierarchy.join(GROUP);
        if group.is_dir()
            && let Err(error) = fs::remove_dir(&group)
        {
            eprintln!("xtask: removing {}: {error}", group.display());
        }
    }
}

/// The first line of what a program says of its version.
pub fn version(argv: &[&str]) -> String {
    let Some((program, arguments)) = argv.split_first() else { return String::new() };
    let said = command::output(Command::new(program).args(arguments)).unwrap_or_default();
    said.lines().next().unwrap_or_default().trim_start_matches("Docker version ").to_owned()
}
