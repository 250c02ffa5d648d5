//! Our side of the API: HTTP over mutual TLS.

mod connection;
mod streams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_spec::{Error, Result};

use crate::pki;
use crate::place::Place;

pub use connection::Upload;
pub use streams::{lines, relay};

/// The exit status of an error that says: there is no such thing.
pub const NOT_FOUND: u8 = 44;

/// How long a daemon that is there may take to say so.
const SOON: Duration = Duration::from_secs(5);

/// Who we are to the daemon, and where it is.
#[derive(Debug, Clone)]
pub struct Client {
    /// Host and port.
    pub authority: String,
    /// `ca.pem`, `cert.pem` and `key.pem`.
    pub certificates: PathBuf,
}

impl Client {
    /// As the environment of the docker CLI says; without it, as this host's administrator.
    ///
    /// # Errors
    /// Neither is there.
    pub fn from_environment(data_root: &Path) -> Result<Self> {
        let Ok(host) = std::env::var("DOCKER_HOST") else {
            return Self::administrator(&Place::find(data_root)?);
        };
        let authority = host.strip_prefix("tcp://").ok_or_else(|| {
            Error::new(format!("DOCKER_HOST={host}"), "expected tcp://HOST:PORT")
                .hint("casemated listens on TCP alone, behind client certificates")
        })?;
        let certificates = std::env::var_os("DOCKER_CERT_PATH").map(PathBuf::from).ok_or_else(|| {
            Error::new("DOCKER_CERT_PATH", "it is not set").hint("eval \"$(casemate up --detach)\" sets it")
        })?;
        Ok(Self { authority: authority.trim_end_matches('/').to_owned(), certificates })
    }

    /// As the administrator of a data root.
    ///
    /// # Errors
    /// It has never been up.
    pub fn administrator(place: &Place) -> Result<Self> {
        Ok(Self { authority: address(place)?.to_string(), certificates: place.client(pki::ADMINISTRATOR) })
    }

    /// Whether the daemon answers, and soon: where the broker listens and there is no daemon, nobody ever says anything.
    ///
    /// # Errors
    /// It does not.
    pub fn ping(&self) -> Result<()> {
        now(async {
            let answer = self.call(hyper::Method::GET, "/version", None);
            match tokio::time::timeout(SOON, answer).await {
                Ok(answer) => answer.map(drop),
                Err(_elapsed) => Err(Error::new(format!("connect to {}", self.authority), "nobody answers")),
            }
        })
    }
}

/// Runs one verb to its end, on this thread.
///
/// # Errors
/// The verb's, or the kernel has no descriptors left.
pub fn now<T>(verb: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::io("start", &error))?.block_on(verb)
}

/// Where the daemon of a data root listens.
///
/// # Errors
/// It has never been up since the host started.
pub fn address(place: &Place) -> Result<SocketAddr> {
    let path = place.run.join("address");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Error::io(path.display().to_string(), &error).hint("`casemate up --detach` starts the daemon")
    })?;
    text.trim().parse().map_err(|_| Error::new(path.display().to_string(), "it holds no address"))
}
