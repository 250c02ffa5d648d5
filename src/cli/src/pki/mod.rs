//! Certificates: an authority for one data root, the server's certificate, clients', and the revocation list.

mod authority;
mod identity;
mod issued;
pub mod validity;

use std::path::Path;
use std::process::ExitCode;

use casemate_spec::wire::Tenant;
use casemate_spec::{Error, Result};

use crate::arguments::PkiVerb;
use crate::place::Place;
use authority::Authority;
pub use identity::Identity;

/// The name of the administrator's certificate that `up` and `pki init` make.
pub const ADMINISTRATOR: &str = "admin";

/// Runs a verb of `casemate pki`.
pub fn run(verb: &PkiVerb, data_root: &Path) -> Result<ExitCode> {
    match verb {
        PkiVerb::Init { names } => {
            let place = Place::make(data_root)?;
            init(&place, names)?;
            println!("authority  {}", place.etc.join("tls/ca.pem").display());
            println!("client     {}", place.client(ADMINISTRATOR).display());
        }
        PkiVerb::Issue { name, tenant, groups, days, out } => {
            let place = Place::make(data_root)?;
            let identity = Identity::new(name, tenant.clone(), groups)?;
            let folder = out.clone().unwrap_or_else(|| place.client(name));
            Authority::open(&place)?.issue(&identity, *days, &folder)?;
            println!("{}", folder.display());
        }
        PkiVerb::Revoke { name } => {
            let place = Place::make(data_root)?;
            let count = Authority::open(&place)?.revoke(name)?;
            println!("revoked {count}");
        }
        PkiVerb::Renew { names } => {
            let place = Place::make(data_root)?;
            let mut authority = Authority::open(&place)?;
            authority.issue_server(names)?;
            authority.write_revocations()?;
        }
        PkiVerb::List => list(&Place::find(data_root)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes what is missing of authority, server and administrator.
///
/// # Errors
/// Something cannot be made or written.
pub fn init(place: &Place, names: &[String]) -> Result<()> {
    let mut authority = Authority::open_or_make(place)?;
    if !place.etc.join("tls/server.pem").exists() || authority.server_lacks(names)? {
        authority.issue_server(names)?;
    }
    let administrator = place.client(ADMINISTRATOR);
    if !administrator.join("cert.pem").exists() {
        let tenant: Tenant = "default".parse()?;
        let identity = Identity::new(ADMINISTRATOR, tenant, &["admin".to_owned()])?;
        authority.issue(&identity, 3650, &administrator)?;
    }
    // Written anew each time: it says until when it may be relied on.
    authority.write_revocations()
}

fn list(place: &Place) -> Result<()> {
    let issued = issued::Issued::read(&place.pki)?;
    println!("{:<18} {:<16} {:<20} {:<12} {:<12} STATUS", "NAME", "TENANT", "GROUPS", "ISSUED", "EXPIRES");
    for entry in &issued.certificates {
        let status = entry.revoked.as_ref().map_or("valid".to_owned(), |day| format!("revoked {day}"));
        println!(
            "{:<18} {:<16} {:<20} {:<12} {:<12} {status} {}",
            entry.name,
            entry.tenant,
            entry.groups.join(","),
            entry.issued,
            entry.expires,
            entry.serial
        );
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> Error {
    move |error| Error::new(what, error.to_string())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::io(path.display().to_string(), &e))
}
