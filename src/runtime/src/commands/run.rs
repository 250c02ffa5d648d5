//! `run`: `create` and `start` in one, and by default the wait for the end.

use std::process::ExitCode;

use casemate_spec::Result;

use super::delete;
use super::start::give;
use crate::birth::{
    Born, Bundle, Console, Foreground, Starter, bear, explain, follow, keep_descriptors, refresh,
};
use crate::cli::{Global, RunArgs};
use crate::store::Root;
use crate::{hooks, log, standby};

/// Runs the command; its exit code is the program's, or 128 + the signal that killed it.
///
/// # Errors
/// As `create` and `start`.
pub fn run(global: &Global, args: &RunArgs) -> Result<ExitCode> {
    keep_descriptors(args.birth.preserve_fds)?;
    let bundle = Bundle::open_to_make(global, args.birth.bundle.as_deref())?;
    bundle.tell(&args.id);
    let socket = args.birth.console_socket.as_deref();
    let console = Console::choose(bundle.wants_terminal(), args.detach, socket)?;
    let (theirs, ours) = console.map_or((None, None), |console| (Some(console.theirs), console.ours));
    let foreground = if args.detach { None } else { Some(Foreground::begin(!args.no_subreaper)?) };
    let born = bear(global, &args.birth, &args.id, Starter::Now, theirs, bundle)?;
    let Born { home, record, ready, admitted, plan } = born;
    let spec = &admitted.config().spec;
    let pid = ready.pid.as_raw_nonzero().get();
    let mut trouble = None;
    refresh(&record);
    let started = ready.start(|listener| give(spec, &record, pid, &listener, &mut trouble));
    let pidfd = match started {
        Ok(pidfd) => pidfd,
        Err(failure) => {
            remove(global, args);
            return Err(trouble.unwrap_or_else(|| explain(&plan, failure)));
        }
    };
    hooks::run_poststart(spec, &record);
    drop(home);
    let Some(foreground) = foreground else {
        standby::tell(pid);
        return Ok(ExitCode::SUCCESS);
    };
    let code = follow(&foreground, &pidfd, ours.as_ref());
    if !args.keep {
        remove(global, args);
    }
    code
}

/// The program's own end, or the failure to start it, is what the caller asked about.
fn remove(global: &Global, args: &RunArgs) {
    if let Err(error) = Root::locked(global, &args.id).and_then(|container| delete::destroy(container, true))
    {
        log::warn(format_args!("delete {}: {error}", args.id));
    }
}
