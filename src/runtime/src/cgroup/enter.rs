//! How a process gets into a container's cgroups: by itself, at birth, or moved by us.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use casemate_spec::{Error, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::create::{Made, make};
use super::dir::{Dir, os};
use super::layout::below;
use super::place::clean;
use super::{Cgroup, SIGKILL, V1, systemd};

/// What a child needs to enter on its own.
#[derive(Debug, Default)]
pub struct Entry {
    /// The v1 `tasks` files, open for writing; the child, still of one thread, writes `"0"` to each. Moving oneself
    /// through `tasks` needs no write lock on the thread-group semaphore, whose first taker waits for an RCU grace
    /// period: moving another process through `cgroup.procs` does.
    pub tasks: Vec<OwnedFd>,
    /// The v2 directory for `CLONE_INTO_CGROUP` (clone(2), Linux 5.7).
    pub unified: Option<OwnedFd>,
}

impl Cgroup {
    /// Opens what a child needs to enter. Empty under the systemd driver until [`Cgroup::adopt`].
    ///
    /// # Errors
    /// When a `tasks` file cannot be opened for writing.
    pub fn entry(&self) -> Result<Entry> {
        let mut entry = Entry::default();
        // The CPU controller last: whoever enters it is rescheduled at once, in a busy host behind everyone else.
        let (cpu, others): (Vec<&V1>, Vec<&V1>) = self.v1.iter().partition(|v1| v1.is("cpu"));
        for v1 in others.into_iter().chain(cpu) {
            let fd = v1.dir.open("tasks", OFlags::WRONLY);
            entry.tasks.push(fd.map_err(|e| os(format!("open {}/tasks", v1.dir.path().display()), e))?);
        }
        if let Some(unified) = &self.unified {
            entry.unified = Some(unified.again()?.into_fd());
        }
        Ok(entry)
    }

    /// As [`Cgroup::entry`], for a process that joins a running container: when the container's own init has moved
    /// to a cgroup below (systemd in a container does) and v2 lets no process into the upper one, the entry leads
    /// there.
    ///
    /// # Errors
    /// As [`Cgroup::entry`].
    pub fn entry_beside(&self, init: i32) -> Result<Entry> {
        let mut entry = self.entry()?;
        let (Some(place), Some(unified)) = (&self.placement.unified, &self.unified) else { return Ok(entry) };
        let passed_on = unified.read_if_there("cgroup.subtree_control")?.unwrap_or_default();
        if passed_on.trim().is_empty() {
            return Ok(entry);
        }
        let file = format!("/proc/{init}/cgroup");
        let text = std::fs::read_to_string(&file).map_err(|e| Error::io(format!("read {file}"), &e))?;
        let at = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        let inner = below(&place.root, Path::new(at))
            .and_then(|path| path.strip_prefix(&place.below).map(Path::to_owned).ok())
            .filter(|inner| !inner.as_os_str().is_empty());
        if let Some(inner) = inner
            && let Some(dir) = unified.again()?.beneath(&inner)?
        {
            entry.unified = Some(dir.into_fd());
        }
        Ok(entry)
    }

    /// Takes in the newborn init under the systemd driver: starts the unit around it, joins what systemd leaves to us
    /// and sets the limits. Does nothing with the cgroupfs driver. To be called before init is released.
    ///
    /// # Errors
    /// When systemd refuses the unit, or as [`super::Placement::create`]; the process is killed then and what was
    /// made is removed.
    pub fn adopt(self, pid: i32) -> Result<Self> {
        let (Some(unit), Some((resources, rules))) = (&self.placement.systemd, &self.pending) else {
            return Ok(self);
        };
        let started = systemd::start(unit, pid, resources, Some(rules)).and_then(|()| {
            let cgroup = make(&self.placement, &mut Made::default())?;
            cgroup.attach(pid)?;
            cgroup.limit(Some(resources), rules)?;
            Ok(cgroup)
        });
        started.inspect_err(|_| self.abandon())
    }

