//! `delete`: from any state, finished or not, back to nothing.

use std::process::ExitCode;
use std::time::Duration;

use casemate_spec::{Error, Result};

use super::kill::SIGKILL;
use crate::choice::HostConfig;
use crate::cli::{DeleteArgs, Global};
use crate::store::{CONFIG, Container, Home, Init, Root, Status, missing};
use crate::{hooks, ids, log};

/// How long a killed init may take to die; one in an uninterruptible wait may take for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container.
///
/// # Errors
/// "container does not exist" (with `--force` that is success), or it runs and `--force` was not given; what was
/// left cannot be removed.
pub fn delete(global: &Global, args: &DeleteArgs) -> Result<ExitCode> {
    let Some(home) = Root::home(global, &args.id)? else {
        return absent(args);
    };
    let lock = match home.lock() {
        Ok(lock) => lock,
        // Somebody else deleted it while we waited.
        Err(error) if args.force && error == missing(&args.id) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error),
    };
    match home.load() {
        Ok(Some(record)) => destroy(Container::of(home, record, Some(lock)), args.force),
        // `create` had no time to write what it would do, so it had done nothing.
        Ok(None) => {
            forget_ids(global, &home);
            home.remove().and_then(|()| absent(args))
        }
        Err(error) if args.force => {
            log::warn(format_args!("{error}; its control groups, if any, cannot be found"));
            forget_ids(global, &home);
            home.remove().map(|()| ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

/// Gives back what a `create` took and had no time to record. Failing at it loses nothing: the range of a home that is
/// gone is taken back by whoever looks for one.
fn forget_ids(global: &Global, home: &Home) {
    let pool = HostConfig::load(global).map_or_else(|_| ids::Settings::default(), |host| host.ids);
    if let Err(error) = ids::release_all(&pool.directory, home.path()) {
        log::debug(format_args!("{}: {error}", home.id()));
    }
}

/// Ends the container's processes, removes its control groups, gives its ids back and removes its directory, in this
/// order, so that every step can be taken again after a crash.
///
/// # Errors
/// It runs and `force` is not given; a process does not die, something cannot be removed.
pub fn destroy(container: Container, force: bool) -> Result<ExitCode> {
    let init = container.init()?;
    match container.status_with(init.as_ref())? {
        Status::Stopped | Status::Created => {}
        _ if force => {}
        status => {
            let why =
                format!("cannot delete container {} that is not stopped: {status}", container.home().id());
            return Err(Error::new("", why));
        }
    }
    let id = container.home().id().clone();
    end(&container, init.as_ref()).map_err(|error| error.within(&id))?;
    // Read first, run last: the hooks come after the container is gone, and so is its copy of the configuration.
    let config = container.home().read(CONFIG)?;
    // A pool that is not to be trusted any more keeps no container: the range of a home that is gone is free all the same.
    if let Some(Err(error)) = container.record().ids.as_ref().map(|ids| ids.release(container.home().path()))
    {
        log::warn(format_args!("{id}: {error}"));
    }
    container.home().remove()?;
    if let Some(config) = config.filter(|config| may_have_hooks(config)) {
        match casemate_spec::parse(&config) {
            Ok(config) => hooks::run_poststop(&config.spec, container.record()),
            Err(error) => log::warn(format_args!("{id}: poststop hooks: {error}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Few containers have hooks to run now, and parsing costs more than all else that is left to do. The name may be
/// written with escapes, too.
fn may_have_hooks(config: &[u8]) -> bool {
    std::str::from_utf8(config).is_ok_and(|text| text.contains("\"poststop\"") || text.contains("\\u"))
}

fn end(container: &Container, init: Option<&Init>) -> Result<()> {
    let cgroup = container.cgroup()?;
    if let Some(init) = init {
        let there = init.signal(SIGKILL)?;
        // On cgroup v1 a frozen process does not even die.
        if let Some(cgroup) = &cgroup
            && cgroup.frozen()?
        {
            cgroup.thaw()?;
        }
        if there && !init.wait(PATIENCE)? {
            return Err(Error::new("", "container init still running 10 seconds after SIGKILL"));
        }
    }
    let Some(cgroup) = cgroup else { return Ok(()) };
    // Without an init of ours nobody of ours was ever in there: if somebody is, the cgroup is not ours, and
    // `create` died before it could find out.
    if container.record().init.is_some() {
        cgroup.kill(SIGKILL)?;
        return cgroup.remove();
    }
    if let Err(error) = cgroup.remove() {
        log::warn(format_args!("{}: {error}", container.home().id()));
    }
    Ok(())
}

fn absent(args: &DeleteArgs) -> Result<ExitCode> {
    if args.force { Ok(ExitCode::SUCCESS) } else { Err(missing(&args.id)) }
}
