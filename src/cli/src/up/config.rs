//! The first configuration.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use casemate_spec::{Error, Result};
use serde::Deserialize;

use crate::place::{DAEMON_GROUP, Place, write};

/// Every key is explained in docs/configuration.md; without any, everything has its default.
const FIRST: &str = "\
# The configuration of casemated: docs/configuration.md explains every key, `casemated --check-config FILE` checks it.
# What is not set here has the value that is shown.

# log-driver = \"json-file\"
# live-restore = false
# insecure-registries = []
# registry-mirrors = []
";

/// Writes a configuration where there is none.
///
/// # Errors
/// It cannot be written.
pub fn write_default(place: &Place) -> Result<()> {
    let path = place.etc.join("casemate.toml");
    if path.exists() {
        return Ok(());
    }
    write(&path, FIRST.as_bytes(), 0o640, Some(DAEMON_GROUP))
}

/// The port that Docker's clients expect TLS on.
const PORT: u16 = 2376;

/// The keys of it that are ours to read, and not the unprivileged side's to act on: the daemon reads and checks the others.
#[derive(Default, Deserialize)]
struct Ours {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    macvlan: Vec<String>,
}

impl Ours {
    fn read(place: &Place) -> Result<Self> {
        let path = place.etc.join("casemate.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Error::new(path.display().to_string(), error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(path.display().to_string(), &error)),
        }
    }
}

/// Interfaces of the host that networks may be built upon, each with its tenant.
///
/// # Errors
/// The configuration cannot be read.
pub fn macvlan(place: &Place) -> Result<Vec<String>> {
    Ok(Ours::read(place)?.macvlan)
}

/// Where the API is to be offered.
///
/// # Errors
/// The configuration cannot be read, or names something other than TCP.
pub fn hosts(place: &Place) -> Result<Vec<SocketAddr>> {
    let path = place.etc.join("casemate.toml");
    let refuse = |why: String| Error::new(path.display().to_string(), why);
    let ours = Ours::read(place)?;
    if ours.hosts.is_empty() {
        return Ok(vec![(Ipv4Addr::LOCALHOST, PORT).into()]);
    }
    let read = |host: &String| {
        let address = host.strip_prefix("tcp://").and_then(|address| address.parse().ok());
        address.ok_or_else(|| {
            refuse(format!("hosts: {host:?}"))
                .hint("tcp://ADDRESS:PORT; there is no other socket than TCP behind client certificates")
        })
    };
    ours.hosts.iter().map(read).collect()
}
