//! Recording: a workload runs for real in a container of its own, and what it does becomes the tightest policy for it.
//!
//! The container is made by this same program, `run` on a copy of the bundle's configuration whose filter hands every
//! system call to a listener ([`workshop`]). The recorder holds the listener, looks at each call while its caller
//! waits ([`observe`]), and lets the kernel do it ([`session`]). What no listener sees, capabilities, comes from the
//! kernel's trace events ([`trace`]). A keeper, a second process, cleans up even when the recorder is killed.

mod arguments;
mod caller;
mod calls;
mod capabilities;
mod document;
mod keeper;
mod needs;
mod observe;
mod policy;
mod profile;
mod seen;
mod session;
mod summary;
mod trace;
mod usage;
mod verdict;
mod workshop;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};

use casemate_spec::{Error, Result};
use serde_json::Value;

pub use arguments::RecordArgs;

use crate::birth::Bundle;
use crate::cli::{Global, LogFormat, Rootless};
use capabilities::{Watch, infer};
use keeper::Keeper;
use seen::Seen;
use session::{End, Session, Signals, door};
use trace::Trace;
use usage::Usage;
use workshop::Workshop;

/// What a recording runs under unless told: as contained as under other runtimes, so that nothing which the recorded
/// policy could allow is refused while recording.
const POLICY: &str = "baseline";

/// Records a bundle.
///
/// # Errors
/// The bundle cannot be run, or what it needs cannot be written.
pub fn record(global: &Global, args: &RecordArgs) -> Result<ExitCode> {
    if let Some(id) = &args.keeper {
        return keeper::keep(global, id, &args.bundle);
    }
    if global.store.is_some() {
        return Err(Error::new("record", "it makes a bundle of its own, and --store is about this one"));
    }
    let mut global = global.clone();
    global.policy.get_or_insert_with(|| POLICY.to_owned());
    let bundle = Bundle::open(&global, Some(&args.bundle))?;
    let config: Value = serde_json::from_slice(&bundle.bytes)
        .map_err(|error| Error::new("config.json", error.to_string()))?;
    workshop::output(&args.output)?;
    verdict::try_place(&global, &args.output)?;
    let mut seen = Seen::default();
    let (end, unseen) = watch(&global, args, &bundle, &config, &mut seen)?;
    if seen.calls.is_empty() {
        return Err(Error::new(
            "record",
            format!("the program did not start ({}), so there is nothing to write", end.status),
        ));
    }
    let needed = if seen.traced { seen.capabilities.clone() } else { infer(&seen) };
    let capabilities = capabilities::names(&needed, &given(&bundle));
    let command = command(args, &config);
    store(&args.output, "seccomp.json", &pretty(&profile::profile(&seen, &unseen))?)?;
    store(&args.output, "recording.json", &pretty(&seen)?)?;
    let mut policy = policy::policy(&seen, &capabilities, &command);
    let admitted = verdict::settle(&global, &args.output, &bundle, &mut policy, &mut seen)?;
    let text = summary::summary(&seen, &capabilities, &admitted, &end, &args.output);
    std::io::stderr().write_all(text.as_bytes()).map_err(|error| Error::io("print the summary", &error))?;
    let code = end.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(if end.interrupted { ExitCode::SUCCESS } else { ExitCode::from(code) })
}

/// Runs the bundle and watches it; gives how it ended, and the calls that could not be watched.
fn watch(
    global: &Global,
    args: &RecordArgs,
    bundle: &Bundle,
    config: &Value,
    seen: &mut Seen,
) -> Result<(End, Vec<String>)> {
    let program = args.program.iter().map(|word| {
        word.to_str().map(str::to_owned).ok_or_else(|| Error::new("record", format!("{word:?} is not UTF-8")))
    });
    let program = program.collect::<Result<Vec<_>>>()?;
    let signals = Signals::begin()?;
    let workshop = Workshop::new()?;
    let keeper = match Keeper::start(&mut itself(global), &workshop) {
        Ok(keeper) => keeper,
        Err(error) => {
            Workshop::remove(&workshop.directory)?;
            return Err(error);
        }
    };
    let mut child = None;
    let kernel = bundle.facts.kernel;
    let outcome = workshop::watched(config, &bundle.path, &program, &workshop.socket(), kernel).and_then(
        |(config, unseen)| {
            workshop.write(&config)?;
            let door = door(&workshop.socket())?;
            let watch = Watch::new(trace(&workshop, seen));
            let runtime = child.insert(run(global, &workshop)?);
            let usage = Usage::of(global, &workshop.id)?;
            let end = Session::new(door, signals, runtime, watch, usage).run(seen)?;
            Ok((end, unseen))
        },
    );
    // After a failure there is no listener, so nothing in the container can go on: the keeper ends it, and with it
    // the runtime.
    let cleaned = keeper.finish(global, &workshop);
    if let Some(mut child) = child {
        child.wait().map_err(|error| Error::io("wait for the runtime", &error))?;
    }
    let outcome = outcome?;
    cleaned.map(|()| outcome)
}

fn trace(workshop: &Workshop, seen: &mut Seen) -> Option<Trace> {
    match Trace::begin(&workshop.id) {
        Ok(trace) => Some(trace),
        Err(error) => {
            seen.note(format!("{error}: capabilities are inferred from the calls made"));
            None
        }
    }
}

fn run(global: &Global, workshop: &Workshop) -> Result<Child> {
    let mut command = itself(global);
    command.args(["run", "--bundle"]).arg(&workshop.directory).arg(&workshop.id);
    command.spawn().map_err(|error| Error::io("start the runtime", &error))
}

/// This program, with the same host, state directory and policy.
fn itself(global: &Global) -> Command {
    let mut command = Command::new("/proc/self/exe");
    for (flag, path) in
        [("--root", &global.root), ("--log", &global.log), ("--config-dir", &global.config_dir)]
    {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    if global.log_format == LogFormat::Json {
        command.args(["--log-format", "json"]);
    }
    match global.rootless {
        Rootless::Auto => {}
        Rootless::True => drop(command.args(["--rootless", "true"])),
        Rootless::False => drop(command.args(["--rootless", "false"])),
    }
    if let Some(policy) = &global.policy {
        command.args(["--policy", policy]);
    }
    for (flag, is_set) in
        [("--debug", global.debug), ("--systemd-cgroup", global.systemd_cgroup), ("--audit", global.audit)]
    {
        if is_set {
            command.arg(flag);
        }
    }
    command
}

/// Every capability that the container can come to have.
fn given(bundle: &Bundle) -> BTreeSet<String> {
    let process = bundle.admitted.config().spec.process().as_ref();
    let sets = process.and_then(|process| process.capabilities().as_ref());
    let all = sets.into_iter().flat_map(|sets| [sets.bounding(), sets.effective(), sets.permitted()]);
    all.flatten().flatten().map(|capability| format!("CAP_{capability}")).collect()
}

/// What was run, in one line.
fn command(args: &RecordArgs, config: &Value) -> String {
    if !args.program.is_empty() {
        let words: Vec<_> = args.program.iter().map(|word| word.to_string_lossy()).collect();
        return words.join(" ");
    }
    let words = config.pointer("/process/args").and_then(Value::as_array).into_iter().flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn pretty(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::new("write the recording", error.to_string()))
}

/// Writes a file whole, or leaves the old one.
fn store(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    let next = directory.join(format!(".{name}.{}", std::process::id()));
    let failed = |error: std::io::Error| Error::io(format!("write {}", path.display()), &error);
    // A policy that its group may write to is not taken.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&next).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| std::fs::rename(&next, &path)).map_err(failed)
}