    /// Takes back a unit that could not be completed. What goes wrong now is less than what led here.
    fn abandon(&self) {
        // Killed before the unit is stopped: systemd would ask politely first, and an init may be deaf to that.
        let killed = self.placement.open().and_then(|cgroup| cgroup.kill(SIGKILL));
        match killed.and(self.placement.remove()) {
            Ok(()) | Err(_) => {}
        }
    }

    /// Moves a process into every directory through `cgroup.procs`: for a process that cannot enter by itself.
    ///
    /// # Errors
    /// When the kernel refuses, for instance `ESRCH` for a process that has ended.
    pub fn attach(&self, pid: i32) -> Result<()> {
        let pid = pid.to_string();
        for dir in self.v1.iter().map(|v1| &v1.dir).chain(&self.unified) {
            // A process that is just being born may be refused with EINVAL for a moment.
            let moved = (0..5).find_map(|_| match dir.try_write("cgroup.procs", &pid) {
                Err(Errno::INVAL) => {
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    None
                }
                other => Some(other),
            });
            moved
                .unwrap_or(Err(Errno::INVAL))
                .map_err(|e| os(format!("move process {pid} to cgroup {}", dir.path().display()), e))?;
        }
        Ok(())
    }

    /// The cgroup below that `exec --cgroup` names: one `PATH` for all hierarchies, or any number of
    /// `CONTROLLER[,CONTROLLER...]:PATH`. The directories must exist.
    ///
    /// # Errors
    /// When an argument is malformed, names a hierarchy that is not there, or leads to no existing directory.
    pub fn sub(&self, arguments: &[String]) -> Result<Self> {
        let mut wanted: Vec<(&str, PathBuf)> = Vec::new();
        for argument in arguments {
            let (controllers, path) = match argument.split_once(':') {
                Some((controllers, path)) if !path.contains(':') => (controllers, path),
                Some(_) => return Err(malformed(argument, "more than one ':'")),
                None if arguments.len() > 1 => {
                    return Err(malformed(argument, "missing <controller>: prefix"));
                }
                None => ("*", argument.as_str()),
            };
            let (_, path) =
                clean(Path::new(path)).map_err(|_root| malformed(argument, "it names no cgroup below"))?;
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(malformed(argument, "empty <controller> prefix"));
                }
                if wanted.iter().any(|(have, _)| *have == controller) {
                    return Err(malformed(argument, "controller specified multiple times"));
                }
                if controller != "*" && !self.v1.iter().any(|v1| v1.is(controller)) {
                    return Err(malformed(argument, "unknown controller"));
                }
                wanted.push((controller, path.clone()));
            }
        }
        self.descend(&wanted)
    }

    fn descend(&self, wanted: &[(&str, PathBuf)]) -> Result<Self> {
        let mut sub = Self::empty(&self.placement);
        let open = |dir: &Dir, path: &Path| match dir.again()?.beneath(path)? {
            Some(found) => Ok(found),
            None => Err(os(format!("open cgroup {}", dir.path().join(path).display()), Errno::NOENT)),
        };
        for v1 in &self.v1 {
            let path = wanted.iter().find(|(controller, _)| *controller == "*" || v1.is(controller));
            let dir = path.map_or_else(|| v1.dir.again(), |(_, path)| open(&v1.dir, path))?;
            sub.v1.push(V1 { controllers: v1.controllers.clone(), dir });
        }
        if let Some(unified) = &self.unified {
            let all = wanted.iter().find(|(controller, _)| *controller == "*");
            // Beside v1 the v2 side holds no limits, and the path need not exist there.
            sub.unified = Some(match all {
                Some((_, path)) if self.v1.is_empty() => open(unified, path)?,
                Some((_, path)) => match unified.again()?.beneath(path)? {
                    Some(found) => found,
                    None => unified.again()?,
                },
                None => unified.again()?,
            });
        }
        Ok(sub)
    }
}

impl V1 {
    fn is(&self, controller: &str) -> bool {
        self.controllers
            .iter()
            .any(|have| have == controller || have.strip_prefix("name=") == Some(controller))
    }
}

fn malformed(argument: &str, why: &str) -> Error {
    Error::new(format!("invalid --cgroup argument: {argument}"), why)
}
