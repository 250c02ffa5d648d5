//! `up` and `down`: the daemon's programs, started and stopped.

mod apart;
mod config;
mod lock;
mod supervise;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use rustix::process::{Pid, Signal};

use crate::arguments::{DownArgs, UpArgs};
use crate::client::Client;
use crate::pki;
use crate::place::Place;
use lock::Lock;

pub use apart::way_out;
pub use supervise::supervise;

/// How long a start may take: the first one makes the store.
const START: Duration = Duration::from_secs(30);
/// How long a stop may take: containers have ten seconds each to end, all at once.
const STOP: Duration = Duration::from_secs(60);
/// Where `up` notes the address on which the API listens.
const ADDRESS: &str = "address";

/// `casemate up`
///
/// # Errors
/// Something is missing, or does not come up.
pub fn up(args: &UpArgs, data_root: &Path) -> Result<ExitCode> {
    let place = Place::make(data_root)?;
    let libexec = libexec(args.libexec.as_deref())?;
    config::write_default(&place)?;
    let asked = if args.listen.is_empty() { config::hosts(&place)? } else { args.listen.clone() };
    let names = asked.iter().map(std::net::SocketAddr::ip).filter(|address| !address.is_unspecified());
    let names: Vec<String> = names.map(|address| address.to_string()).collect();
    pki::init(&place, &names)?;
    if Lock::holder(&place.run)?.is_some() {
        say(&place)?;
        return Ok(ExitCode::SUCCESS);
    }
    // It would have the address, too.
    supervise::end_orphan(&place, &Lock::take(&place.run)?)?;
    let found = asked.iter().map(|asked| supervise::address(&place, *asked));
    let addresses = found.collect::<Result<Vec<_>>>()?;
    let first = addresses.iter().map(|address| reachable(*address)).next();
    let first = first.ok_or_else(|| Error::new("hosts", "there is none to listen on"))?;
    crate::place::write(&place.run.join(ADDRESS), first.to_string().as_bytes(), 0o644, None)?;
    let macvlan = if args.macvlan.is_empty() { config::macvlan(&place)? } else { args.macvlan.clone() };
    let args = UpArgs { listen: addresses, macvlan, ..args.clone() };
    if !args.detach {
        return supervise::in_foreground(&place, &libexec, &args, || say(&place));
    }
    let mut child = leave_behind(&place, &libexec, &args)?;
    let answers = wait_until_it_answers(&place, || {
        child.try_wait().map_err(|e| Error::io("wait for the broker", &e)).map(|ended| ended.is_none())
    });
    if let Err(error) = answers {
        // Whoever is told that it did not come up does not expect it to run.
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            lock::tell(pid, Signal::TERM)?;
        }
        child.wait().map_err(|e| Error::io("wait for the broker", &e))?;
        return Err(error.hint(format!("{} says more", log(&place).display())));
    }
    say(&place)?;
    Ok(ExitCode::SUCCESS)
}

/// `casemate down`
///
/// # Errors
/// It does not end.
pub fn down(args: &DownArgs, data_root: &Path) -> Result<ExitCode> {
    let place = Place::find(data_root)?;
    let Some(holder) = Lock::holder(&place.run)? else {
        println!("casemate is not running for {}", place.data.display());
        return Ok(ExitCode::SUCCESS);
    };
    let signal = if args.keep { Signal::USR2 } else { Signal::TERM };
    if lock::end(holder, signal, STOP)? {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::new("casemate down", format!("process {holder} does not end")))
}

/// By which address a client on this host reaches a listener.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// What a shell evaluates, so that `docker` reaches us.
fn say(place: &Place) -> Result<()> {
    let address = crate::client::address(place)?;
    let certificates = place.client(pki::ADMINISTRATOR);
    let certificates = certificates.display();
    println!("export DOCKER_HOST=tcp://{address}");
    println!("export DOCKER_TLS_VERIFY=1");
    println!("export DOCKER_CERT_PATH={certificates}");
    println!(
        "# docker context create casemate --docker \
         host=tcp://{address},ca={certificates}/ca.pem,cert={certificates}/cert.pem,key={certificates}/key.pem"
    );
    Ok(())
}

/// Where the other programs are: as told, beside us, or where they are installed.
///
/// # Errors
/// They are nowhere.
pub fn libexec(told: Option<&Path>) -> Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let usual = PathBuf::from("/usr/local/libexec/casemate");
    let places = match told {
        Some(told) => vec![told.to_owned()],
        None => [Some(usual), beside].into_iter().flatten().collect(),
    };
    let found = places.iter().find(|place| place.join("casemate-broker").is_file());
    let found = found.ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Error::new("casemate-broker", format!("it is not in {}", places.join(" nor in ")))
            .hint("--libexec DIR says where the programs are")
    })?;
    fs::canonicalize(found).map_err(|e| Error::io(found.display().to_string(), &e))
}

fn log(place: &Place) -> PathBuf {
    place.data.join("casemate.log")
}

fn leave_behind(place: &Place, libexec: &Path, args: &UpArgs) -> Result<std::process::Child> {
    let own = std::env::current_exe().map_err(|e| Error::io("casemate", &e))?;
    let path = log(place);
    let file = fs::OpenOptions::new().append(true).create(true).open(&path);
    let file = file.map_err(|e| Error::io(path.display().to_string(), &e))?;
    let errors = file.try_clone().map_err(|e| Error::io(path.display().to_string(), &e))?;
    let mut command = Command::new(own);
    command.arg("supervise").arg("--data-root").arg(&place.data);
    command.arg("--libexec").arg(libexec);
    for address in &args.listen {
        command.arg("--listen").arg(address.to_string());
    }
    if let Some(policy) = &args.policy {
        command.arg("--policy").arg(policy.as_str());
    }
    command.args(args.macvlan.iter().flat_map(|parent| ["--macvlan", parent]));
    command.current_dir("/").stdin(Stdio::null()).stdout(file).stderr(errors);
    command.spawn().map_err(|e| Error::io("casemate supervise", &e))
}

/// Waits until the API answers a client with a certificate.
fn wait_until_it_answers(place: &Place, mut runs: impl FnMut() -> Result<bool>) -> Result<()> {
    let patience = Instant::now() + START;
    loop {
        let problem = match Client::administrator(place).and_then(|client| client.ping()) {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        if !runs()? {
            return Err(Error::new("casemate up", "the broker ended"));
        }
        if Instant::now() > patience {
            return Err(problem.within("casemate up: the daemon does not answer"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
