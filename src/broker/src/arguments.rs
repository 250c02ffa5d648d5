//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use casemate_spec::wire::{PolicyName, Tenant};
use casemate_spec::{Error, Result};

const USAGE: &str = "\
Usage: casemate-broker --data-root DIR --config DIR --listen ADDR:PORT [--listen ADDR:PORT]...

Starts casemated, confined, and does with privilege what it may ask for.

      --data-root DIR      Images, volumes, logs and the daemon's own files
      --config DIR         casemate.toml, runtime.toml, policies and certificates
      --listen ADDR:PORT   Where the API is offered; TCP, and TLS on it
      --run-dir DIR        What lives as long as the host runs [default: /run/casemate]
      --libexec DIR        Where runtime, casemate-shim and casemate-layer are [default: beside this program]
      --daemon FILE        The daemon [default: casemated beside this program]
      --policy NAME        The policy of containers for which none is asked [default: runtime.toml's]
      --macvlan IF[=TENANT]  An interface of the host that macvlan networks of one tenant (default) may be built upon;
                           any number of times
      --network-namespace FILE  Where networks are, for a user without root [default: none, and this one for root]
      --channel-stdin      Do not start the daemon: it is at the other end of standard input, a socket
";

/// What is asked of the program.
#[derive(Debug)]
pub enum Asked {
    /// To be the broker.
    Serve(Box<Arguments>),
    /// A piece of slow work that the broker gives to a process of its own.
    Work(Vec<OsString>),
    /// To say something about itself.
    Print(String),
}

/// How the broker was started.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// `--data-root`
    pub data: PathBuf,
    /// `--config`
    pub config: PathBuf,
    /// `--listen`
    pub listen: Vec<SocketAddr>,
    /// `--run-dir`
    pub run: PathBuf,
    /// `--libexec`
    pub libexec: PathBuf,
    /// `--daemon`
    pub daemon: PathBuf,
    /// `--policy`
    pub policy: Option<PolicyName>,
    /// `--macvlan`: who is upon one interface reaches each other, so that each is one tenant's.
    pub macvlan: BTreeMap<String, Tenant>,
    /// `--network-namespace`
    pub namespace: Option<PathBuf>,
    /// `--channel-stdin`: whoever started us holds the daemon's end. It gives nobody more than he has, as he is root.
    pub channel: bool,
}

/// Reads it.
///
/// # Errors
/// It is wrong: exit code 2.
pub fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Asked> {
    words.next();
    let words: Vec<OsString> = words.collect();
    match words.first().and_then(|word| word.to_str()) {
        Some("--help" | "-h") => return Ok(Asked::Print(USAGE.to_owned())),
        Some("--version") => {
            return Ok(Asked::Print(concat!("casemate-broker ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
        }
        Some("work") => return Ok(Asked::Work(words.into_iter().skip(1).collect())),
        _ => {}
    }
    serve(words).map(|arguments| Asked::Serve(Box::new(arguments))).map_err(|error| error.exit(2))
}

fn serve(words: Vec<OsString>) -> Result<Arguments> {
    let (mut data, mut config, mut libexec, mut daemon, mut namespace) = (None, None, None, None, None);
    let mut run = PathBuf::from("/run/casemate");
    let (mut listen, mut macvlan, mut policy, mut channel) = (Vec::new(), BTreeMap::new(), None, false);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let name = word.to_string_lossy().into_owned();
        if name == "--channel-stdin" {
            channel = true;
            continue;
        }
        let value = words
            .next()
            .ok_or_else(|| Error::new(&name, "a value is missing, or there is no such option"))?;
        let text = || value.to_str().ok_or_else(|| Error::new(&name, "not UTF-8"));
        match name.as_str() {
            "--data-root" => data = Some(PathBuf::from(value)),
            "--run-dir" => run = PathBuf::from(value),
            "--config" => config = Some(PathBuf::from(value)),
            "--libexec" => libexec = Some(PathBuf::from(value)),
            "--daemon" => daemon = Some(PathBuf::from(value)),
            "--network-namespace" => namespace = Some(PathBuf::from(value)),
            "--macvlan" => {
                let (parent, tenant) = text()?.split_once('=').unwrap_or((text()?, "default"));
                let before = macvlan.insert(parent.to_owned(), tenant.parse::<Tenant>()?);
                if before.is_some_and(|before| before.as_str() != tenant) {
                    return Err(Error::new(&name, format!("interface {parent} is given to two tenants")));
                }
            }
            "--policy" => policy = Some(text()?.parse()?),
            "--listen" => {
                let address = text()?
                    .parse()
                    .map_err(|_| Error::new(&name, "not ADDRESS:PORT, as in 127.0.0.1:2376"))?;
                listen.push(address);
            }
            _ => {
                return Err(
                    Error::new(&name, "there is no such option").hint("casemate-broker --help lists them")
                );
            }
        }
    }
    let missing = |name: &str| Error::new(name, "it must be given");
    let beside = std::env::current_exe().map_err(|error| Error::io("this program's place", &error))?;
    let beside = beside.parent().map(PathBuf::from).unwrap_or_default();
    if listen.is_empty() {
        return Err(missing("--listen"));
    }
    Ok(Arguments {
        data: data.ok_or_else(|| missing("--data-root"))?,
        config: config.ok_or_else(|| missing("--config"))?,
        listen,
        run,
        daemon: daemon.unwrap_or_else(|| beside.join("casemated")),
        libexec: libexec.unwrap_or(beside),
        policy,
        macvlan,
        namespace,
        channel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let say = |line: &str| {
            let words = std::iter::once("casemate-broker").chain(line.split_whitespace()).map(OsString::from);
            parse(words).map(drop).map_err(|error| (error.to_string(), error.exit_code()))
        };
        let good = "--data-root /d --config /c --listen 127.0.0.1:0";
        assert_eq!(say(good), Ok(()));
        for bad in ["", "--data-root", "--data-root /d --config /c", "--nope x", "--listen localhost"] {
            assert!(say(bad).is_err_and(|(_, code)| code == 2), "{bad}");
        }
        assert!(say(&format!("{good} --policy ../x")).is_err());
        let macvlan = "--macvlan eth1=red --macvlan eth2 --macvlan eth1=";
        assert_eq!(say(&format!("{good} {macvlan}red")), Ok(()));
        assert!(say(&format!("{good} {macvlan}blue")).is_err_and(|(said, _)| said.contains("two tenants")));
        assert!(say(&format!("{good} {macvlan}")).is_err(), "no tenant's name");
        assert!(say(&format!("{good} --listen /run/api.sock")).is_err(), "only TCP");
    }
}
