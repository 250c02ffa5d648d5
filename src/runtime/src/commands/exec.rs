//! `exec`: one more process in a running container.

use std::process::ExitCode;

use casemate_core::birth::{self, Outfit};
use casemate_core::plan::{Plan, Space};
use casemate_core::procfs::Proc;
use casemate_core::report::Record as Word;
use casemate_core::sys::landlock::abi;
use casemate_policy::Admitted;
use casemate_spec::{Error, Result};
use oci_spec::runtime::Spec;
use rustix::process::Pid;

use super::process_of;
use super::start::give;
use crate::birth::{
    Console, Foreground, explain, follow, hand_over_streams, judged_again, keep_descriptors,
    keep_out_of_reach, keep_out_of_reach_early, preserved, write_pid_file,
};
use crate::choice;
use crate::cli::{ExecArgs, Global};
use crate::plan::{self, Context};
use crate::standby;
use crate::store::{CONFIG, Container, Record, Root, Status};

/// What `exec` exits with when it could not run the program.
const FAILED: u8 = 255;

/// Runs the command; its exit code is the program's, or 128 + the signal that killed it.
///
/// # Errors
/// With exit code 255: the container is not running, the process is refused, or it cannot be run.
pub fn exec(global: &Global, args: &ExecArgs) -> Result<ExitCode> {
    enter(global, args).map_err(|error| {
        let code = error.exit_code();
        // One that is told by its cause keeps it.
        error.within("exec failed").exit(if code == 1 { FAILED } else { code })
    })
}

fn enter(global: &Global, args: &ExecArgs) -> Result<ExitCode> {
    keep_descriptors(args.preserve_fds)?;
    let container = Root::container(global, &args.target.id)?;
    let init = running(&container, args.ignore_paused)?;
    let bytes = container.home().read(CONFIG)?;
    let bytes = bytes.ok_or_else(|| Error::new("config.json", "the container has lost its copy"))?;
    let mut config = casemate_spec::parse(&bytes)?;
    keep_out_of_reach_early(&config.spec, container.record().ids.is_some())?;
    let process = process_of::process(&config.spec, args)?;
    config.spec.set_process(Some(process));
    let chosen = choice::kept(global, &container)?;
    let (admitted, tried) = judged_again(global, &chosen, config, container.record())?;
    keep_out_of_reach(&admitted)?;
    if let Some(tried) = tried {
        tried.tell(&args.target.id, "exec");
    }
    let spec = &admitted.config().spec;
    let spaces = spaces(spec, init.pid())?;
    let plan = visit_plan(&admitted, container.record(), args)?;
    let terminal = plan.process.terminal.is_some();
    let console = Console::choose(terminal, args.detach, args.console_socket.as_deref())?;
    let (theirs, ours) = console.map_or((None, None), |console| (Some(console.theirs), console.ours));
    let foreground = if args.detach { None } else { Some(Foreground::begin(false)?) };
    let entry = entry(container.record(), args, init.pid())?;
    let outfit = Outfit { tasks: entry.tasks, cgroup: entry.unified, console: theirs, ..Outfit::default() };
    let failed = |failure| explain(&plan, failure);
    if let Some(ids) = &container.record().ids {
        hand_over_streams(&ids.maps(), plan.process.identity.uid)?;
    }
    let visitor = birth::visit(&plan, outfit, init.into_fd(), spaces).map_err(failed)?;
    let pid = visitor.pid.as_raw_nonzero().get();
    after_birth(&visitor, spec, container.record())?;
    visitor.say(Word::Go).map_err(failed)?;
    let mut trouble = None;
    let entered = visitor.entered(|listener| give(spec, container.record(), pid, &listener, &mut trouble));
    entered.map_err(|failure| trouble.take().unwrap_or_else(|| failed(failure)))?;
    if let Some(path) = &args.pid_file {
        write_pid_file(path, pid)?;
    }
    match foreground {
        None => {
            standby::tell(pid);
            Ok(ExitCode::SUCCESS)
        }
        Some(foreground) => follow(&foreground, &visitor.pidfd, ours.as_ref()),
    }
}

fn after_birth(visitor: &birth::Newborn, spec: &Spec, record: &Record) -> Result<()> {
    let Some(score) = spec.process().as_ref().and_then(|process| process.oom_score_adj()) else {
        return Ok(());
    };
    let proc = Proc::open().map_err(|errno| Error::os("open /proc", errno.raw_os_error()))?;
    crate::birth::set_oom_score(&proc, visitor.pid, score, record.rootless)
}

fn running(container: &Container, ignore_paused: bool) -> Result<crate::store::Init> {
    let init = container.init()?;
    let paused = || Error::new("", "cannot exec in a paused container (use --ignore-paused to override)");
    match (container.status_with(init.as_ref())?, init) {
        (Status::Paused, _) if !ignore_paused => Err(paused()),
        (Status::Running | Status::Created | Status::Paused, Some(init)) => Ok(init),
        _ => Err(Error::new("", "cannot exec in a stopped container")),
    }
}

/// The container's namespaces, but those that are this process's own as well: there is nothing to enter then.
fn spaces(spec: &Spec, init: Pid) -> Result<Vec<Space>> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut spaces = Vec::new();
    for namespace in listed.into_iter().flatten() {
        let space = plan::space_kind(namespace.typ());
        let of = |who: &str| {
            let path = format!("/proc/{who}/ns/{}", space.file());
            rustix::fs::stat(&path)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|errno| Error::os(path, errno.raw_os_error()))
        };
        if of(&init.as_raw_nonzero().to_string())? != of("self")? {
            spaces.push(space);
        }
    }
    Ok(spaces)
}

fn visit_plan(admitted: &Admitted, record: &Record, args: &ExecArgs) -> Result<Plan> {
    let spec = &admitted.config().spec;
    let context = Context {
        id: &args.target.id,
        bundle: &record.bundle,
        placement: None,
        no_pivot: false,
        new_keyring: false,
        preserve_fds: preserved(args.preserve_fds),
        listen_fds: crate::birth::activated(),
        window: if args.console_socket.is_none() { crate::birth::window() } else { None },
        in_user_namespace: false,
        keep_groups: crate::birth::keeps_groups(spec.linux().as_ref()),
        ids: record.ids.as_ref().map(|ids| ids.first),
        landlock_abi: abi(),
        store: None,
    };
    plan::visit(spec, admitted.confinement(), &context)
}

fn entry(record: &Record, args: &ExecArgs, init: Pid) -> Result<crate::cgroup::Entry> {
    let Some(placement) = &record.cgroup else { return Ok(crate::cgroup::Entry::default()) };
    let cgroup = placement.open()?;
    if args.cgroup.is_empty() {
        return cgroup.entry_beside(init.as_raw_nonzero().get());
    }
    cgroup.sub(&args.cgroup)?.entry()
}
