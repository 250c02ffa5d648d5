//! A broker kept running: what systemd does on hosts that have our units, and `up` on others.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::apart::Apart;
use super::lock::{self, Lock};
use super::wait_until_it_answers;
use crate::arguments::UpArgs;
use crate::pki;
use crate::place::Place;

/// A broker that has run for so long may start again at once.
const WELL: Duration = Duration::from_secs(10);
/// Between two looks at what ends.
const RENEWAL: Duration = Duration::from_secs(3600);
/// The longest pause before another try.
const LONGEST: Duration = Duration::from_secs(30);

/// The address to listen on; a free port where none is given. It stays the same across restarts of the broker.
///
/// # Errors
/// The address is not this host's, or taken.
pub fn address(place: &Place, asked: SocketAddr) -> Result<SocketAddr> {
    let failed = |error: std::io::Error| Error::io(format!("listen on {asked}"), &error);
    if asked.port() == 0
        && let Ok(before) = crate::client::address(place)
        && before.ip() == asked.ip()
        && TcpListener::bind(before).is_ok()
    {
        return Ok(before);
    }
    TcpListener::bind(asked).and_then(|listener| listener.local_addr()).map_err(failed)
}

/// `casemate supervise`: what `up --detach` leaves behind.
///
/// # Errors
/// Another one runs, or the broker cannot be started at all.
pub fn supervise(args: &UpArgs, data_root: &Path) -> Result<ExitCode> {
    let place = Place::make(data_root)?;
    rustix::process::setsid()
        .map_err(|errno| Error::os("leave the terminal", errno.raw_os_error()))
        .map(drop)?;
    let libexec = super::libexec(args.libexec.as_deref())?;
    run(&place, &libexec, args)
}

/// `casemate up` without `--detach`.
///
/// # Errors
/// As for [`supervise`], and what `ready` fails with.
pub fn in_foreground(
    place: &Place,
    libexec: &Path,
    args: &UpArgs,
    ready: impl FnOnce() -> Result<()> + Send,
) -> Result<ExitCode> {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let told = wait_until_it_answers(place, || Ok(true)).and_then(|()| ready());
            if let Err(error) = told {
                eprintln!("casemate: {error}");
            }
        });
        run(place, libexec, args)
    })
}

fn run(place: &Place, libexec: &Path, args: &UpArgs) -> Result<ExitCode> {
    let lock = Lock::take(&place.run)?;
    end_orphan(place, &lock)?;
    let failed = |error: std::io::Error| Error::io("wait for signals", &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut apart = Apart::begin(place);
    let ended = runtime.block_on(async {
        let mut signals = Signals {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            keep: signal(SignalKind::user_defined2()).map_err(failed)?,
            reload: signal(SignalKind::hangup()).map_err(failed)?,
            child: signal(SignalKind::child()).map_err(failed)?,
        };
        again_and_again(place, libexec, args, &mut signals, &mut apart).await
    });
    if let Some(apart) = apart {
        apart.end();
    }
    drop(lock);
    ended.map(|()| ExitCode::SUCCESS)
}

/// Ends the broker of a supervisor that was killed: it would hold the data root, and nobody would start it again.
/// Containers do not mind. Whoever has the lock is nobody's supervisor but ours.
///
/// # Errors
/// It does not end.
pub fn end_orphan(place: &Place, _lock: &Lock) -> Result<()> {
    let patience = Instant::now() + WELL;
    while let Some(broker) = lock::broker(&place.run)? {
        if Instant::now() > patience {
            return Err(Error::new("casemate-broker", format!("process {broker} does not end")));
        }
        lock::tell(broker, rustix::process::Signal::KILL)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What may happen meanwhile.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    keep: Signal,
    reload: Signal,
    child: Signal,
}

async fn again_and_again(
    place: &Place,
    libexec: &Path,
    args: &UpArgs,
    signals: &mut Signals,
    apart: &mut Option<Apart>,
) -> Result<()> {
    let mut pause = Duration::from_millis(100);
    loop {
        let since = Instant::now();
        let mut broker = start(place, libexec, args, apart.as_ref())?;
        if watch(place, &mut broker, signals, apart).await? {
            return Ok(());
        }
        eprintln!("casemate: the broker ended and is started again");
        pause = if since.elapsed() > WELL { Duration::from_millis(100) } else { (pause * 2).min(LONGEST) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.keep.recv() => return Ok(()),
        }
    }
}

/// Waits for the broker's end; whether that was asked for. Meanwhile nothing that the server relies on runs out.
async fn watch(
    place: &Place,
    broker: &mut std::process::Child,
    signals: &mut Signals,
    apart: &mut Option<Apart>,
) -> Result<bool> {
    use rustix::process::{Pid, Signal as Number};

    let mut asked = false;
    let mut renewal = tokio::time::interval(RENEWAL);
    loop {
        if broker.try_wait().map_err(|e| Error::io("wait for the broker", &e))?.is_some() {
            return Ok(asked);
        }
        // The broker looks after its ports when it is told to look at anything anew.
        let reopened = apart.as_mut().is_some_and(Apart::tend);
        let due = apart.as_ref().and_then(Apart::deadline).unwrap_or_else(|| Instant::now() + RENEWAL);
        let number = if reopened {
            Some(Number::HUP)
        } else {
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => None,
                _ = signals.child.recv() => None,
                _ = signals.terminate.recv() => Some(Number::TERM),
                _ = signals.interrupt.recv() => Some(Number::TERM),
                _ = signals.keep.recv() => Some(Number::USR2),
                _ = signals.reload.recv() => Some(Number::HUP),
                _ = renewal.tick() => {
                    if let Err(error) = pki::validity::keep_up(place) {
                        eprintln!("casemate: what ends soon is not renewed: {error}");
                    }
                    None
                }
            }
        };
        if let Some(number) = number {
            asked |= number != Number::HUP;
            let pid = i32::try_from(broker.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                lock::tell(pid, number)?;
            }
        }
    }
}

fn start(place: &Place, libexec: &Path, args: &UpArgs, apart: Option<&Apart>) -> Result<std::process::Child> {
    let mut command = Command::new(libexec.join("casemate-broker"));
    command.arg("--data-root").arg(&place.data).arg("--config").arg(&place.etc);
    command.arg("--libexec").arg(libexec).arg("--run-dir").arg(crate::rootless::run_dir()?);
    for address in &args.listen {
        command.arg("--listen").arg(address.to_string());
    }
    if let Some(policy) = &args.policy {
        command.arg("--policy").arg(policy.as_str());
    }
    command.args(args.macvlan.iter().flat_map(|parent| ["--macvlan", parent]));
    if let Some(apart) = apart {
        command.arg("--network-namespace").arg(apart.namespace());
    }
    command.stdin(Stdio::null());
    command.spawn().map_err(|e| Error::io("casemate-broker", &e))
}
