//! Hooks: programs that engines run around a container's life (OCI runtime specification, "POSIX-platform Hooks").

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use casemate_core::plan::Plan;
use casemate_spec::{Error, Result};
use oci_spec::runtime::{Hook, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use crate::log;
use crate::store::Record;

/// A container's state as the specification has it; hooks read it on standard input.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> State<'a> {
    /// The state of a recorded container.
    pub fn new(record: &'a Record, status: &'a str, pid: Option<i32>) -> Self {
        Self {
            oci_version: &record.oci_version,
            id: &record.id,
            status,
            pid,
            bundle: &record.bundle,
            annotations: &record.annotations,
        }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::new("write the container's state", error.to_string()))
    }
}

/// Files in memory from which hooks that the child runs read the state: it knows its pid only later.
#[derive(Debug)]
pub struct StateFiles {
    creating: OwnedFd,
    created: OwnedFd,
}

/// Such files, where the plan has hooks for the child.
pub fn state_files(plan: &Plan) -> Result<Option<StateFiles>> {
    if plan.create_hooks.is_empty() && plan.start_hooks.is_empty() {
        return Ok(None);
    }
    Ok(Some(StateFiles { creating: memory()?, created: memory()? }))
}

impl StateFiles {
    /// The child's copies.
    pub fn for_child(&self) -> Result<(OwnedFd, OwnedFd)> {
        let copy = |fd: &OwnedFd| {
            rustix::io::fcntl_dupfd_cloexec(fd, 0)
                .map_err(|e| Error::os("duplicate a descriptor", e.raw_os_error()))
        };
        Ok((copy(&self.creating)?, copy(&self.created)?))
    }

    /// Writes both states.
    pub fn fill(&self, record: &Record, pid: i32) -> Result<()> {
        write(&self.creating, &State::new(record, "creating", Some(pid)).bytes()?)?;
        write(&self.created, &State::new(record, "created", Some(pid)).bytes()?)
    }
}

/// `prestart` and `createRuntime`, in this order, in the runtime's namespaces.
///
/// # Errors
/// The first that fails; the container is then not created.
pub fn run_before_pivot(spec: &Spec, record: &Record) -> Result<()> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let state = State::new(record, "creating", record.init.map(|init| init.pid)).bytes()?;
    run_all("prestart", hooks.prestart().as_deref(), &state)?;
    run_all("createRuntime", hooks.create_runtime().as_deref(), &state)
}

/// `poststart`, after the program runs. A failure is only warned of, as the specification has it.
pub fn run_poststart(spec: &Spec, record: &Record) {
    let Some(hooks) = spec.hooks() else { return };
    warn_all(
        "poststart",
        hooks.poststart().as_deref(),
        &State::new(record, "running", record.init.map(|i| i.pid)),
    );
}

/// `poststop`, after the container was deleted. A failure is only warned of, as the specification has it.
pub fn run_poststop(spec: &Spec, record: &Record) {
    let Some(hooks) = spec.hooks() else { return };
    warn_all("poststop", hooks.poststop().as_deref(), &State::new(record, "stopped", None));
}

fn run_all(kind: &str, hooks: Option<&[Hook]>, state: &[u8]) -> Result<()> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        run(hook, state).map_err(|error| error.within(format!("error running {kind} hook #{index}")))?;
    }
    Ok(())
}

fn warn_all(kind: &str, hooks: Option<&[Hook]>, state: &State<'_>) {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        if let Err(error) = state.bytes().and_then(|state| run(hook, &state)) {
            log::warn(format_args!("error running {kind} hook #{index}: {error}"));
        }
    }
}

fn run(hook: &Hook, state: &[u8]) -> Result<()> {
    let shown = hook.path().display().to_string();
    let failed = |error: std::io::Error| Error::io(shown.as_str(), &error);
    let input = memory()?;
    write(&input, state)?;
    rustix::fs::seek(&input, rustix::fs::SeekFrom::Start(0))
        .map_err(|e| Error::os("rewind", e.raw_os_error()))?;
    let output = memory()?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(failed);
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
        command.env(key, value);
    }
    command.stdin(Stdio::from(input)).stdout(Stdio::from(copy(&output)?)).stderr(Stdio::from(copy(&output)?));
    let mut child = command.spawn().map_err(failed)?;
    let limit = hook.timeout().and_then(|seconds| u32::try_from(seconds).ok());
    if let Some(seconds) = limit
        && !ends_within(child.id(), seconds)?
    {
        child.kill().map_err(failed)?;
        child.wait().map_err(failed)?;
        return Err(Error::new(shown, format!("hook ran past specified timeout of {seconds}s")));
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let said = said(output);
    let words = if said.is_empty() { String::new() } else { format!(", it said: {said}") };
    Err(Error::new(shown, format!("{status}{words}")))
}

fn ends_within(pid: u32, seconds: u32) -> Result<bool> {
    let failed = |errno: Errno| Error::os("wait for a hook", errno.raw_os_error());
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| failed(Errno::SRCH))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
    let limit = Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map_err(failed)? > 0),
        }
    }
}

/// The first kilobyte of what a hook printed, on one line.
fn said(output: OwnedFd) -> String {
    let mut file = std::fs::File::from(output);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(0)).is_err() || file.take(1024).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn memory() -> Result<OwnedFd> {
    memfd_create("state", MemfdFlags::CLOEXEC)
        .map_err(|errno| Error::os("memfd_create", errno.raw_os_error()))
}

fn write(file: &OwnedFd, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(file.as_fd(), rest)
            .map_err(|errno| Error::os("write the container's state", errno.raw_os_error()))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}
