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

    /// dockerd, with the networks that it makes of itself, or without: they stay behind on the host that it was on.
    pub fn dockerd(stage: &Path, networks: bool) -> Outcome<Self> {
        let home = stage.join("dockerd");
        fs::create_dir_all(&home).doing(home.display())?;
        let socket = home.join("docker.sock");
        let log = File::create(home.join("log")).doing("log of dockerd")?;
        let mut dockerd = Command::new("dockerd");
        dockerd.arg(format!("--host=unix://{}", socket.display()));
        for (flag, name) in [("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")] {
            dockerd.arg(format!("--{flag}={}", home.join(name).display()));
        }
        dockerd.arg(format!("--cgroup-parent=/{GROUP}"));
        if !networks {
            dockerd.args(["--bridge=none", "--iptables=false"]);
        }
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

    /// How `curl` asks it: options, and where the API begins.
    pub fn curl(&self) -> (Vec<String>, String) {
        let of = |name: &str| {
            let found = self.environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let host = of("DOCKER_HOST");
        if let Some(socket) = host.strip_prefix("unix://") {
            return (vec!["--unix-socket".to_owned(), socket.to_owned()], "http://docker/v1.41".to_owned());
        }
        let certificates = Path::new(of("DOCKER_CERT_PATH"));
        let options = [("--cacert", "ca.pem"), ("--cert", "cert.pem"), ("--key", "key.pem")];
        let options = options
            .iter()
            .flat_map(|(option, name)| [(*option).to_owned(), certificates.join(name).display().to_string()]);
        (options.collect(), host.replacen("tcp", "https", 1) + "/v1.41")
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
