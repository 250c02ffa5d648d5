//! A runtime under measurement, called as an engine calls it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use crate::bench::case::{Case, Profile};
use crate::bench::floor::Floor;
use crate::command::{self, shown};
use crate::failure::{Doing as _, Failure, Outcome};

/// How long any one call may take.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
const PARALLEL: usize = 8;
const CROWD: usize = 100;

/// Ours under the policy of that name.
pub const BASELINE: &str = "baseline";
/// Ours under the policy of that name.
pub const HARDENED: &str = "hardened";

/// The contenders that are installed; ours first, if it is built.
pub fn all(ours: &Path, only: &[String], youki: Option<&Path>, bench: &Path) -> Outcome<Vec<Contender>> {
    let ours = Some(ours.to_path_buf()).filter(|program| program.is_file());
    let found = [
        // Like is compared with like: the peers add nothing to a bundle either.
        ("casemate", Some("oci"), ours.clone()),
        ("runc", None, command::find("runc")),
        ("crun", None, command::find("crun")),
        ("youki", None, youki.map(Path::to_path_buf)),
        (BASELINE, Some(BASELINE), ours.clone()),
        (HARDENED, Some(HARDENED), ours),
    ];
    found
        .into_iter()
        .filter(|(name, ..)| only.is_empty() || only.iter().any(|wanted| wanted == name))
        .filter_map(|(name, policy, program)| Some(Contender::new(name, policy, program?, bench)))
        .collect()
}

/// One runtime, with a state folder of its own and its long-running containers for `exec`.
pub struct Contender {
    name: &'static str,
    policy: Option<&'static str>,
    program: PathBuf,
    bench: PathBuf,
    state: PathBuf,
    serial: AtomicUsize,
    running: Vec<(Profile, Running)>,
}

struct Running {
    id: String,
    init: Pid,
}

impl Contender {
    fn new(
        name: &'static str,
        policy: Option<&'static str>,
        program: PathBuf,
        bench: &Path,
    ) -> Outcome<Self> {
        let state = PathBuf::from(format!("/run/casemate-bench-{}/{name}", std::process::id()));
        fs::create_dir_all(&state).doing(state.display())?;
        let serial = AtomicUsize::new(0);
        Ok(Self { name, policy, program, bench: bench.to_path_buf(), state, serial, running: Vec::new() })
    }

    /// Its name in the table.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is measured for what its policy costs, and not against the peers.
    pub fn is_policy(&self) -> bool {
        [BASELINE, HARDENED].contains(&self.name)
    }

    /// Whether the case says something of it.
    pub fn takes(&self, case: Case) -> bool {
        !self.is_policy() || case.is_of_policies()
    }

    /// What it says of its own version, on one line.
    pub fn version(&self) -> String {
        let said = command::output(Command::new(&self.program).arg("--version")).unwrap_or_default();
        said.lines().next().unwrap_or_default().to_owned()
    }

    /// One sample, in the case's unit.
    pub fn measure(&mut self, case: Case, floor: &Floor) -> Outcome<f64> {
        match case {
            Case::Lifecycle(profile) => self.lifecycle(profile).map(milliseconds),
            Case::Run(profile) => self.run(profile).map(milliseconds),
            Case::Exec(profile) => self.exec(profile).map(milliseconds),
            Case::Parallel => self.crowd().map(milliseconds),
            Case::Peak(profile) => self.peak(profile, floor),
            Case::Size => {
                let file = fs::metadata(&self.program).doing(self.program.display())?;
                Ok(file.len() as f64 / 1024.0)
            }
        }
    }

    fn lifecycle(&self, profile: Profile) -> Outcome<Duration> {
        let id = self.next_id();
        let pid_file = self.state.join(format!("{id}.pid"));
        let created = self.timed(self.create(&id, profile, "true", &pid_file))?;
        let started = self.timed(self.call(&["start", &id]))?;
        reap(read_pid(&pid_file)?)?;
        let deleted = self.timed(self.call(&["delete", &id]))?;
        Ok(created + started + deleted)
    }

    fn run(&self, profile: Profile) -> Outcome<Duration> {
        let id = self.next_id();
        let mut command = self.call(&["run", "--bundle"]);
        command.arg(profile.bundle(&self.bench, self.name, "true")).arg(&id);
        self.timed(command)
    }

    fn exec(&mut self, profile: Profile) -> Outcome<Duration> {
        if !self.running.iter().any(|(kept, _)| *kept == profile) {
            let running = self.start_detached(profile)?;
            self.running.push((profile, running));
        }
        let (_, running) = self
            .running
            .iter()
            .find(|(kept, _)| *kept == profile)
            .ok_or_else(|| Failure::new("exec", "no container runs"))?;
        self.timed(self.call(&["exec", &running.id, "/bin/true"]))
    }

