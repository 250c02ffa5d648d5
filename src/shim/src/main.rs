//! The `casemate-shim` program: one beside each process of a container, from its start to its end.
//!
//! Holds: a process's standard streams, its log, its exit status; as `docker-init`, a container's first process.
//! Never: policy, TLS, a thread; privilege, once the runtime has returned.
//! Imports: `casemate-core`, `casemate-spec`.
//! If broken: output or an exit status is lost; what it may reach then is a log directory.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod birth;
mod connections;
mod exit;
mod init;
mod input;
mod log;
mod oom;
mod order;
mod relay;
mod seal;
mod signals;
mod standby;
mod streams;
mod terminal;

use std::ffi::{CStr, OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use casemate_spec::wire::{Order, Outcome};
use casemate_spec::{Error, Result};
use rustix::io::Errno;

use birth::{Newborn, Refused};
use order::Given;
use relay::{Parts, Relay};
use signals::Signals;
use standby::Standby;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(OsStr::to_str);
    let (name, end) = match name {
        Some("docker-init") => ("docker-init", init::run(args.collect())),
        Some(init::LAUNCHER) => ("docker-init", init::launch(&args.collect::<Vec<_>>())),
        _ => ("casemate-shim", shim(args.next()).map(|()| ExitCode::SUCCESS)),
    };
    end.unwrap_or_else(|error| {
        complain(name, &error);
        ExitCode::from(error.exit_code())
    })
}

/// Standard error may be closed or full; there is nobody left to tell.
fn complain(program: &str, error: &Error) {
    let text = format!("{program}: {error}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// The shim from its order to the process's end. `runtime` stands by until the order comes, where it is named; that may be
/// never, and then both end.
fn shim(runtime: Option<OsString>) -> Result<()> {
    let signals = Signals::collect()?;
    // Its own session: neither a terminal's keys nor what ends its starter's group reach it. Who leads a group already
    // has been put apart by its starter.
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(Error::os("begin a session", errno.raw_os_error())),
    }
    let broker = order::take_broker()?;
    let runtime = runtime.and_then(|path| path.into_string().ok());
    // Without one, it is started when the order comes, and why that cannot be has somebody to be told to.
    let standby = runtime.and_then(|path| Standby::begin(path).ok());
    // One that nobody needs yet is told from those that have a process.
    call_it(c"casemate-spare")?;
    let Some((order, given)) = order::receive(&broker)? else { return Ok(()) };
    call_it(c"casemate-shim")?;
    let relay = birth::bear(&signals, &order, &given, standby).and_then(|newborn| {
        let pid = newborn.pid.as_raw_nonzero().get();
        let relay = settle(signals, &order, given, newborn).map_err(|error| {
            // What a shim that kept its privilege would watch over must not run.
            birth::end_all();
            Refused::from(error)
        });
        relay.map(|relay| (pid, relay))
    });
    match relay {
        Ok((pid, relay)) => {
            order::answer(broker, &Outcome::Started { pid });
            relay.run()
        }
        Err(Refused { message, code }) => {
            order::answer(broker, &Outcome::Failed { message, code });
            Ok(())
        }
    }
}

/// By what name this process is listed.
fn call_it(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).map_err(|errno| Error::os("set the name", errno.raw_os_error()))
}

/// Gives away what a relay does not need, and makes one.
fn settle(signals: Signals, order: &Order, given: Given, newborn: Newborn) -> Result<Relay> {
    let oom = oom::Watch::begin(newborn.pid);
    seal::enter(order.identity, &given)?;
    // Made by whom it belongs to, and before it is needed: a full disk or a wrong owner shows now.
    let report = exit::Report::prepare(given.exit_dir)?;
    let log = log::Log::open(&order.streams.log, given.log_dir);
    let closes = order.streams.stdin_once && !order.streams.tty;
    let (listener, first) = (given.listener, given.first);
    Relay::new(Parts { signals, newborn, closes, log, report, oom, listener, first })
}