    fn crowd(&self) -> Outcome<Duration> {
        let left = AtomicUsize::new(CROWD);
        let take =
            || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let begun = Instant::now();
        let started: Vec<Outcome<Running>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..PARALLEL)
                .map(|_| {
                    scope.spawn(|| {
                        std::iter::from_fn(|| take().then(|| self.start_detached(Profile::None)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        });
        let took = begun.elapsed();
        let mut outcome = Ok(took);
        for running in started {
            if let Err(failure) = running.and_then(|running| self.stop(&running)) {
                outcome = Err(failure);
            }
        }
        outcome
    }

    /// The figure is written by the measuring parent, which must be small: see `peak.c`.
    fn peak(&self, profile: Profile, floor: &Floor) -> Outcome<f64> {
        let id = self.next_id();
        let pid_file = self.state.join(format!("{id}.pid"));
        let create = self.create(&id, profile, "sleep", &pid_file);
        let mut command = Command::new(floor.peak_program());
        command.arg(create.get_program()).args(create.get_args());
        let said = self.quiet(&mut command)?;
        self.stop(&Running { id, init: read_pid(&pid_file)? })?;
        let figure = said.lines().last().unwrap_or_default();
        figure.parse().doing(format!("peak memory {figure:?}"))
    }

    fn start_detached(&self, profile: Profile) -> Outcome<Running> {
        let id = self.next_id();
        let pid_file = self.state.join(format!("{id}.pid"));
        let mut command = self.call(&["run", "--detach", "--bundle"]);
        command
            .arg(profile.bundle(&self.bench, self.name, "sleep"))
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(&id);
        self.timed(command)?;
        Ok(Running { id, init: read_pid(&pid_file)? })
    }

    fn stop(&self, running: &Running) -> Outcome {
        rustix::process::kill_process(running.init, rustix::process::Signal::KILL).doing(&running.id)?;
        reap(running.init)?;
        self.timed(self.call(&["delete", &running.id])).map(drop)
    }

    fn create(&self, id: &str, profile: Profile, program: &str, pid_file: &Path) -> Command {
        let mut command = self.call(&["create", "--bundle"]);
        command.arg(profile.bundle(&self.bench, self.name, program)).arg("--pid-file").arg(pid_file).arg(id);
        command
    }

    fn call(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.state.join("root"));
        command.args(self.policy.iter().flat_map(|policy| ["--policy", policy])).args(args);
        command
    }

    fn timed(&self, mut command: Command) -> Outcome<Duration> {
        let begun = Instant::now();
        self.quiet(&mut command)?;
        Ok(begun.elapsed())
    }

    /// Stderr goes to a file: a container that lives on would hold a pipe open.
    fn quiet(&self, command: &mut Command) -> Outcome<String> {
        let file = self.state.join(format!("{}.err", self.serial.fetch_add(1, Ordering::Relaxed)));
        let stderr = File::create(&file).doing(file.display())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let status = end_of(command);
        let said = fs::read_to_string(&file).unwrap_or_default();
        fs::remove_file(&file).doing(file.display())?;
        if status?.success() { Ok(said) } else { Err(Failure::new(shown(command), said.trim())) }
    }

    fn next_id(&self) -> String {
        format!("bench-{}-{}-{}", self.name, std::process::id(), self.serial.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        for (_, running) in &self.running {
            if let Err(failure) = self.stop(running) {
                eprintln!("xtask: cleaning up: {failure}");
            }
        }
        // What a failed measurement has left.
        let left = fs::read_dir(self.state.join("root")).into_iter().flatten().flatten();
        for container in left {
            let id = container.file_name().to_string_lossy().into_owned();
            if let Err(failure) = self.timed(self.call(&["delete", "--force", &id])) {
                eprintln!("xtask: cleaning up: {failure}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.state) {
            eprintln!("xtask: cleaning up: {}: {error}", self.state.display());
        }
        // The last contender removes the folder of all; for the others it is not empty yet.
        if let Some(shared) = self.state.parent() {
            fs::remove_dir(shared).unwrap_or_default();
        }
    }
}

/// Waits on a pidfd, which wakes us at once and lets us give up on a runtime that hangs.
fn end_of(command: &mut Command) -> Outcome<ExitStatus> {
    let line = shown(command);
    let mut child = command.spawn().doing(&line)?;
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::new(&line, "no pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(&line)?;
    let mut events = [PollFd::new(&pidfd, PollFlags::IN)];
    if poll(&mut events, Some(&PATIENCE)).doing(&line)? == 0 {
        child.kill().doing(&line)?;
        child.wait().doing(&line)?;
        return Err(Failure::new(line, format!("still running after {} s", PATIENCE.tv_sec)));
    }
    child.wait().doing(line)
}

fn reap(pid: Pid) -> Outcome {
    waitpid(Some(pid), WaitOptions::empty())
        .map(drop)
        .doing(format!("wait for the container's process {pid:?}"))
}

fn read_pid(file: &Path) -> Outcome<Pid> {
    let text = fs::read_to_string(file).doing(file.display())?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Failure::new(file.display(), format!("no pid: {text:?}")))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
